"""The command line: the arguments of each verb (`arguments`), and the code that runs it."""
