"""The model host: the worker process that serves chat and prompt scores, and the app's client of it."""
