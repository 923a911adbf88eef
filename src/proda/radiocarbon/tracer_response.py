"""What a column holds of radiocarbon that entered long ago or lately, for any history of the air.

The ratio r of what enters is a history over the time s before sampling, and the stock of 14C at
sampling is the integral of r(s) exp(-lambda s) exp(M s) B I over s. A history written as

    r(s) = sum_k a_k (lambda s)^k / k!  +  sum_k c_k (p s)^k exp(-p s) / k!

has its integral in closed form, one solve for each term: the stocks below, times a_k and c_k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.models.model import SoilModel, Values
from proda.radiocarbon.basis import Basis
from proda.radiocarbon.flows import Flows, factored, flows

Reduce = Callable[[Sequence[Float[Array, " layer"]], Flows], Float[Array, "..."]]
"""What is kept of stocks (g m-2, one row for each pool), given the flows of the column."""


def response(
    model: SoilModel,
    pools: Float[Array, "pool layer"],
    parameters: Values,
    column: Column,
    basis: Basis,
    reduce: Reduce = lambda stock, _: jnp.stack(list(stock)),
) -> Float[Array, "term ..."]:
    """Return what a column holds of every term of a basis of histories, slow terms first.

    Times the coefficients of a history (of :class:`proda.radiocarbon.atmosphere.Atmosphere`) it is
    the radiocarbon of the column: the ratio to the standard times carbon.

    Parameters
    ----------
    model
        Any model.
    pools
        Its steady state, g m-3.
    parameters, column
        As for `model.steady_state`.
    basis
        The terms.
    reduce
        What is kept of the stocks of each term: by default all, (pool, layer), g m-2.
    """
    rates = flows(model, pools, parameters, column)
    kept = []
    for loss, speed, n in (
        (basis.decay, basis.decay, basis.n_slow),
        (basis.decay + basis.speed, basis.speed, basis.n_fast),
    ):
        solver = factored(model, rates, loss)
        source = list(rates.entering)
        for _ in range(n):
            stock = solver.solve(source)
            kept.append(reduce(stock, rates))
            source = [speed * row for row in stock]
    return jnp.stack(kept)


def soil(model: SoilModel) -> Reduce:
    """Return what sums the soil pools, which a measured layer holds: (layer), g m-2."""
    inside = [pool in model.soil_pools for pool in model.pools]

    def total(stock: Sequence[Float[Array, " layer"]], _: Flows) -> Float[Array, " layer"]:
        return sum(
            (row for row, counts in zip(stock, inside, strict=True) if counts),
            jnp.zeros_like(stock[0]),
        )

    return total


def respired(stock: Sequence[Float[Array, " layer"]], rates: Flows) -> Float[Array, " layer"]:
    """Return the CO2 that leaves each layer, g m-2 yr-1: weights of respiration instead of 1."""
    rows = zip(stock, rates.respired, strict=True)
    return sum((row * rate for row, rate in rows), jnp.zeros_like(stock[0]))
