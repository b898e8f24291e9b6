"""Writes rows to files: in the format they were uploaded in, byte for byte, and as tables without formulas."""
