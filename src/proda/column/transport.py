"""Vertical mixing by cryoturbation and bioturbation (docs/theory.md#vertical-transport)."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from proda.grid import Grid

CRYOTURBATION_ACTIVE_LAYER = 2.0
"""Where the active layer is deeper than this (m), bioturbation mixes instead of frost."""
CRYOTURBATION_MAX_DEPTH = 3.0
"""Depth below which there is no cryoturbation, m."""


class Transport(eqx.Module):
    """Rates at which carbon leaves a layer by mixing, yr-1."""

    down: Float[Array, " layer"]
    """Into the layer below."""
    up: Float[Array, " layer"]
    """Into the layer above."""
    leak: Float[Array, " layer"]
    """Out of the column: 0, except in the published scheme, in which some layers lose or create
    carbon."""

    @property
    def down_above(self) -> Float[Array, " layer"]:
        """Rate from the layer above into each layer."""
        return jnp.concatenate([jnp.zeros(1), self.down[:-1]])


def exchange_coefficients(
    active_layer: Float[Array, " month"], nbedrock: Int[Array, ""], grid: Grid
) -> tuple[Float[Array, "month layer"], Float[Array, "month layer"]]:
    """Return the exchange through each layer's lower interface per unit diffusivity, m-1.

    Parameters
    ----------
    active_layer
        Depth of thaw in each month: the larger of this and last year's maximum, m.
    nbedrock
        Number of layers above bedrock.
    grid
        The vertical grid.

    Returns
    -------
    cryo, diffus
        Multiply by cryoturbation and bioturbation rate (m2 yr-1) and add to get the exchange in
        m yr-1. The last column, the bottom of the grid, is 0. The interface below bedrock is
        kept here, as the published scheme uses it; :func:`transport` closes it.
    """
    depth = jnp.append(grid.interface, grid.next_interface_m)
    layer = jnp.arange(1, len(grid) + 2)
    within = layer <= nbedrock + 1
    alt = active_layer[:, None]
    end = jnp.minimum(CRYOTURBATION_MAX_DEPTH, depth[nbedrock])
    span = jnp.where(end > alt, end - alt, 1.0)  # not used where the end is shallower
    # 1 - (depth - alt) / (end - alt), in the form that is exactly 0 where cryoturbation ends.
    fade = jnp.where(end > alt, jnp.maximum((end - depth) / span, 0.0), 0.0)
    frost = (alt > 0.0) & (alt <= CRYOTURBATION_ACTIVE_LAYER) & within
    bio = (alt > CRYOTURBATION_ACTIVE_LAYER) & within
    cryo = jnp.where(frost, jnp.where(depth < alt, 1.0, fade), 0.0)
    diffus = jnp.where(bio, 1.0, 0.0)
    return _exchange(cryo[:, :-1], grid), _exchange(diffus[:, :-1], grid)


def _exchange(diffusivity: Float[Array, "month layer"], grid: Grid) -> Float[Array, "month layer"]:
    """Harmonic mean of the diffusivity of two neighbours over the distance of their nodes."""
    distance = grid.node[1:] - grid.node[:-1]
    w = (grid.node[1:] - grid.interface[:-1]) / distance
    here, below = diffusivity[:, :-1], diffusivity[:, 1:]
    # 1 / ((1-w)/here + w/below), written so that a diffusivity of 0 gives 0 and not 0/0.
    weight = (1.0 - w) * below + w * here
    both = (here > 0.0) & (below > 0.0)
    g = jnp.where(both, here * below / jnp.where(both, weight, 1.0), 0.0) / distance
    return jnp.pad(g, ((0, 0), (0, 1)))


def exchange(
    cryo: Float[Array, ""],
    diffus: Float[Array, ""],
    exchange_cryo: Float[Array, " layer"],
    exchange_diffus: Float[Array, " layer"],
) -> Float[Array, " layer"]:
    """Return the annual mean exchange through each lower interface, m yr-1."""
    return cryo * exchange_cryo + diffus * exchange_diffus


def transport(exchange: Float[Array, " layer"], nbedrock: Int[Array, ""], grid: Grid) -> Transport:
    """Return the rates of the conserving scheme: no flux through bedrock or the bottom."""
    open_below = jnp.arange(1, len(grid) + 1) < nbedrock
    g = jnp.where(open_below, exchange, 0.0)
    above = jnp.concatenate([jnp.zeros(1), g[:-1]])
    return Transport(down=g / grid.thickness, up=above / grid.thickness, leak=jnp.zeros(len(grid)))
