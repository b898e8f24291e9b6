"""Decides which scored rows are kept, freezes the result, and bounds what may be left in it."""
