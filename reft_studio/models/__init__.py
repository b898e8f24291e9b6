"""Language models: loading, adapters, hidden states, the training loop, generation."""
