"""Programs that make what ships; not part of the app."""
