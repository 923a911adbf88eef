"""Vertical mixing of the published code, with its leak, for parity tests only."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from proda.column.transport import Transport
from proda.grid import Grid

FLOOR = 365e-30
"""Replacement of a diffusivity (m2 yr-1) and a downward velocity (m yr-1) of 0.

CLM's transport replaces both by 1e-30; the published code does so per day. In a column that never
thaws only these minima bring litter to the layers below the first, and because the soil pools of
COMPAS are ratios of such fluxes, they affect the published results.
"""


def transport_published(
    exchange: Float[Array, " layer"], nbedrock: Int[Array, ""], grid: Grid
) -> Transport:
    """Return the rates of the published scheme (docs/differences.md).

    The interface below bedrock stays open, and each layer in bedrock uses the exchange above it for
    both neighbours, so that the loss of one layer differs from the gain of the other. The minimum
    of the velocity enters by Patankar's power law.
    """
    thickness = jnp.asarray(grid.thickness)
    layer = jnp.arange(1, len(grid) + 1)
    bottom = layer == len(grid)
    floor = FLOOR / jnp.append(grid.node[1:] - grid.node[:-1], 1.0)
    g = jnp.maximum(exchange, floor)
    g = jnp.where(bottom, 0.0, g * (1.0 - 0.1 * FLOOR / g) ** 5)
    above = jnp.concatenate([jnp.zeros(1), g[:-1]])
    below = jnp.where((layer > nbedrock) & ~bottom, above, g)
    # dx_l/dt = (a_l + v) x_{l-1} - (a_l + b_l + v) x_l + b_l x_{l+1}, times the thickness
    velocity = jnp.where(bottom, 0.0, FLOOR)
    received_from_above = above[1:] + velocity[:-1]
    down = jnp.append(received_from_above / thickness[:-1], 0.0)
    up = jnp.concatenate([jnp.zeros(1), below[:-1] / thickness[1:]])
    return Transport(down=down, up=up, leak=(above + below + velocity) / thickness - down - up)
