"""Models on a grid: parameters at cells -> carbon, components, totals (science: section 10)."""
