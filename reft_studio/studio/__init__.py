"""The studio: what pages and command line ask for and do, as methods on plain values. Loads no model library."""
