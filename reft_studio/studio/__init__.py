"""The studio: everything that pages and command line can ask for or do, as plain values and acts. Loads no model library."""
