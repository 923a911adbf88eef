"""Physics that all models share, for ONE column: pure functions over small pytrees."""

import jax

# Pools span twenty orders of magnitude; every number of this package is float64.
jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
