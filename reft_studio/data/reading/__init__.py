"""A file becomes a dataset: looked at, imported in pieces, whole or not at all; within a budget of memory and time."""
