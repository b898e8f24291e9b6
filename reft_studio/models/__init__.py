"""Loads language models; adapters, hidden states, training loop, generation."""
