"""One module per page; each has `build(studio)`."""
