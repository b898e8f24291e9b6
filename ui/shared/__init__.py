"""Panels and values that several pages show."""
