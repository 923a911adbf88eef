"""From environment to parameters: a network, its ensemble, and the carbon of held-out profiles."""
