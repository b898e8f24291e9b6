"""Home: what this is, what there is already, and the one thing to do next."""
