"""From scores and decisions to a dataset that may be trained on, and what can be said about it."""
