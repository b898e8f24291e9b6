"""The workspace's SQLite database: settings, decisions, jobs."""
