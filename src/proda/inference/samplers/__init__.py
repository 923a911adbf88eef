"""Samplers with one interface, which `sampler.py` defines."""
