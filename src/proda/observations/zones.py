"""Climate zones of sites: Koeppen's main groups from a map."""

from __future__ import annotations

import os

import numpy as np
import xarray as xr

from proda import cf
from proda.errors import ObservationError

KOEPPEN = {"A": "A tropical", "B": "B arid", "C": "C temperate", "D": "D cold", "E": "E polar"}
UNKNOWN = "unknown"


def koeppen(
    lat: np.ndarray, lon: np.ndarray, path: str | os.PathLike[str], variable: str = "koppen_class"
) -> np.ndarray:
    """Return Koeppen's main group for each site (degrees), `UNKNOWN` where the map has none.

    The variable is categorical on (lat, lon), with the CF attributes flag_values and
    flag_meanings, whose first letters are the main groups.

    Raises
    ------
    ObservationError
        If the file lacks the variable, or that lacks flag_meanings.
    """
    with cf.open_grid(path) as dataset:
        if variable not in dataset or not {"lat", "lon"} <= set(dataset[variable].dims):
            raise ObservationError(f"{path}: contains no {variable} on lat and lon.")
        classes = cf.load(dataset[[variable]], path)[variable]
    classes = classes.assign_coords(lon=(classes["lon"] + 180) % 360 - 180).sortby("lon")
    meanings = cf.classes(classes.attrs, f"{path}: {variable}", ObservationError)
    if not meanings:
        raise ObservationError(
            f"{path}: {variable} lacks flag_values and flag_meanings, one name per class."
        )
    sites = {"lat": xr.DataArray(lat, dims="site"), "lon": xr.DataArray(lon, dims="site")}
    at = classes.sel(sites, method="nearest")
    zones = np.full(len(lat), UNKNOWN, dtype=object)
    for value, meaning in meanings.items():
        zones[at.to_numpy() == value] = KOEPPEN.get(meaning[0], UNKNOWN)
    return zones
