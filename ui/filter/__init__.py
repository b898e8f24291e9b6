"""Parts of the Filter page."""
