"""Data: importing a file, looking into it, mixing a poisoned sample."""
