"""The command line: what each verb can be told (`arguments`), and what it does with the studio."""
