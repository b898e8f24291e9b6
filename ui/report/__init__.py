"""Report: what goes into the file, and the file."""
