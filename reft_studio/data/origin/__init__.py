"""Where rows come from: uploads, folders of this machine, the Hugging Face hub, and the examples that ship with the app."""
