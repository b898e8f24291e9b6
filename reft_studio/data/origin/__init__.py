"""Where rows come from besides an upload: folders of this machine, the hub, and the texts of our own that ship."""
