"""Conversations: their dialects, what a turn says as text, which turn is trained, and the templates that render them for a model."""
