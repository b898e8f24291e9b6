"""What each page shows, as plain values: read from the workspace, computed without torch."""
