"""Sweeps: many runs from one recipe, their records, and the tables and pages made from them."""
