"""The arguments and options of every verb. Imports nothing heavy, so that `--help` answers at once."""
