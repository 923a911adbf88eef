"""The drivers of changed columns: temperature, active layer, water of thawing soil, carbon input.

The rules are those for estimating forcing from climate
(docs/theory.md#forcing-estimated-from-climate), applied to the difference from the present, so that
they can also be used with forcing from CLM, and a change of 0 gives exactly the present forcing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from proda.drivers.soil_physics import DAMPING_DEPTH_M, FREEZING_K, active_layer_depth
from proda.forcing import Forcing
from proda.projection.experiments import Change


def changed(
    forcing: Forcing, change: Change, thawed_water: Float[np.ndarray, " site"] | None = None
) -> Forcing:
    """Return the forcing of columns under a change.

    - Temperature: the annual mean of the warming is added at all depths; deviations of a month from
    it are damped with depth like the annual wave.
    - Active layer: the present one, plus the difference between the thaw depths of the changed and
    the present temperatures. Mixing and the depth of the carbon input follow from it.
    - Water scalar: a layer and month that thaws gets the mean over the column's layers and months
    that are thawed at present (in estimated forcing they have one value); elsewhere it is
    unchanged, except for the change of water in the experiment.
    - Carbon input: the present input times the change, pool by pool.

    Parameters
    ----------
    forcing
        The present forcing.
    thawed_water
        Water scalar of thawed soil, for columns that are frozen at all depths all year; without it
        (None or NaN) their water scalar is unchanged.
    """
    warming = _with_depth(change.warming, forcing.grid.node)
    temperature = forcing.soil_temperature + warming
    water = forcing.w_scalar
    if change.water is not None:
        lowest = water.min(axis=(1, 2), keepdims=True)
        water = np.clip(water + change.water[:, None, :], lowest, 1.0)
    moved = {}
    if change.warming.any():
        water = _of_thawed(forcing, temperature, water, thawed_water)
        deeper = active_layer_depth(temperature, forcing.grid) - active_layer_depth(
            forcing.soil_temperature, forcing.grid
        )
        bottom = float(forcing.grid.interface[-1])
        moved = {
            name: np.where(
                deeper[:, None] == 0.0,
                getattr(forcing, name),
                np.clip(getattr(forcing, name) + deeper[:, None], 0.0, bottom),
            )
            for name in ("altmax", "altmax_lastyear")
        }
    return replace(
        forcing,
        soil_temperature=temperature,
        w_scalar=water,
        litter_input=forcing.litter_input * change.carbon_input,
        **moved,
    )


def _with_depth(
    warming: Float[np.ndarray, "site month"], node: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, "site layer month"]:
    mean = warming.mean(axis=1, keepdims=True)
    damped = np.exp(-node / DAMPING_DEPTH_M)[None, :, None]
    return mean[:, None, :] + damped * (warming - mean)[:, None, :]


def _of_thawed(
    forcing: Forcing,
    temperature: Float[np.ndarray, "site layer month"],
    water: Float[np.ndarray, "site layer month"],
    thawed_water: Float[np.ndarray, " site"] | None,
) -> Float[np.ndarray, "site layer month"]:
    """Return the water scalar with that of soil that thaws, or freezes, replaced.

    Soil that freezes gets the smallest water scalar of the column's present frozen soil; without
    such soil it is unchanged.
    """
    today, then = forcing.soil_temperature > FREEZING_K, temperature > FREEZING_K
    count = today.sum(axis=(1, 2))
    mean = (water * today).sum(axis=(1, 2)) / np.maximum(count, 1)
    given = np.full(len(forcing), np.nan) if thawed_water is None else thawed_water
    wet = np.where(count > 0, mean, given)[:, None, None]
    frozen = np.where(today, np.inf, water).min(axis=(1, 2), keepdims=True)
    thaws = then & ~today & np.isfinite(wet)
    freezes = ~then & today & np.isfinite(frozen)
    return np.where(thaws, wet, np.where(freezes, frozen, water))
