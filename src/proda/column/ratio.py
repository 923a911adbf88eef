"""Division of numbers that may both be 0, with derivatives that do not overflow."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def _quotient(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return x / y


@_quotient.defjvp
def _quotient_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    # The usual rule has -x / y^2, which overflows for y below 1e-154; deep in the soil rates and
    # fluxes are smaller than that, and their ratios are not.
    x, y = primals
    dx, dy = tangents
    q = x / y
    return q, (dx - q * dy) / y


def ratio(
    numerator: Float[Array, "*shape"], denominator: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return numerator / denominator, and 0 where the denominator is 0.

    The caller must flag the cases where 0 is not the right value.
    """
    numerator, denominator = jnp.broadcast_arrays(numerator, denominator)
    return _quotient(numerator, jnp.where(denominator == 0.0, jnp.inf, denominator))
