"""Steady state of pools that exchange carbon inside a layer and mix with their own kind in depth.

The operator is block tridiagonal: full blocks inside a layer, diagonal blocks between layers. It is
eliminated state by state as a Markov chain (see :mod:`proda.column.tridiagonal`), without any
subtraction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.ratio import ratio
from proda.column.tridiagonal import ChainRates, Scalar


class LayerRates(NamedTuple):
    """Rates of one layer's pools, yr-1."""

    transfer: Sequence[Sequence[Scalar | float]]
    """`transfer[i][j]`: from pool j to pool i of the same layer; the diagonal is not used, and a
    Python 0.0 marks a pathway that does not exist."""
    chains: ChainRates
    """All other rates."""


def solve_coupled_chains(
    layers: Any, rates: Callable[[Any], LayerRates]
) -> tuple[Float[Array, " layer"], ...]:
    """Return the amounts of each pool at which gains equal losses in every layer.

    Parameters
    ----------
    layers
        A pytree whose leaves have the leading dimension layer, from the top down.
    rates
        Gives the rates of one layer from one slice of `layers`.

    Returns
    -------
    One array over the layers for each pool, in the unit of source x yr. A pool that carbon cannot
    leave is 0, and the carbon that enters it is missing from the losses of the column: the caller
    checks that respiration equals input.
    """
    first = rates(jax.tree.map(lambda leaf: leaf[0], layers)).chains.source
    n = len(first)
    here = range(n)
    above = range(n, 2 * n)

    def eliminate(carry: tuple, layer: Any) -> tuple:
        between, lost, brought = carry
        transfer, local = rates(layer)
        # rate[to, from] among the pools of this layer (0..n-1) and of the layer above (n..2n-1).
        rate: dict[tuple[int, int], Scalar] = {}
        for i in here:
            for j in here:
                if i != j:
                    rate[i, j] = between[i][j] + transfer[i][j]
            rate[n + i, i] = local.up[i]
            rate[i, n + i] = local.down_above[i]
        loss = dict(enumerate([lost[j] + local.loss[j] for j in here]))
        source = dict(enumerate([brought[j] + local.source[j] for j in here]))
        factors = _eliminate(n, above, rate, loss, source)
        zero = jnp.zeros_like(factors[0][0])
        between = [[rate.get((n + i, n + j), zero) if i != j else zero for j in here] for i in here]
        carry = (between, [loss[j] for j in above], [source[j] for j in above])
        return carry, factors

    def substitute(amounts_above: list, layer: tuple) -> tuple:
        return (result := _substitute(layer, dict(zip(above, amounts_above, strict=True)))), result

    zero = jnp.zeros_like(first[0])
    zeros = [zero] * n
    start = ([[zero] * n for _ in here], zeros, zeros)
    _, factors = jax.lax.scan(eliminate, start, layers, reverse=True)
    _, amounts = jax.lax.scan(substitute, zeros, factors)
    return tuple(amounts)


def solve_coupled_pools(
    rate: Mapping[tuple[int, int], Scalar], loss: Sequence[Scalar], source: Sequence[Scalar]
) -> list[Scalar]:
    """Return the amounts at which gains equal losses of pools that do not mix in depth.

    Parameters
    ----------
    rate
        By (receiver, donor): from pool to pool of the same layer, yr-1.
    loss
        Out of the pools, yr-1.
    source
        What enters from outside, per year.
    """
    rates, losses, sources = dict(rate), dict(enumerate(loss)), dict(enumerate(source))
    return _substitute(_eliminate(len(loss), (), rates, losses, sources), {})


def _eliminate(
    n: int,
    others: Sequence[int],
    rate: dict[tuple[int, int], Scalar],
    loss: dict[int, Scalar],
    source: dict[int, Scalar],
) -> tuple[list[Scalar], list[dict[int, Scalar]]]:
    """Eliminate states 0..n-1; the remaining entries of the three tables then include their flux.

    Returns
    -------
    The amount of each state by itself, and its amount per unit of each later state.
    """
    held, inflow = [], []
    for k in range(n):
        left = [*range(k + 1, n), *others]
        receivers = [i for i in left if (i, k) in rate]
        donors = [j for j in left if (k, j) in rate]
        out = loss[k]
        for i in receivers:
            out = out + rate[i, k]
        held.append(ratio(source[k], out))
        inflow.append({j: ratio(rate[k, j], out) for j in donors})
        for j in donors:
            through = inflow[k][j]
            _add(loss, j, through * loss[k])
            for i in receivers:
                if i != j:
                    _add(rate, (i, j), through * rate[i, k])
        for i in receivers:
            _add(source, i, held[k] * rate[i, k])
    return held, inflow


def _substitute(
    factors: tuple[list[Scalar], list[dict[int, Scalar]]], amount: dict[int, Scalar]
) -> list[Scalar]:
    """Return the amounts of the eliminated states from those of the others."""
    held, inflow = factors
    for k in reversed(range(len(held))):
        amount[k] = held[k] + sum(inflow[k][j] * amount[j] for j in inflow[k])
    return [amount[k] for k in range(len(held))]


def _add(table: dict[Any, Scalar], key: Any, value: Scalar) -> None:
    table[key] = table[key] + value if key in table else value
