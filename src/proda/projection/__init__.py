"""Transient runs of models from their steady states, under warming and changed carbon input."""
