"""Test whether points are on land, by a mask that the user provides; none is included."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from proda import cf
from proda.errors import ObservationError

_CANDIDATES = ("land_fraction", "land_mask")


@dataclass(frozen=True)
class LandMask:
    """A global latitude-longitude grid of land, widened at the coast.

    Parameters
    ----------
    near
        Whether land lies in the cell or within the tolerance of it, (lat, lon), south to north
        and 180 W to 180 E.
    name
        File and variable, for messages.
    """

    near: np.ndarray
    name: str

    def __call__(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Return whether each point (degrees) is on or near land; False where out of range."""
        n_lat, n_lon = self.near.shape
        inside = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
        i = np.clip((np.where(inside, lat, 0) + 90) / 180 * n_lat, 0, n_lat - 1).astype(int)
        j = ((np.where(inside, lon, 0) + 180) / 360 * n_lon).astype(int) % n_lon
        return inside & self.near[i, j]

    def grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return latitudes, longitudes (degrees) of the cells' centres, and the mask."""
        n_lat, n_lon = self.near.shape
        lat = -90 + 180 / n_lat * (np.arange(n_lat) + 0.5)
        return lat, -180 + 360 / n_lon * (np.arange(n_lon) + 0.5), self.near


def open_land_mask(
    path: str | os.PathLike[str], variable: str | None = None, tolerance: float = 0.5
) -> LandMask:
    """Read a land mask from a file (netCDF or Zarr) with the dimensions lat and lon.

    Parameters
    ----------
    path
        The file; the grid must be regular and cover the globe.
    variable
        Positive on land. By default `land_fraction`, else `land_mask`: the first is the extent of
        land, the second often only that of a model's cells.
    tolerance
        Points this far from land, degrees, still count: coastal cells, rounded coordinates.

    Raises
    ------
    ObservationError
        If the variable is absent or the grid is not regular and global.
    """
    with cf.open_grid(path) as dataset:
        name = variable or next((c for c in _CANDIDATES if c in dataset), None)
        if name is None or name not in dataset:
            raise ObservationError(
                f"{path}: contains no {name or ' or '.join(_CANDIDATES)}; name the variable that "
                "is positive on land (land_mask_variable)."
            )
        array = dataset[name]
        if set(array.dims) != {"lat", "lon"}:
            raise ObservationError(f"{path}: {name} must have the dimensions lat and lon.")
        if any(part.dtype.kind not in "fiub" for part in (array, array["lat"], array["lon"])):
            raise ObservationError(f"{path}: {name}, lat and lon must be numbers.")
        if array.size == 0:
            raise ObservationError(f"{path}: {name} has no cell.")
        array = cf.load(array.to_dataset(name=name), path)[name]
        array = array.transpose("lat", "lon").sortby("lat")
        array = array.assign_coords(lon=(array["lon"] + 180) % 360 - 180).sortby("lon")
        lat, lon = array["lat"].to_numpy(), array["lon"].to_numpy()
        land = array.to_numpy() > 0
    step_lat, step_lon = 180 / lat.size, 360 / lon.size
    for step, values, first in ((step_lat, lat, -90), (step_lon, lon, -180)):
        if not np.allclose(values, first + step * (np.arange(values.size) + 0.5), atol=0.01 * step):
            raise ObservationError(
                f"{path}: the grid of {name} is not regular, or its cells do not tile the globe."
            )
    rows, columns = math.ceil(tolerance / step_lat), math.ceil(tolerance / step_lon)
    padded = np.pad(land, ((0, 0), (columns, columns)), mode="wrap")
    near = ndimage.binary_dilation(padded, np.ones((2 * rows + 1, 2 * columns + 1), dtype=bool))
    return LandMask(near[:, columns : columns + lon.size], f"{path} ({name})")
