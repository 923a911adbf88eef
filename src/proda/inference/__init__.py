"""Site-level data assimilation."""
