"""Posteriors of a model's parameters at the sites, and what tells whether to trust them."""
