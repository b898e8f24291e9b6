"""Datasets, from an uploaded file to rows and back: detect, map, validate, store, query, split, mix, export. Imports no torch."""
