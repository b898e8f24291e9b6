"""Sweeps: many runs from one recipe, what is kept of each, and the tables and pages made of them."""
