"""Water scalar of thawed soil from the climate that the forcing was estimated from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from proda import cf
from proda.drivers.climate_input import open_climate
from proda.drivers.forcing_rules import ClimateRules
from proda.drivers.soil_physics import water_potential, water_scalar
from proda.maps.cells import LandCells
from proda.maps.map_comparison import positions

_NAMES = (
    "liquid_saturation",
    "frozen_saturation",
    "sand_fraction_testbed",
    "clay_fraction_testbed",
)


@dataclass(frozen=True, eq=False)
class ThawedWater:
    """The water scalar of thawed soil in each land cell, by the rule of estimated forcing."""

    water: np.ndarray

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        """Return the water scalar at some cells."""
        return self.water[cells]


def thawed_water(
    climate: Path, names: dict[str, str], cells: LandCells, w_floor: float, rules: ClimateRules
) -> ThawedWater:
    """Read the climate and return the water scalar of thawed soil.

    Raises
    ------
    MapError
        If the climate is on another grid.
    """
    opened = open_climate(climate, names)
    like = xr.Dataset(coords={"lat": cells.lat, "lon": cells.lon})
    row, column = (
        positions(opened, like, axis, "climate")[at]
        for axis, at in (("lat", cells.row), ("lon", cells.column))
    )
    small = cf.load(opened[list(_NAMES)], climate)
    liquid, frozen, sand, clay = (
        small[n].transpose("lat", "lon").to_numpy().astype(np.float64)[row, column] for n in _NAMES
    )
    potential = water_potential(liquid + frozen, 100 * sand, 100 * clay)
    return ThawedWater(water_scalar(potential, w_floor, rules.psi_min_mpa))
