"""Samplers behind one small interface; see `sampler.py`."""
