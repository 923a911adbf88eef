"""Models on a grid: parameters at cells -> carbon, components, totals.

Components: docs/theory.md#the-six-components.
"""
