"""What every gridded driver shares: coordinates, cell areas, the layout of forcing on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, LITTER, N_MONTHS
from proda.grid import CLM5_GRID, Grid

EARTH_RADIUS_KM = 6371.0072
"""Radius of the sphere with the Earth's surface area."""

STATUS = {
    0: "usable",
    1: "outside_land",
    2: "variable_missing",
    3: "negative_litter_input",
}
"""Why a cell of a grid has forcing or has none; counts by reason add up to all cells."""

_NAMES = {"latitude": "lat", "longitude": "lon", "lsmlat": "lat", "lsmlon": "lon"}


def standard_grid(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """Name the axes `lat` and `lon`, and turn longitudes 0..360 into -180..180, sorted.

    Raises
    ------
    ForcingError
        If there is no regular latitude-longitude grid.
    """
    names = {old: new for old, new in _NAMES.items() if old in dataset.variables}
    dataset = dataset.rename(names)
    for name in ("lat", "lon"):
        if name not in dataset.coords or dataset[name].dims != (name,):
            raise ForcingError(
                f"{where}: no axis `{name}`; a regular grid with lat and lon (degrees) is needed. "
                f"It has the dimensions {', '.join(map(str, dataset.dims)) or 'none'}."
            )
    lat, lon = dataset["lat"].to_numpy(), dataset["lon"].to_numpy()
    if not (np.abs(lat) <= 90).all() or not ((lon >= -180) & (lon <= 360)).all():
        raise ForcingError(f"{where}: lat must lie in -90..90 and lon in -180..180 or 0..360.")
    return dataset.assign_coords(lon=("lon", to_180(lon), dataset["lon"].attrs)).sortby("lon")


def to_180(longitude: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Longitude in -180 <= lon < 180 degrees; 180 itself stays 180 only as -180."""
    return (np.asarray(longitude, dtype=np.float64) + 180.0) % 360.0 - 180.0


def cell_area(
    lat: Float[np.ndarray, " lat"], lon: Float[np.ndarray, " lon"]
) -> Float[np.ndarray, "lat lon"]:
    """Areas of the cells around regular centres on a sphere, km2; cells end at the poles."""
    edge = np.concatenate([[1.5 * lat[0] - 0.5 * lat[1]], (lat[1:] + lat[:-1]) / 2,
                           [1.5 * lat[-1] - 0.5 * lat[-2]]])  # fmt: skip
    band = np.abs(np.diff(np.sin(np.radians(np.clip(edge, -90, 90)))))
    width = np.radians(np.abs(np.diff(lon).mean()))
    return np.repeat((EARTH_RADIUS_KM**2 * band * width)[:, None], len(lon), axis=1)


def forcing_coords(grid: Grid = CLM5_GRID) -> dict[str, Any]:
    """Coordinates that forcing on a grid and at sites share."""
    depth = {"units": "m", "positive": "down", "standard_name": "depth",
             "long_name": "depth of the layer's node"}  # fmt: skip
    return {
        "layer": np.arange(1, len(grid) + 1),
        "month": np.arange(1, N_MONTHS + 1),
        "litter": np.array(LITTER, dtype=object),
        "depth": ("layer", grid.node, depth),
    }


def gridded_dims(dims: tuple[str, ...]) -> tuple[str, ...]:
    """Dimensions on a grid of a variable that has `dims` at sites."""
    return ("lat", "lon", *dims[1:])


def forcing_template(
    cells: xr.Dataset, rows: int, columns: int, grid: Grid = CLM5_GRID
) -> xr.Dataset:
    """Lazy Dataset with the shape, type and attributes of forcing on the grid of `cells`.

    Parameters
    ----------
    cells
        Has the axes `lat` and `lon`.
    rows, columns
        Size of a block. With 30 x 180 cells, 20 layers and 12 months a variable's block is 5 MB
        in float32: small enough for a laptop, large enough that a store has few files.
    """
    import dask.array as da

    sizes = {"lat": cells.sizes["lat"], "lon": cells.sizes["lon"], "layer": len(grid),
             "month": N_MONTHS, "litter": len(LITTER)}  # fmt: skip
    block = {"lat": rows, "lon": columns}

    def empty(dims: tuple[str, ...], dtype: type) -> Any:
        shape = tuple(sizes[d] for d in dims)
        return da.zeros(shape, chunks=tuple(block.get(d, -1) for d in dims), dtype=dtype)

    data: dict[str, Any] = {}
    for variable in FORCING_VARIABLES:
        dims = gridded_dims(variable.dims)
        attrs = {"units": variable.unit, "long_name": variable.long_name,
                 "clm_name": variable.clm_name}  # fmt: skip
        data[variable.name] = (dims, empty(dims, np.float32), attrs)
    data["status"] = (("lat", "lon"), empty(("lat", "lon"), np.int8), status_attrs())
    coords = {name: cells[name] for name in ("lat", "lon")}
    return xr.Dataset(data, coords={**coords, **forcing_coords(grid)})


def status_attrs() -> dict[str, Any]:
    """CF attributes of `status`."""
    return {
        "units": "1",
        "long_name": "why a cell has forcing (usable) or none",
        "flag_values": np.array(list(STATUS), dtype=np.int8),
        "flag_meanings": " ".join(STATUS.values()),
    }


def scatter(
    block: xr.Dataset,
    status: np.ndarray,
    columns: Mapping[str, np.ndarray],
    attrs: xr.Dataset,
) -> xr.Dataset:
    """Put the columns of the usable cells back on their block of the grid; NaN elsewhere.

    Parameters
    ----------
    block
        Gives the axes `lat` and `lon`.
    status
        (lat, lon) codes of :data:`STATUS`; the columns are those with 0, in order.
    columns
        Forcing variables, (n, ...).
    attrs
        Template whose attributes and coordinates the result takes.
    """
    usable = status == 0
    data: dict[str, Any] = {"status": (("lat", "lon"), status.astype(np.int8), status_attrs())}
    for variable in FORCING_VARIABLES:
        values = columns[variable.name]
        full = np.full((*status.shape, *values.shape[1:]), np.nan, dtype=np.float32)
        full[usable] = values
        name = variable.name
        data[name] = (gridded_dims(variable.dims), full, attrs[name].attrs)
    coords = {name: block[name] for name in ("lat", "lon")}
    layered = {n: attrs[n] for n in ("layer", "month", "litter", "depth")}
    return xr.Dataset(data, coords={**coords, **layered})[list(attrs.data_vars)]
