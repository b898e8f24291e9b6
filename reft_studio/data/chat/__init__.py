"""Conversations: dialects, message content, which turn is trained on, and the chat templates that render them."""
