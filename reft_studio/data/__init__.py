"""From a file to rows and back: detect, map, validate, store, query, split, mix, render, export. Imports no torch."""
