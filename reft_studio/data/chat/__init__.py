"""Conversations as text: the templates of models, rendered where they can do no harm."""
