"""proda: process-guided, data-driven modelling of soil carbon."""

import jax

# Pools span twenty orders of magnitude; every number of this package is float64.
jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
