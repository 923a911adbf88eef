"""Small grids with synthetic forcing for the tests of maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

import proda
from proda.drivers.grids import cell_area, gridded_dims
from proda.forcing import FORCING_VARIABLES
from tests.conftest import rough_forcing, rough_parameters


def small_grid(seed: int = 3, shape: tuple[int, int] = (7, 9), dask: bool = True) -> xr.Dataset:
    """Forcing on a grid from north to south with sea, one cell without data, and land fractions.

    Stored in blocks that divide neither rows nor columns.
    """
    rng = np.random.default_rng(seed)
    n_lat, n_lon = shape
    lat = np.linspace(75.0, -45.0, n_lat)
    lon = -170.0 + 12.0 * np.arange(n_lon)
    status = np.where(rng.random(shape) < 0.35, 1, 0).astype(np.int8)
    status[0, 0], status[0, 1], status[-1, -1] = 0, 2, 0
    usable = status == 0
    forcing = rough_forcing(seed, int(usable.sum()))
    data = {}
    for variable in FORCING_VARIABLES:
        values = getattr(forcing, variable.name)
        full = np.full((*shape, *values.shape[1:]), np.nan, np.float32)
        full[usable] = values
        data[variable.name] = (gridded_dims(variable.dims), full, {"units": variable.unit})
    data["status"] = (("lat", "lon"), status)
    data["cell_area"] = (("lat", "lon"), cell_area(lat, lon).astype(np.float32), {"units": "km2"})
    fraction = rng.uniform(0.05, 1.0, shape).astype(np.float32)
    data["land_fraction"] = (("lat", "lon"), fraction)
    dataset = xr.Dataset(data, coords={"lat": lat, "lon": lon}, attrs={"title": "made up"})
    return dataset.chunk(lat=4, lon=5) if dask else dataset


def ensemble(
    model: proda.SoilModel, n_cells: int, members: int, seed: int = 1
) -> tuple[np.ndarray, Callable]:
    """Parameters (member, cell, parameter) from the whole prior, and the function that gives them.

    The function notes the sizes of its calls in its attribute `calls`.
    """
    names = [row.name for row in model.rows]
    values = np.stack(
        [
            np.stack([rough_parameters(model, seed + m, n_cells)[n] for n in names], axis=-1)
            for m in range(members)
        ]
    )

    def predict(cells: np.ndarray) -> np.ndarray:
        predict.calls.append(np.array(cells))  # type: ignore[attr-defined]
        return values[:, cells]

    predict.calls = []  # type: ignore[attr-defined]
    return values, predict
