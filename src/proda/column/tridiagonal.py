"""Steady state of chains of pools that only mix with their neighbours in depth.

The unknowns are seen as states of a Markov chain: carbon in a layer leaves at known rates to the
layer above, to the layer below, and out of the chain. Eliminating a layer hands its traffic on to
the remaining ones (Grassmann, Taghizadeh and Heyman 1985). Nothing is ever subtracted: pools
cannot turn negative and every digit survives, however stiff the column.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from proda.column.ratio import ratio


def solve_chain(
    source: Float[Array, "layer *pool"],
    loss: Float[Array, "layer *pool"],
    up: Float[Array, "layer *pool"],
    down: Float[Array, "layer *pool"],
) -> tuple[Float[Array, "layer *pool"], Bool[Array, ""]]:
    """Return the amounts at which each layer's gains equal its losses.

    Parameters
    ----------
    source
        What enters each layer from outside, per year.
    loss
        Rate at which a layer's carbon leaves the chain, yr-1.
    up, down
        Rates into the layer above and below, yr-1. `up` of the first and `down` of the last
        layer must be 0.

    Returns
    -------
    amounts
        In the unit of source x yr. Several independent pools may be solved at once along a
        trailing dimension. A layer that nothing enters and nothing leaves holds 0.
    stuck
        Whether carbon enters some layer that it can never leave: there is no steady state, and
        the amounts are not one.
    """
    down_above = jnp.concatenate([jnp.zeros_like(down[:1]), down[:-1]])

    def eliminate(carry: tuple, layer: tuple) -> tuple:
        loss_below, source_below = carry
        source, loss, up, down_above = layer
        loss = loss + loss_below
        source = source + source_below
        out = loss + up
        inflow, held = ratio(down_above, out), ratio(source, out)
        return (inflow * loss, held * up), (held, inflow, (out == 0.0) & (source > 0.0))

    def substitute(above: Array, layer: tuple) -> tuple:
        held, inflow = layer
        amount = held + inflow * above
        return amount, amount

    zero = jnp.zeros_like(source[0])
    _, (held, inflow, stuck) = jax.lax.scan(
        eliminate, (zero, zero), (source, loss, up, down_above), reverse=True
    )
    _, amounts = jax.lax.scan(substitute, zero, (held, inflow))
    return amounts, stuck.any()
