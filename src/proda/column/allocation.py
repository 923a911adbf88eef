"""Where plant carbon enters the column.

Jackson et al. 1996; docs/theory.md#allocation-of-the-input.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from proda.column.column import Column


def input_shares(b: Float[Array, ""], column: Column) -> Float[Array, " layer"]:
    """Return each layer's share of the carbon input; the shares above bedrock add up to 1.

    The fraction of input above depth d (m) is Y(d) = 1 - b^(100 d), cut at bedrock.
    """
    return _shares(b, column, column.above_bedrock)


def input_shares_published(b: Float[Array, ""], column: Column) -> Float[Array, " layer"]:
    """Return the published shares: all layers receive input, also those in bedrock."""
    return _shares(b, column, jnp.ones(len(column.grid), dtype=bool))


def _shares(
    b: Float[Array, ""], column: Column, receives: Bool[Array, " layer"]
) -> Float[Array, " layer"]:
    grid = column.grid
    edges = 100.0 * np.concatenate([[0.0], grid.interface])
    beyond = jnp.exp(
        jnp.log(b) * edges
    )  # the share below each interface of a profile of infinite depth
    raw = jnp.where(receives, beyond[:-1] - beyond[1:], 0.0)
    surface = jnp.arange(len(grid)) == 0
    return jnp.where(column.frozen, jnp.where(surface, 1.0, 0.0), raw / raw.sum())


def fraction_below(shares: Float[Array, " layer"]) -> Float[Array, " layer"]:
    """Return the share of the input that enters below each layer, 1 - Y, by adding from below."""
    from_here = jnp.cumsum(shares[::-1])[::-1]
    return jnp.concatenate([from_here[1:], jnp.zeros(1)])
