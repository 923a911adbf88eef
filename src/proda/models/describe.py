"""Pools and flows of a model as it declares them, for tables and diagrams."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from proda.column.column import Column, prepare
from proda.examples import example_columns
from proda.forcing import SITE_PROPERTIES, Forcing
from proda.models.model import Reason, SoilModel, Transfers


@dataclass(frozen=True)
class Flow:
    """One pathway of carbon inside a layer."""

    donor: str
    """A pool, or "plants"."""
    receiver: str
    """A pool, "CO2", or one of the model's other losses."""


def flows(model: SoilModel) -> tuple[Flow, ...]:
    """Return all pathways: from plants, between pools, to CO2, and to other losses.

    They are read from the model's transfers in a synthetic column with equal pools.
    """
    column = _made_up_column()
    middle = {row.name: jnp.asarray(row.middle) for row in model.rows}
    pools = jnp.full((len(model.pools), len(column.grid)), 100.0)
    t: Transfers = model.transfers(pools, middle, column)
    fed = [
        Flow("plants", name)
        for name, rate in zip(model.pools, t.input, strict=True)
        if (rate > 0).any()
    ]
    paths = {**t.fraction, **t.lost}
    between = [Flow(donor, receiver) for receiver, donor in paths]
    passed = {name: jnp.zeros(()) for name in model.pools}
    for (_, donor), share in paths.items():
        passed[donor] = passed[donor] + jnp.mean(share)
    respiring = [Flow(name, "CO2") for name in model.pools if passed[name] < 1.0 - 1e-9]
    return (*fed, *between, *respiring)


@dataclass(frozen=True)
class Share:
    """The carbon flux along a pathway."""

    of_donor: float
    """Share of what leaves the donor."""
    of_input: float
    """Its carbon flux over the carbon input of the column."""


@functools.cache
def flow_shares(model: SoilModel) -> dict[Flow, Share]:
    """Return the carbon flux along each pathway at steady state; empty if there is none.

    In the temperate example column, at the model's defaults (the middle of the prior where a
    default depends on the site). Pathways that no carbon takes there are left out. A pathway from
    a pool to itself is what the pool keeps of its own losses.
    """
    column = _made_up_column()
    p = {
        row.name: jnp.where(jnp.isnan(value), row.middle, value)
        for row in model.rows
        for value in (jnp.asarray(model.default_values(column)[row.name], float),)
    }
    state = jax.jit(model.steady_state)(p, column)
    if int(state.reason) != Reason.FEASIBLE:
        return {}
    t = model.transfers(state.pools, p, column)
    thickness = column.grid.thickness
    out = np.asarray(model.outflow(state.pools, t) * thickness)
    fed = np.asarray((t.input * thickness).sum(axis=1))
    whole = float(fed.sum())
    total = dict(zip(model.pools, out.sum(axis=1), strict=True))
    carbon = {Flow("plants", n): float(v) for n, v in zip(model.pools, fed, strict=True)}
    left = dict(total)
    for (receiver, donor), share in {**t.fraction, **t.lost}.items():
        along = float((np.asarray(share) * out[model.pools.index(donor)]).sum())
        carbon[Flow(donor, receiver)] = along
        left[donor] -= along
    carbon |= {Flow(n, "CO2"): float(v) for n, v in left.items() if v > 1e-9 * total[n]}
    return {
        flow: Share(v / (whole if flow.donor == "plants" else float(total[flow.donor])), v / whole)
        for flow, v in carbon.items()
        if v > 0.0
    }


def _made_up_column() -> Column:
    """Return the temperate example column with synthetic properties of the soil."""
    forcing = Forcing.from_dataset(example_columns().isel(site=[2]))
    soil = {v.name: np.full((1, len(forcing.grid)), 0.3 * v.upper) for v in SITE_PROPERTIES}
    column: Column = jax.tree.map(lambda leaf: leaf[0], prepare(replace(forcing, properties=soil)))
    return column
