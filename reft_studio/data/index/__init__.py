"""Access to any rows of a dataset, whatever its size: row store, search, SQL queries, facets, inspection."""
