"""Compares evaluated models: tables, paired differences and charts, each number with n and a 95 % interval."""
