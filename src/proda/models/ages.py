"""Mean age of carbon at steady state, for any model (docs/theory.md#the-six-components)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.model import SoilModel, Values
from proda.models.second_order import flow_rates, solve_stocks

FOREVER = 1e12
"""Years after which the tracer has come to rest, however old the carbon is."""


def mean_age(
    model: SoilModel, pools: Float[Array, "pool layer"], parameters: Values, column: Column
) -> Float[Array, ""]:
    """Return the mean age of all carbon of a column at steady state, years.

    The flows of a steady state are constant, and so linear in a tracer, whatever the kinetics. The
    tracer here is carbon times age: it grows by the carbon there is, per year, and moves with it;
    its steady state over the carbon is the mean age. A column without carbon has 0.
    """
    stock = pools * column.grid.thickness
    rates, _ = flow_rates(model, pools, parameters, column)
    aged = solve_stocks(model, rates, FOREVER * stock, jnp.asarray(FOREVER))
    return ratio(aged.sum(), stock.sum())
