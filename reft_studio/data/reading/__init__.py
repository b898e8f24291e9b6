"""Reads uploaded files: file formats, column types, labels; within a budget of memory and time."""
