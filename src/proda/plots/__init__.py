"""Figures: one function each, taking arrays or Datasets and returning a Matplotlib Figure."""
