"""The one SQLite file of a workspace: settings, decisions, jobs."""
