"""Steady state of chains of pools that only mix with their neighbours in depth.

The unknowns are seen as states of a Markov chain: carbon in a layer leaves at known rates to the
layer above, to the layer below, and out of the chain. Eliminating a layer hands its traffic on to
the remaining ones (Grassmann, Taghizadeh and Heyman 1985). Nothing is ever subtracted: pools
cannot turn negative and every digit survives, however stiff the column.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def safe_divide(
    numerator: Float[Array, "*shape"], denominator: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Divide, with x / 0 = 0; the caller must flag the cases where that is not the answer."""
    positive = denominator != 0.0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1.0), 0.0)


def stock_at_balance(
    source: Float[Array, "*shape"], rate: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return source / rate: 0 where nothing enters, infinite where it cannot leave."""
    closed = rate == 0.0
    return jnp.where(
        closed, jnp.where(source > 0.0, jnp.inf, 0.0), source / jnp.where(closed, 1.0, rate)
    )


def solve_chain(
    source: Float[Array, layer * pool],
    loss: Float[Array, layer * pool],
    up: Float[Array, layer * pool],
    down: Float[Array, layer * pool],
) -> Float[Array, layer * pool]:
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
    Amounts, in the unit of source x yr. Several independent pools may be solved at once along a
    trailing dimension. A layer that nothing enters and nothing leaves holds 0; one with a source
    but no way out has no steady state: its amount is infinite, and the layers below have none.
    """
    down_above = jnp.concatenate([jnp.zeros_like(down[:1]), down[:-1]])

    def eliminate(carry: tuple, layer: tuple) -> tuple:
        loss_below, source_below = carry
        source, loss, up, down_above = layer
        loss = loss + loss_below
        source = source + source_below
        out = loss + up
        closed = out == 0.0
        per_out = jnp.where(closed, 0.0, 1.0 / jnp.where(closed, 1.0, out))
        inflow = down_above * per_out
        held = source * per_out
        stuck = jnp.where(closed & (source > 0.0), jnp.inf, held)
        return (inflow * loss, held * up), (stuck, inflow)

    def substitute(above: Array, layer: tuple) -> tuple:
        held, inflow = layer
        amount = held + inflow * above
        return amount, amount

    zero = jnp.zeros_like(source[0])
    _, factors = jax.lax.scan(eliminate, (zero, zero), (source, loss, up, down_above), reverse=True)
    _, amounts = jax.lax.scan(substitute, zero, factors)
    return amounts
