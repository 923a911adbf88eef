"""Pools and flows of a model as it declares them, for tables and diagrams."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from proda.column.column import prepare
from proda.examples import example_columns
from proda.forcing import SITE_PROPERTIES, Forcing
from proda.models.model import SoilModel, Transfers


@dataclass(frozen=True)
class Flow:
    """One pathway of carbon inside a layer."""

    donor: str
    """A pool, or "plants"."""
    receiver: str
    """A pool, or "CO2"."""


def flows(model: SoilModel) -> tuple[Flow, ...]:
    """Return all pathways: from plants, between pools, and to CO2 where a pool respires.

    They are read from the model's transfers in a made-up column, with every pool filled alike.
    """
    forcing = Forcing.from_dataset(example_columns().isel(site=[2]))
    soil = {v.name: np.full((1, len(forcing.grid)), 0.3 * v.upper) for v in SITE_PROPERTIES}
    column = jax.tree.map(lambda leaf: leaf[0], prepare(replace(forcing, properties=soil)))
    middle = {row.name: jnp.asarray(0.5 * (row.lower + row.upper)) for row in model.rows}
    pools = jnp.full((len(model.pools), len(forcing.grid)), 100.0)
    t: Transfers = model.transfers(pools, middle, column)
    fed = [Flow("plants", name) for name, rate in zip(model.pools, t.input, strict=True)
           if (rate > 0).any()]  # fmt: skip
    between = [Flow(donor, receiver) for receiver, donor in t.fraction]
    passed = {name: jnp.zeros(()) for name in model.pools}
    for (_, donor), share in t.fraction.items():
        passed[donor] = passed[donor] + jnp.mean(share)
    respiring = [Flow(name, "CO2") for name in model.pools if passed[name] < 1.0 - 1e-9]
    return (*fed, *between, *respiring)
