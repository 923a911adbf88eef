"""Synthetic columns and parameters, more extreme than real ones, on which models are checked."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from proda.examples import example_columns
from proda.forcing import Forcing
from proda.models.model import SoilModel


def rough_forcing(seed: int, n: int) -> Forcing:
    """Return synthetic columns with extreme conditions: ice, drought, permafrost, bedrock."""
    rng = np.random.default_rng(seed)
    profile = (n, 20, 12)
    mean = rng.uniform(240.0, 305.0, (n, 1, 1))
    temperature = mean + rng.uniform(0, 15, (n, 1, 1)) * rng.standard_normal(profile)
    water = np.clip(rng.uniform(-0.3, 1.2, profile), 0.0, 1.0)
    dry = rng.random((n, 1, 1)) < 0.1
    altmax = np.where(rng.random((n, 1)) < 0.4, 42.0, rng.uniform(0.0, 4.0, (n, 12)))
    last = np.where(rng.random((n, 1)) < 0.5, altmax, rng.uniform(0.0, 4.0, (n, 12)))
    frozen = rng.random((n, 1)) < 0.15
    litter = rng.uniform(0.0, 500.0, (n, 4)) * (rng.random((n, 4)) < 0.9)
    return Forcing.from_dataset(
        xr.Dataset(
            {
                "soil_temperature": (("site", "layer", "month"), np.clip(temperature, 190, 340)),
                "w_scalar": (("site", "layer", "month"), np.where(dry, 0.0, water)),
                "o_scalar": (("site", "layer", "month"), rng.uniform(0.05, 1.0, profile)),
                "n_scalar": (("site", "layer", "month"), rng.uniform(0.2, 1.0, profile)),
                "sand": (("site", "layer"), rng.uniform(0.0, 100.0, (n, 20))),
                "nbedrock": (("site",), rng.integers(1, 21, n)),
                "altmax": (("site", "month"), np.where(frozen, 0.0, altmax)),
                "altmax_lastyear": (("site", "month"), np.where(frozen, 0.0, last)),
                "litter_input": (("site", "litter"), litter),
            }
        )
    )


def rough_parameters(model: SoilModel, seed: int, n: int) -> dict[str, np.ndarray]:
    """Draw from the whole prior box; every fifth value lies on its boundary."""
    rng = np.random.default_rng(seed)
    values = {}
    for row in model.rows:
        unit = rng.random(n)
        edge = rng.random(n)
        unit = np.where(edge < 0.1, 0.0, np.where(edge < 0.2, 1.0, unit))
        value = row.at(unit)
        if row.positive and row.lower == 0.0:
            tiny = row.upper * 10.0 ** rng.uniform(-8.0, -1.0, n)
            value = np.where(unit == 0.0, tiny, value)
        values[row.name] = np.minimum(value, row.upper)
    return values


def with_properties(forcing: Forcing, seed: int = 0) -> Forcing:
    """Return the same columns with synthetic properties of the soil."""
    rng = np.random.default_rng(seed)
    shape = (len(forcing), len(forcing.grid))
    clay = rng.uniform(0.0, 70.0, shape)
    return dataclasses.replace(
        forcing,
        properties={
            "clay": clay,
            "silt": rng.uniform(0.0, 1.0, shape) * (100.0 - clay),
            "ph": rng.uniform(4.0, 8.5, shape),
            "bulk_density": rng.uniform(300.0, 1700.0, shape),
            "coarse": rng.uniform(0.0, 40.0, shape),
        },
    )


def example_forcing() -> Forcing:
    """Return the six example columns with synthetic properties of the soil."""
    return with_properties(Forcing.from_dataset(example_columns()))
