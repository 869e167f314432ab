"""Every filter on the same tasks: what leaks, what is kept, how far samples are moved."""
