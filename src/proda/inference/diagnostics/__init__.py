"""Convergence, fit, model choice and information of posterior draws, many sites at once (NumPy)."""
