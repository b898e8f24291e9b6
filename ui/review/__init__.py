"""Review: rows one by one, many at once, the gate, freezing."""
