"""Parameters as logits of their share of the prior range, in which networks learn."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from proda.parameters import Parameter

MARGIN = 1e-6
"""Minimum distance of parameters from the ends of the prior range, as a share of it: float32 would
round to the ends."""


def physical_values(
    logit: Float[Array, " parameter"], rows: Sequence[Parameter]
) -> dict[str, Float[Array, ""]]:
    """Return parameters in physical units, by name, from the logits of their shares."""
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper - row.lower for row in rows])
    u = MARGIN + (1.0 - 2.0 * MARGIN) * jax.nn.sigmoid(logit)
    value = lower + u @ jnp.diag(width)  # a product of matrices is not recomputed (target.py)
    return {row.name: value[i] for i, row in enumerate(rows)}
