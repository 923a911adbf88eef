"""The six system-level components of any model (P-Eq 10-14; docs/theory.md#the-six-components)."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.allocation import fraction_below
from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.model import SoilModel, Values


@dataclass(frozen=True)
class ComponentVariable:
    """One row of the registry of components: name in files, unit, meaning, source."""

    name: str
    unit: str
    long_name: str
    source: str


COMPONENTS: tuple[ComponentVariable, ...] = (
    ComponentVariable("CTE", "1", "carbon transfer efficiency", "P-Eq 10"),
    ComponentVariable("K", "yr-1", "baseline decomposition rate", "P-Eq 11"),
    ComponentVariable("V", "yr-1", "vertical transport rate", "P-Eq 12"),
    ComponentVariable("XI", "1", "environmental modifier", "P-Eq 13"),
    ComponentVariable("B", "1", "share of carbon input below 5 cm", "P-Eq 14"),
    ComponentVariable("I", "g m-2 yr-1", "plant carbon input", "P-Eq 2"),
    ComponentVariable(
        "litter_to_soil",
        "1",
        "litter carbon that reaches the soil pools, over the carbon input",
        "P-Fig S3",
    ),
    ComponentVariable("residence_time", "yr", "carbon stock over carbon input", "P-section 2.7"),
)
"""Every model has these; one with Michaelis constants has `michaelis_over_POOL` (P-Fig 5) too."""


MICROBES_TOP = 0.15
"""Depth of the soil in which microbes are mostly measured, m."""

MICROBES: tuple[ComponentVariable, ...] = (
    ComponentVariable("microbial_share", "1", "microbes, share of soil carbon", ""),
    ComponentVariable("microbial_share_0_15", "1", "microbes, share of soil carbon in 0-15 cm", ""),
)
"""Models with microbial pools have these too."""


def components(
    model: SoilModel, pools: Float[Array, "pool layer"], parameters: Values, column: Column
) -> dict[str, Float[Array, ""]]:
    """Return the components of one column at one state.

    Litter and soil are taken together, and layers are weighted by their stock.
    `michaelis_over_POOL` is the Michaelis constant over its substrate, weighted by the substrate;
    `microbial_share` and `microbial_share_0_15` are microbes over all soil (not litter) pools. In a
    column without carbon all components but B and I are 0.
    """
    t = model.transfers(pools, parameters, column)
    stock = pools * column.grid.thickness
    carbon = stock.sum(axis=0)
    flux = model.outflow(pools, t) * column.grid.thickness
    passed, to_soil = jnp.zeros(()), jnp.zeros(())
    for fed in model.soil_pools:  # carbon that enters soil pools directly
        to_soil = to_soil + (t.input[model.pools.index(fed)] * column.grid.thickness).sum()
    for (receiver, donor), share in t.fraction.items():
        along = (share * flux[model.pools.index(donor)]).sum()
        passed = passed + along
        if receiver in model.soil_pools and donor not in model.soil_pools:
            to_soil = to_soil + along
    carbon_input = (t.input * column.grid.thickness).sum()
    exchanged = t.transport.down + t.transport.up + t.transport.leak
    result = {
        "CTE": ratio(passed, flux.sum()),
        "K": ratio((t.decay * stock).sum(), stock.sum()),
        "V": ratio((exchanged * carbon).sum(), carbon.sum()),
        "XI": ratio((t.climate * carbon).sum(), carbon.sum()),
        "B": input_allocation(t.input_shares, column),
        "I": carbon_input,
        "litter_to_soil": ratio(to_soil, carbon_input),
        "residence_time": ratio(stock.sum(), carbon_input),
    }
    if model.microbial_pools:
        microbes = sum(
            (stock[model.pools.index(name)] for name in model.microbial_pools),
            jnp.zeros_like(carbon),
        )
        soil = model.soil_carbon(stock)
        top = column.grid.thickness_within(0.0, MICROBES_TOP) / column.grid.thickness
        result["microbial_share"] = ratio(microbes.sum(), soil.sum())
        result["microbial_share_0_15"] = ratio((microbes * top).sum(), (soil * top).sum())
    for name, constant in t.michaelis.items():
        pool = model.pools.index(name)
        result[f"michaelis_over_{name}"] = ratio(
            (constant * stock[pool]).sum(), (pools[pool] * stock[pool]).sum()
        )
    return result


def input_allocation(shares: Float[Array, " layer"], column: Column) -> Float[Array, ""]:
    """Return the component B: the mean over layers of exp(ln(1 - Y) / D), to the power 5.

    D is the lower interface in cm and Y the share of input above it. Layers with Y = 1 are left
    out; B is 0 if no layer remains.
    """
    below = fraction_below(shares)
    counts = below > 0.0
    depth_cm = 100.0 * column.grid.interface
    each = jnp.exp(jnp.log(jnp.where(counts, below, 1.0)) / depth_cm)
    return ratio(jnp.where(counts, each, 0.0).sum(), counts.sum().astype(each.dtype)) ** 5
