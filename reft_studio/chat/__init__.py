"""The model host: the process that answers chat and explains prompts, and the app's end of it."""
