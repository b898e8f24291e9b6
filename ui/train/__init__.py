"""Train: the form of a run, what it will cost, watching it learn."""
