"""A whole study: its settings and stages, the comparison of models, and the report."""
