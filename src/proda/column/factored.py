"""Balances of pools that are solved for several sources at the same rates.

The elimination is that of :mod:`proda.column.tridiagonal` and :mod:`proda.column.block_tridiagonal`
(states of a Markov chain, without any subtraction), done once; each source then costs one sweep up
and one down. Amounts and rates are one array over the layers for each pool: stacking them would
cost a transposition in every sweep under vmap, a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.ratio import ratio

Scalar = Float[Array, ""]
Row = Float[Array, " layer"]


class FactoredChains(NamedTuple):
    """Pools that only mix with their own kind in the neighbouring layers."""

    inverse: list[Row]
    """Years that carbon stays in a layer once the layers below are eliminated."""
    inflow: list[Row]
    """Amount in a layer per unit of the layer above."""
    up: list[Row]

    def solve(self, source: Sequence[Row]) -> list[Row]:
        """Return the amounts at which gains equal losses; `source` is what enters per year."""

        def rise(brought: list, layer: tuple) -> tuple[list, list]:
            entering, inverse, up = layer
            held = [(e + b) * i for e, b, i in zip(entering, brought, inverse, strict=True)]
            return [h * rate for h, rate in zip(held, up, strict=True)], held

        def sink(above: list, layer: tuple) -> tuple[list, list]:
            held, inflow = layer
            amount = [h + q * a for h, q, a in zip(held, inflow, above, strict=True)]
            return amount, amount

        zeros = [jnp.zeros_like(source[0][0])] * len(source)
        rising = (list(source), self.inverse, self.up)
        _, held = jax.lax.scan(rise, zeros, rising, reverse=True)
        _, amount = jax.lax.scan(sink, zeros, (held, self.inflow))
        return amount


def factor_chains(loss: Sequence[Row], up: Sequence[Row], down: Sequence[Row]) -> FactoredChains:
    """Eliminate independent chains.

    Parameters
    ----------
    loss
        Rate at which carbon leaves the chain, yr-1.
    up, down
        Rate into the layer above and below, yr-1.
    """

    def eliminate(lost_below: list, layer: tuple) -> tuple[list, tuple]:
        own, to_above, arriving = layer
        lost = [a + b for a, b in zip(own, lost_below, strict=True)]
        out = [a + b for a, b in zip(lost, to_above, strict=True)]
        inflow = [ratio(a, o) for a, o in zip(arriving, out, strict=True)]
        inverse = [ratio(jnp.ones_like(o), o) for o in out]
        return [q * a for q, a in zip(inflow, lost, strict=True)], (inverse, inflow)

    zeros = [jnp.zeros_like(loss[0][0])] * len(loss)
    layers = (list(loss), list(up), [_from_above(row) for row in down])
    _, (inverse, inflow) = jax.lax.scan(eliminate, zeros, layers, reverse=True)
    return FactoredChains(inverse, inflow, list(up))


class FactoredPools(NamedTuple):
    """Pools that act on each other inside a layer and do not mix."""

    inverse: list[list[Row]]
    """Amount of a pool per unit that enters each pool per year, yr."""

    def solve(self, source: Sequence[Row]) -> list[Row]:
        """Return the amounts at which gains equal losses; `source` is what enters per year."""
        return _times(self.inverse, source)


class FactoredBlocks(NamedTuple):
    """Pools that act on each other inside a layer and mix with their own kind."""

    inverse: list[list[Row]]
    """Amount of a pool per unit that enters each pool per year, once the layers below are
    eliminated, yr."""
    up: list[Row]
    from_above: list[Row]
    """Rates into and from the layer above, yr-1."""

    def solve(self, source: Sequence[Row]) -> list[Row]:
        """Return the amounts at which gains equal losses; `source` is what enters per year."""

        def rise(brought: list, layer: tuple) -> tuple[list, list]:
            entering, inverse, up = layer
            held = _times(inverse, [e + b for e, b in zip(entering, brought, strict=True)])
            return [h * rate for h, rate in zip(held, up, strict=True)], held

        def sink(above: list, layer: tuple) -> tuple[list, list]:
            held, inverse, down = layer
            more = _times(inverse, [a * rate for a, rate in zip(above, down, strict=True)])
            amount = [h + m for h, m in zip(held, more, strict=True)]
            return amount, amount

        zeros = [jnp.zeros_like(source[0][0])] * len(source)
        rising = (list(source), self.inverse, self.up)
        _, held = jax.lax.scan(rise, zeros, rising, reverse=True)
        _, amounts = jax.lax.scan(sink, zeros, (held, self.inverse, self.from_above))
        return amounts


def factor_pools(rate: Mapping[tuple[int, int], Row], loss: Sequence[Row]) -> FactoredPools:
    """Eliminate pools that do not mix in depth.

    Parameters
    ----------
    rate
        By (receiver, donor): from pool to pool of the same layer, yr-1.
    loss
        Out of the pools, yr-1.
    """
    return FactoredPools(_inverse(dict(rate), list(loss)))


def factor_blocks(
    rate: Mapping[tuple[int, int], Row],
    loss: Sequence[Row],
    up: Sequence[Row],
    down: Sequence[Row],
) -> FactoredBlocks:
    """Eliminate pools that act on each other inside a layer and mix with their own kind.

    With G the inverse of a layer, carbon that reaches it from pool j above is lost at the rate
    sum_i loss_i G_ij down_j, and returns to pool i above at up_i G_ij down_j.
    """
    n = len(loss)
    here = range(n)
    rows = {pair: jnp.broadcast_to(row, loss[0].shape) for pair, row in rate.items()}
    from_above = [_from_above(row) for row in down]

    def eliminate(carry: tuple, layer: tuple) -> tuple[tuple, Any]:
        between, lost_below = carry
        inside, own, to_above, arriving = layer
        local = {(i, j): between[i][j] for i in here for j in here if i != j}
        for pair, value in inside.items():
            local[pair] = local[pair] + value
        lost = [a + b for a, b in zip(own, lost_below, strict=True)]
        inverse = _inverse(local, [a + b for a, b in zip(lost, to_above, strict=True)])
        through = [[inverse[i][j] * arriving[j] for j in here] for i in here]
        lost_through = [sum(lost[i] * through[i][j] for i in here) for j in here]
        return (
            [[to_above[i] * through[i][j] for j in here] for i in here],
            lost_through,
        ), inverse

    zero = jnp.zeros(())
    start = ([[zero] * n for _ in here], [zero] * n)
    _, inverse = jax.lax.scan(
        eliminate, start, (rows, list(loss), list(up), from_above), reverse=True
    )
    return FactoredBlocks(inverse, list(up), from_above)


def _inverse(rate: dict[tuple[int, int], Any], loss: Sequence[Any]) -> list[list[Any]]:
    """Return the amount of each pool per unit that enters each pool per year.

    Parameters
    ----------
    rate
        By (receiver, donor), yr-1; changed.
    loss
        Out of all pools, yr-1.
    """
    n, lost = len(loss), list(loss)
    held: list[dict[int, Any]] = []  # by pool, its amount per unit that enters, before filling
    inflow: list[dict[int, Any]] = []
    entering: list[dict[int, Any]] = [{k: 1.0} for k in range(n)]
    for k in range(n):
        left = range(k + 1, n)
        handed = {i: rate[i, k] for i in left if (i, k) in rate}
        out = lost[k] + sum(handed.values(), jnp.zeros_like(lost[k]))
        held.append({e: ratio(jnp.asarray(x), out) for e, x in entering[k].items()})
        inflow.append({j: ratio(rate[k, j], out) for j in left if (k, j) in rate})
        for j, through in inflow[k].items():
            lost[j] = lost[j] + through * lost[k]
            for i, onward in handed.items():
                if i != j:
                    rate[i, j] = rate.get((i, j), 0.0) + through * onward
        for i, onward in handed.items():
            for e, x in held[k].items():
                entering[i][e] = entering[i].get(e, 0.0) + x * onward
    rows: list[dict[int, Any]] = [{} for _ in range(n)]
    for k in reversed(range(n)):
        rows[k] = dict(held[k])
        for j, q in inflow[k].items():
            for e, x in rows[j].items():
                rows[k][e] = rows[k].get(e, 0.0) + q * x
    zero = jnp.zeros_like(loss[0])
    return [[row.get(e, zero) for e in range(n)] for row in rows]


def _times(matrix: Sequence[Sequence[Any]], vector: Sequence[Any]) -> list[Any]:
    return [sum(a * x for a, x in zip(row, vector, strict=True)) for row in matrix]


def _from_above(down: Row) -> Row:
    """Return the rate from the layer above into each layer."""
    return jnp.concatenate([jnp.zeros_like(down[:1]), down[:-1]])
