"""The Sweep page: define a recipe, watch its runs, read what they found."""
