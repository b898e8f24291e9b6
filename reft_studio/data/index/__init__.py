"""Any rows of a dataset at once, whatever its size: the row store, search, questions in SQL, facets, what an inspection finds."""
