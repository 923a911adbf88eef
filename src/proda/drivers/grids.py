"""Shared code of the gridded drivers: coordinates, cell areas, the layout of forcing on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from proda import cf, units
from proda.errors import ForcingError, ProdaError
from proda.forcing import FORCING_VARIABLES, LITTER, N_MONTHS
from proda.grid import CLM5_GRID, Grid
from proda.places import EARTH_RADIUS_KM

STATUS = {
    0: "usable",
    1: "outside_land",
    2: "variable_missing",
    3: "negative_litter_input",
}
"""Why a cell of a grid has forcing or has none; counts by reason add up to all cells."""

_NAMES = {
    "latitude": "lat",
    "longitude": "lon",
    "lsmlat": "lat",
    "lsmlon": "lon",
    "Latitude": "lat",
    "Longitude": "lon",
    "LAT": "lat",
    "LON": "lon",
}
CELL_MEASURES = {"areacella": "cell_area", "sftlf": "land_fraction"}
"""CMIP's names of the variables that describe the cell."""
NOTES = "reading_notes"
"""Attribute of a Dataset that states for the user what was changed while it was read."""


def standard_grid(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """Name the axes `lat` and `lon`, and turn longitudes 0..360 into -180..180, sorted.

    A column that repeats the one 360 degrees away (a cyclic point, a halo) is dropped if it has the
    same values; the attribute :data:`NOTES` then states this.

    Raises
    ------
    ForcingError
        If there is no regular latitude-longitude grid, or an axis holds a value twice, is not in
        order, or has a value that is not a number: naming the axis and the value.
    """
    dataset = _named_axes(dataset, where)
    lat, lon = (check_axis(dataset[n], n, where) for n in ("lat", "lon"))
    if not (np.abs(lat) <= 90).all() or not ((lon >= -360) & (lon <= 540)).all():
        raise ForcingError(f"{where}: lat must lie in -90..90 and lon in -180..180 or 0..360.")
    dataset = _without_repeats(dataset, lon, where)
    lon = dataset["lon"].to_numpy()
    dataset = dataset.assign_coords(lon=("lon", to_180(lon), dataset["lon"].attrs))
    return dataset.sortby("lon")


def _named_axes(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """Rename latitude and longitude, recognised by name, or by CF's unit or standard name."""
    for ours, standard in (("lat", "latitude"), ("lon", "longitude")):
        if ours in dataset.variables:
            continue
        unit = "degrees_north" if ours == "lat" else "degrees_east"
        candidates = [n for n, new in _NAMES.items() if new == ours and n in dataset.variables] or [
            str(n)
            for n, v in dataset.variables.items()
            if v.dims == (n,)
            and (str(v.attrs.get("standard_name")) == standard or units.stated(v.attrs, "") == unit)
        ]
        if len(candidates) == 1 and ours not in dataset.dims:
            dataset = dataset.rename({candidates[0]: ours})
    for name in ("lat", "lon"):
        if name not in dataset.coords or dataset[name].dims != (name,):
            raise ForcingError(
                f"{where}: no axis `{name}`; a regular grid with lat and lon (degrees) is needed. "
                f"It has the dimensions {', '.join(map(str, dataset.dims)) or 'none'}."
            )
    return dataset


def check_axis(
    axis: xr.DataArray, name: str, where: str, kind: type[ProdaError] = ForcingError
) -> Float[np.ndarray, " n"]:
    """Return an axis of a grid, degrees; refuse values that repeat or are not in order.

    Longitudes may start again once, as in 0..180, -179..-1.

    Raises
    ------
    kind
        Naming the axis, the value and its position.
    """
    unit = str(axis.attrs.get("units", "degrees"))
    if not unit.lower().startswith("degree") and unit not in ("", "1"):
        raise kind(f"{where}: the axis {name} is in {unit!r}; degrees are needed.")
    if axis.dtype.kind not in "iuf":
        raise kind(f"{where}: the axis {name} holds {axis.dtype}, not numbers.")
    values = axis.to_numpy().astype(np.float64)
    if values.size == 0:
        raise kind(f"{where}: the axis {name} is empty.")
    if not np.isfinite(values).all():
        i = int(np.argmin(np.isfinite(values)))
        raise kind(f"{where}: {name}[{i}] is {values[i]:g}; an axis must have a number everywhere.")
    order = np.argsort(values, kind="stable")
    if (same := np.diff(values[order]) == 0).any():
        i, j = (int(k) for k in order[int(np.argmax(same)) :][:2])
        raise kind(
            f"{where}: the axis {name} contains {values[i]:g} twice (positions {i} and {j}); "
            "its cells would be counted twice."
        )
    steps = np.diff(values)
    down = steps < 0 if (steps > 0).sum() >= (steps < 0).sum() else steps > 0
    wraps = 1 if name == "lon" and abs(values[-1] - values[0]) < 360 else 0
    if down.sum() > wraps or (down.any() and np.abs(steps[down]).min() <= 180):
        i = int(np.argmax(down))
        raise kind(
            f"{where}: the axis {name} is not monotonic: {values[i]:g} is followed by "
            f"{values[i + 1]:g}."
        )
    return values


def _without_repeats(dataset: xr.Dataset, lon: Float[np.ndarray, " lon"], where: str) -> xr.Dataset:
    """Drop columns that repeat a longitude 360 degrees away with the same values."""
    wrapped = to_180(lon)
    order = np.argsort(wrapped, kind="stable")
    steps = np.diff(np.append(wrapped[order], wrapped[order[0]] + 360.0))
    usual = np.median(np.abs(np.diff(lon))) if len(lon) > 1 else 360.0
    keep = np.ones(len(lon), dtype=bool)
    for k in np.flatnonzero(steps < 1e-3 * usual):
        i, j = sorted((int(order[k]), int(order[(k + 1) % len(order)])))
        first, second = (cf.load(dataset.isel(lon=[m]), where) for m in (i, j))
        for name, data in dataset.data_vars.items():
            if "lon" not in data.dims:
                continue
            one, two = (part[name].to_numpy() for part in (first, second))
            if data.dtype.kind == "f" and np.array_equal(one, two, equal_nan=True):
                continue
            if data.dtype.kind != "f" and np.array_equal(one, two):
                continue
            raise ForcingError(
                f"{where}: longitudes {lon[i]:g} and {lon[j]:g} are the same place, but {name} "
                "differs there. Remove one of the two columns."
            )
        keep[j if 0 <= lon[i] < 360 or lon[i] == -180 else i] = False
    if keep.all():
        return dataset
    gone = ", ".join(f"{v:g}" for v in lon[~keep])
    note = (
        f"{where}: the columns at longitude {gone} repeat those 360 degrees away and were left out."
    )
    return with_note(dataset.isel(lon=np.flatnonzero(keep)), note)


def check_no_repeats(lon: Float[np.ndarray, " lon"], where: str) -> None:
    """Refuse longitudes that are the same place, 360 degrees apart.

    Raises
    ------
    ForcingError
        Naming the two longitudes.
    """
    wrapped = to_180(lon)
    order = np.argsort(wrapped, kind="stable")
    for k in np.flatnonzero(np.diff(wrapped[order]) < 1e-6):
        i, j = sorted((int(order[k]), int(order[k + 1])))
        raise ForcingError(
            f"{where}: longitudes {lon[i]:g} and {lon[j]:g} are the same place, which would count "
            "twice. Remove one of the two columns."
        )


def with_note(dataset: xr.Dataset, note: str) -> xr.Dataset:
    """Add a sentence on what was changed or assumed to the attribute :data:`NOTES`."""
    earlier = str(dataset.attrs.get(NOTES, ""))
    return dataset.assign_attrs({NOTES: f"{earlier} {note}".strip()})


def cell_measures(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """Bring `cell_area` to km2 and `land_fraction` to 0-1, and refuse what no cell can have.

    CMIP's `areacella` and `sftlf` are understood too. Without a unit, km2 and shares are assumed,
    and judged by the size that the cells have on the sphere.

    Raises
    ------
    ForcingError
        Naming the variable, its unit or the first wrong cell and its value.
    """
    renamed = {
        old: new
        for old, new in CELL_MEASURES.items()
        if old in dataset.variables and new not in dataset.variables
    }
    dataset = dataset.rename(renamed)
    for name, dimensions, unit, size in (
        ("cell_area", units.AREA, "km2", 1e6),
        ("land_fraction", units.SHARE, "1", 1.0),
    ):
        if name not in dataset:
            continue
        data = dataset[name]
        if set(data.dims) != {"lat", "lon"}:
            raise ForcingError(
                f"{where}: {name} has the dimensions ({', '.join(map(str, data.dims))}); expected "
                "(lat, lon)."
            )
        given = str(data.attrs.get("units", "")).strip() or unit
        scale = units.factor(given, dimensions)
        if scale is None:
            raise ForcingError(
                f"{where}: {name} is in {given!r}, which is not recognised; expected {unit!r} or "
                + ("'m2'." if name == "cell_area" else "'%'.")
            )
        if scale != size:
            data = data * (scale / size)
        data = data.assign_attrs({**dataset[name].attrs, "units": unit})
        check_measure(data, name, where, stated="units" in dataset[name].attrs)
        dataset = dataset.assign({name: data})
    return dataset


def check_measure(data: xr.DataArray, name: str, where: str, stated: bool = True) -> None:
    """Refuse cell areas (km2) or land fractions (0-1) that no cell can have; NaN passes.

    Cells may be smaller than their distance (a sample of a fine grid), so that areas that are too
    small are refused only where the file does not state their unit.

    Raises
    ------
    ForcingError
        Naming the first such cell and its value.
    """
    values = data.transpose("lat", "lon").to_numpy().astype(np.float64)
    lat, lon = data["lat"].to_numpy(), data["lon"].to_numpy()
    upper = np.full(values.shape, 1.0 + 1e-4)  # a land fraction is rounded to a few digits
    if name == "cell_area":
        sphere = area_on_sphere(lat, lon)
        whole = 4 * np.pi * EARTH_RADIUS_KM**2
        upper = np.full(values.shape, whole) if sphere is None else 3.0 * sphere + 1e-3 * whole
    wrong = (values < 0) | (values > upper)
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        high = f"{upper[i, j]:.3g} km2" if name == "cell_area" else "1"
        raise ForcingError(
            f"{where}: {name} is {values[i, j]:g} at lat {lat[i]:g}, lon {lon[j]:g} "
            f"({int(wrong.sum()):,} such cells); expected 0 to {high}. Is its unit right?"
        )
    if name == "cell_area" and sphere is not None and (positive := values > 0).any():
        ratio = float(np.median(values[positive] / sphere[positive]))
        if ratio > 3.0 or (ratio < 0.01 and not stated):
            raise ForcingError(
                f"{where}: {name} is {ratio:.2g} times the size of the cells on the sphere. Is its "
                "unit right? It is assumed to be in km2."
            )


AREA_UNKNOWN = (
    "The area of the cells is unknown: it does not follow from the centres, and there is no "
    "cell_area (km2)."
)


def check_usable(data: xr.DataArray, name: str, usable: np.ndarray) -> None:
    """Refuse a cell area or land fraction that is missing, or an area of 0, in a usable cell.

    Raises
    ------
    ForcingError
        Naming the first such cell and its value.
    """
    values = data.transpose("lat", "lon").to_numpy()
    wrong = usable & (~(values > 0) if name == "cell_area" else np.isnan(values))
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        raise ForcingError(
            f"{name} is {values[i, j]:g} at lat {float(data['lat'][i]):g}, lon "
            f"{float(data['lon'][j]):g}, a usable cell ({int(wrong.sum()):,} such cells); "
            + ("expected an area above 0." if name == "cell_area" else "expected 0 to 1.")
        )


def is_land(mask: xr.DataArray) -> np.ndarray:
    """Return where a mask has land, (lat, lon): where it is 1, or its flag means "land"."""
    values = mask.transpose("lat", "lon").to_numpy()
    if "flag_meanings" in mask.attrs and "flag_values" in mask.attrs:
        known = cf.classes(mask.attrs, str(mask.name), ForcingError) or {}
        land = [code for code, meaning in known.items() if meaning.lower() == "land"]
        if len(land) == 1:
            return np.asarray(values == land[0])
    return np.asarray(values == 1)


def to_180(longitude: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Longitude in -180 <= lon < 180 degrees; 180 itself stays 180 only as -180."""
    return (np.asarray(longitude, dtype=np.float64) + 180.0) % 360.0 - 180.0


def area_on_sphere(
    lat: Float[np.ndarray, " lat"], lon: Float[np.ndarray, " lon"]
) -> Float[np.ndarray, "lat lon"] | None:
    """Areas of :func:`cell_area`; None where the centres do not determine the size of cells."""
    try:
        return cell_area(lat, lon)
    except ForcingError:
        return None


def cell_area(
    lat: Float[np.ndarray, " lat"], lon: Float[np.ndarray, " lon"]
) -> Float[np.ndarray, "lat lon"]:
    """Areas of the cells around regular centres on a sphere, km2; cells end at the poles.

    Raises
    ------
    ForcingError
        If there is only one row or column, or the columns are not equally wide: the size of the
        cells is then undetermined.
    """
    for name, axis in (("lat", lat), ("lon", lon)):
        if len(axis) < 2:
            raise ForcingError(
                f"The grid has only one value of {name}, which does not determine the "
                "size of its cells: add cell_area (km2)."
            )
    edge = np.concatenate(
        [[1.5 * lat[0] - 0.5 * lat[1]], (lat[1:] + lat[:-1]) / 2, [1.5 * lat[-1] - 0.5 * lat[-2]]]
    )
    band = np.abs(np.diff(np.sin(np.radians(np.clip(edge, -90, 90)))))
    width = np.radians(_spacing(np.asarray(lon, dtype=np.float64)))
    return np.repeat((EARTH_RADIUS_KM**2 * band * width)[:, None], len(lon), axis=1)


def _spacing(lon: Float[np.ndarray, " lon"]) -> float:
    """Width of the columns, degrees; a region across the date line has one wide gap."""
    steps = np.abs(np.diff(lon))
    width = float(np.abs(np.diff(lon).mean()))
    if np.allclose(steps, width, rtol=0.01):
        return width
    gap = int(np.argmax(steps))
    around = np.concatenate([lon[gap + 1 :], lon[: gap + 1] + 360.0])
    width = float(np.abs(np.diff(around).mean()))
    if not np.allclose(np.diff(around), width, rtol=0.01):
        raise ForcingError(
            "The columns of the grid are not equally wide, so that the centres do not determine "
            "the size of the cells: add cell_area (km2)."
        )
    return width


def forcing_coords(grid: Grid = CLM5_GRID) -> dict[str, Any]:
    """Coordinates that forcing on a grid and at sites share."""
    depth = {
        "units": "m",
        "positive": "down",
        "standard_name": "depth",
        "long_name": "depth of the layer's node",
    }
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

    sizes = {
        "lat": cells.sizes["lat"],
        "lon": cells.sizes["lon"],
        "layer": len(grid),
        "month": N_MONTHS,
        "litter": len(LITTER),
    }
    block = {"lat": rows, "lon": columns}

    def empty(dims: tuple[str, ...], dtype: type) -> Any:
        shape = tuple(sizes[d] for d in dims)
        return da.zeros(shape, chunks=tuple(block.get(d, -1) for d in dims), dtype=dtype)

    data: dict[str, Any] = {}
    for variable in FORCING_VARIABLES:
        dims = gridded_dims(variable.dims)
        attrs = {
            "units": variable.unit,
            "long_name": variable.long_name,
            "clm_name": variable.clm_name,
        }
        data[variable.name] = (dims, empty(dims, np.float32), attrs)
    data["status"] = (("lat", "lon"), empty(("lat", "lon"), np.int8), status_attrs())
    coords = {name: cells[name] for name in ("lat", "lon")}
    return xr.Dataset(data, coords={**coords, **forcing_coords(grid)})


def status_attrs() -> dict[str, Any]:
    """CF attributes of `status`."""
    return {
        "units": "1",
        "long_name": "why a cell has forcing (usable) or not",
        "flag_values": np.array(list(STATUS), dtype=np.int8),
        "flag_meanings": " ".join(STATUS.values()),
    }


def scatter(
    block: xr.Dataset,
    status: np.ndarray,
    columns: Mapping[str, np.ndarray],
    attrs: xr.Dataset,
) -> xr.Dataset:
    """Place the columns of the usable cells on their block of the grid; NaN elsewhere.

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
