"""Rows as files again: in the format they came in, byte for byte, and as tables that run nothing."""
