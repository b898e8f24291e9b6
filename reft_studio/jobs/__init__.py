"""Long work in processes of its own: queued, watched, cancelled, found again."""
