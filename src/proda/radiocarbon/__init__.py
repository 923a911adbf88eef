"""Radiocarbon of any model at steady state (docs/theory.md#radiocarbon)."""
