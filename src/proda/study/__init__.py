"""A whole study: one settings file, its stages, and their record."""
