"""Readers of measured soil profiles, their quality rules and their stocks."""
