"""Built-in columns: synthetic, smooth and typical, so that everything can be tried without data."""

from __future__ import annotations

import numpy as np
import xarray as xr

from proda.forcing import FORCING_VARIABLES, LITTER, N_MONTHS
from proda.grid import CLM5_GRID, Grid

# name: mean and half yearly range of temperature (C), water scalar, litter (g m-2 yr-1),
# sand (%), layers above bedrock, warmest month, latitude, longitude
_CLIMATES = {
    "tundra": (-9.0, 17.0, 0.55, (5.0, 40.0, 45.0, 22.0), 35.0, 20, 7, 71.0, 128.0),
    "boreal forest": (-1.0, 15.0, 0.60, (60.0, 90.0, 110.0, 55.0), 45.0, 15, 7, 62.0, 25.0),
    "temperate forest": (10.0, 10.0, 0.75, (120.0, 160.0, 150.0, 75.0), 40.0, 12, 7, 48.0, 9.0),
    "prairie": (8.0, 14.0, 0.45, (0.0, 130.0, 110.0, 50.0), 30.0, 20, 7, 45.0, -100.0),
    "savanna": (25.0, 3.0, 0.50, (60.0, 190.0, 170.0, 80.0), 60.0, 20, 1, -15.0, 25.0),
    "rain forest": (26.0, 1.0, 0.90, (260.0, 320.0, 260.0, 130.0), 25.0, 20, 1, -3.0, -60.0),
}


def example_columns(grid: Grid = CLM5_GRID) -> xr.Dataset:
    """Return the forcing of six synthetic columns from tundra to rain forest.

    A damped temperature wave in the soil, a water scalar that falls where it is frozen, no lack of
    oxygen or nitrogen. For trying things out and for tests; not for science.

    Examples
    --------
    >>> import proda
    >>> proda.example_columns()["site"].to_numpy().tolist()[:2]
    ['tundra', 'boreal forest']
    """
    z = grid.node[:, None]
    month = np.arange(1, N_MONTHS + 1)[None, :]
    damping = 2.24
    dims = {v.name: v.dims for v in FORCING_VARIABLES}
    rows: dict[str, list] = {name: [] for name in dims}
    for mean, amplitude, water, litter, sand, nbedrock, warmest, *_ in _CLIMATES.values():
        phase = 2 * np.pi * (month - warmest) / 12 - z / damping
        celsius = mean + amplitude * np.exp(-z / damping) * np.cos(phase)
        thawed = grid.interface[(celsius > 0).any(axis=1)]
        frozen_below = (celsius <= 0).all(axis=1).any()
        active_layer = (thawed.max() if thawed.size else 0.0) if frozen_below else 42.0
        rows["soil_temperature"].append(celsius + 273.15)
        rows["w_scalar"].append(np.where(celsius > 0, water, 0.1 * water))
        rows["o_scalar"].append(np.ones_like(celsius))
        rows["n_scalar"].append(np.ones_like(celsius))
        rows["sand"].append(np.full(len(grid), sand))
        rows["nbedrock"].append(nbedrock)
        rows["altmax"].append(np.full(N_MONTHS, active_layer))
        rows["altmax_lastyear"].append(np.full(N_MONTHS, active_layer))
        rows["litter_input"].append(litter)
    places = np.array([row[-2:] for row in _CLIMATES.values()])
    return xr.Dataset(
        {
            v.name: (v.dims, np.array(rows[v.name]), {"units": v.unit, "long_name": v.long_name})
            for v in FORCING_VARIABLES
        },
        coords={
            "site": list(_CLIMATES),
            "litter": list(LITTER),
            "month": np.arange(1, N_MONTHS + 1),
            "latitude": ("site", places[:, 0], {"units": "degrees_north"}),
            "longitude": ("site", places[:, 1], {"units": "degrees_east"}),
        },
        attrs={"title": "Six synthetic columns", "source": "proda.example_columns"},
    )
