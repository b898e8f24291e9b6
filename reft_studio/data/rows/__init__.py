"""A record becomes a row: which columns are what, what a label means, what is set aside and why; and an answer put back into a record."""
