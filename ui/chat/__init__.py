"""Chat: several models asked the same thing."""
