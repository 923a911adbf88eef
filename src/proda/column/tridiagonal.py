"""Steady state of chains of pools that only mix with their neighbours in depth.

The unknowns are treated as states of a Markov chain: carbon in a layer leaves at known rates to the
layer above, to the layer below, and out of the chain. Eliminating a layer redistributes its flux
among the remaining ones (Grassmann, Taghizadeh and Heyman 1985). Nothing is subtracted: pools
cannot become negative, and no digits are lost even in a stiff column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from proda.column.ratio import ratio

Scalar = Float[Array, ""]


class ChainRates(NamedTuple):
    """Rates of one layer, yr-1, each a sequence over the pools."""

    loss: Sequence[Scalar]
    """Out of the pools (decomposed or respired, or leaked)."""
    up: Sequence[Scalar]
    """Into the layer above; 0 in the first layer."""
    down_above: Sequence[Scalar]
    """From the layer above into this layer; 0 in the first layer."""
    source: Sequence[Scalar]
    """What enters from outside, per year."""


def solve_chains(
    layers: Any, rates: Callable[[Any], ChainRates]
) -> tuple[tuple[Float[Array, " layer"], ...], Bool[Array, ""]]:
    """Return the amounts at which each layer's gains equal its losses, for independent pools.

    Parameters
    ----------
    layers
        A pytree whose leaves have the leading dimension layer, from the top down.
    rates
        Gives the rates of one layer from one slice of `layers`.

    Returns
    -------
    amounts
        One array over the layers for each pool, in the unit of source x yr. A layer that nothing
        enters and nothing leaves holds 0.
    stuck
        Whether carbon enters a layer that it cannot leave: then there is no steady state, and the
        amounts are meaningless.
    """

    def eliminate(carry: list, layer: Any) -> tuple[list, list]:
        handed_on, factors = [], []
        for (loss_below, source_below), loss, up, down_above, source in zip(
            carry, *rates(layer), strict=True
        ):
            lost = loss + loss_below
            entered = source + source_below
            out = lost + up
            inflow, held = ratio(down_above, out), ratio(entered, out)
            handed_on.append((inflow * lost, held * up))
            factors.append((held, inflow, (out == 0.0) & (entered > 0.0)))
        return handed_on, factors

    def substitute(above: list, layer: list) -> tuple[list, list]:
        amounts = [
            held + inflow * amount for (held, inflow, _), amount in zip(layer, above, strict=True)
        ]
        return amounts, amounts

    first = rates(jax.tree.map(lambda leaf: leaf[0], layers)).source
    zero = jnp.zeros_like(first[0])
    start = [(zero, zero) for _ in first]
    _, factors = jax.lax.scan(eliminate, start, layers, reverse=True)
    _, amounts = jax.lax.scan(substitute, [zero for _ in first], factors)
    return tuple(amounts), jnp.stack([stuck.any() for _, _, stuck in factors]).any()
