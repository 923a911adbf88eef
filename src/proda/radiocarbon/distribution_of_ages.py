"""Ages of carbon at steady state, for any model: in all, by pool, by layer, and on leaving.

The tracer is carbon times age. It grows by the carbon there is, per year, and moves with it; its
steady state over the carbon is the mean age (docs/theory.md#radiocarbon).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.components import ComponentVariable
from proda.models.model import SoilModel, Values
from proda.radiocarbon.flows import factored, flows

AGES: tuple[ComponentVariable, ...] = (
    ComponentVariable("mean_age", "yr", "mean age of all carbon of the column", ""),
    ComponentVariable("mean_age_soil", "yr", "mean age of the carbon of the soil pools", ""),
    ComponentVariable(
        "mean_age_0_30", "yr", "mean age of the carbon of the soil pools in 0-30 cm", ""
    ),
    ComponentVariable(
        "mean_age_0_100", "yr", "mean age of the carbon of the soil pools in 0-100 cm", ""
    ),
    ComponentVariable("transit_time", "yr", "mean age of the carbon that leaves the column", ""),
    ComponentVariable("mean_age_by_pool", "yr", "mean age of the carbon of each pool", ""),
    ComponentVariable(
        "mean_age_by_layer", "yr", "mean age of the carbon of the soil pools, by layer", ""
    ),
)
"""What :func:`ages` returns; carbon that is not there has the age 0."""

DEPTHS = {"mean_age_0_30": 0.3, "mean_age_0_100": 1.0}
"""Lower limits of the layers of which the age is given together, m."""


def ages(
    model: SoilModel, pools: Float[Array, "pool layer"], parameters: Values, column: Column
) -> dict[str, Float[Array, "..."]]:
    """Return the ages of the carbon of one column, by the names of :data:`AGES`, years.

    Parameters
    ----------
    model
        Any model.
    pools
        Its steady state, g m-3.
    parameters, column
        As for `model.steady_state`.

    Returns
    -------
    Scalars, and `mean_age_by_pool` (pool) and `mean_age_by_layer` (layer). Infinite where carbon is
    too old for a number: far below the roots almost nothing may decompose.
    """
    rates = flows(model, pools, parameters, column)
    stock = pools * column.grid.thickness
    aged = jnp.stack(factored(model, rates, 0.0).solve(list(stock)))
    # Of finite stocks, carbon times age is not a number only where it overflows.
    aged = jnp.where(jnp.isfinite(stock).all() & jnp.isnan(aged), jnp.inf, aged)
    inside = jnp.array([pool in model.soil_pools for pool in model.pools], float)
    old = inside @ jnp.where(inside[:, None] > 0.0, aged, 0.0)
    there = inside @ stock
    leaving = rates.respired + rates.leak
    above = {}
    for name, lower in DEPTHS.items():
        share = column.grid.thickness_within(0.0, lower) / column.grid.thickness
        above[name] = ratio(jnp.where(share > 0.0, old, 0.0) @ share, there @ share)
    return above | {
        "mean_age": ratio(aged.sum(), stock.sum()),
        "mean_age_soil": ratio(old.sum(), there.sum()),
        "transit_time": ratio(
            jnp.where(leaving > 0.0, leaving * aged, 0.0).sum(), (leaving * stock).sum()
        ),
        "mean_age_by_pool": ratio(aged.sum(axis=1), stock.sum(axis=1)),
        "mean_age_by_layer": ratio(old, there),
    }
