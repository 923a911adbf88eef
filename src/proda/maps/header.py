"""Axes, bounds, cell measures and CF attributes of a map file."""

from __future__ import annotations

from typing import Any

import netCDF4
import numpy as np

from proda.grid import CLM5_GRID
from proda.maps.cells import LandCells
from proda.maps.map_variables import (
    LAYER_COMMENT,
    LIMIT,
    LOWER,
    STOCK_COMMENT,
    UPPER,
    MapVariable,
)

FILL = np.float32(LIMIT)


def edges(centres: np.ndarray) -> np.ndarray:
    """Return lower and upper edge of each cell of an axis, halfway between centres: (n, 2)."""
    middle = 0.5 * (centres[1:] + centres[:-1])
    first, last = 1.5 * centres[0] - 0.5 * centres[1], 1.5 * centres[-1] - 0.5 * centres[-2]
    all_edges = np.concatenate([[first], middle, [last]])
    return np.stack([all_edges[:-1], all_edges[1:]], axis=1)


def write_axes(file: netCDF4.Dataset, cells: LandCells, n_members: int) -> None:
    """Write lat, lon, layer, realization with bounds, and the cell measures."""
    file.createDimension("bnds", 2)
    words = "{} of the cell's centre"
    for name, values, bounds, unit, standard, axis in (
        ("lat", cells.lat, np.clip(edges(cells.lat), -90, 90), "degrees_north", "latitude", "Y"),
        ("lon", cells.lon, edges(cells.lon), "degrees_east", "longitude", "X"),
    ):
        _axis(
            file,
            name,
            values,
            bounds,
            units=unit,
            standard_name=standard,
            long_name=words.format(standard),
            axis=axis,
        )
    _write_layers(file)
    file.createDimension("realization", n_members)
    member = file.createVariable("realization", "i4", ("realization",))
    member[:] = np.arange(1, n_members + 1)
    member.setncatts({"units": "1", "standard_name": "realization", "long_name": "member"})
    _write_measures(file, cells)


def _write_layers(file: netCDF4.Dataset) -> None:
    """Write the layers of the soil, and their depths with bounds."""
    grid = CLM5_GRID
    file.createDimension("layer", len(grid))
    layer = file.createVariable("layer", "i4", ("layer",))
    layer[:] = np.arange(1, len(grid) + 1)
    layer.setncatts({"units": "1", "long_name": "soil layer from the top"})
    depth = file.createVariable("depth", "f8", ("layer",))
    depth[:] = grid.node
    depth.setncatts(
        {
            "units": "m",
            "standard_name": "depth",
            "positive": "down",
            "long_name": "depth of the layer's node",
            "bounds": "depth_bnds",
        }
    )
    bounds = file.createVariable("depth_bnds", "f8", ("layer", "bnds"))
    bounds[:] = np.stack([np.append(0.0, grid.interface[:-1]), grid.interface], axis=1)


def _write_measures(file: netCDF4.Dataset, cells: LandCells) -> None:
    """Write the area of each cell, and how much of it is land."""
    given = "" if cells.land_fraction_given else "not given with the forcing; taken as 1"
    for name, values, attrs in (
        (
            "cell_area",
            cells.area,
            {"units": "km2", "standard_name": "cell_area", "long_name": "area of the whole cell"},
        ),
        (
            "land_fraction",
            cells.land_fraction,
            {
                "units": "1",
                "standard_name": "land_area_fraction",
                "long_name": "share of the cell that is land",
                "comment": given,
            },
        ),
    ):
        variable = file.createVariable(name, "f4", ("lat", "lon"), zlib=True, fill_value=FILL)
        variable[:] = np.where(np.isnan(values), FILL, values)
        variable.setncatts({k: v for k, v in attrs.items() if v})


def _axis(
    file: netCDF4.Dataset, name: str, values: np.ndarray, bounds: np.ndarray, **attrs: str
) -> None:
    file.createDimension(name, len(values))
    variable = file.createVariable(name, "f8", (name,))
    variable[:] = values
    variable.setncatts({**attrs, "bounds": f"{name}_bnds"})
    file.createVariable(f"{name}_bnds", "f8", (name, "bnds"))[:] = bounds


def attributes(row: MapVariable, end: str, n_members: int) -> dict[str, Any]:
    """Return the CF attributes of a variable, of its spread, or of an end of its interval."""
    if end in (LOWER, UPPER):
        return _of_interval(row, end)
    method = "area: mean where land"
    words = ""
    if n_members > 1:
        over = {"": "mean", "_sd": "standard_deviation"}.get(end)
        method += f" realization: {over}" if over else ""
        percent = end.removeprefix("_q").lstrip("0")
        words = {"": ", ensemble mean", "_sd": ", standard deviation of the ensemble"}.get(
            end, f", {percent} % quantile of the ensemble"
        )
    attrs = {
        "units": row.unit,
        "long_name": row.long_name + words,
        "cell_methods": method,
        "cell_measures": "area: cell_area",
    }
    if row.layered:
        attrs["coordinates"] = "depth"
    if row.standard_name and end == "":  # a spread is not the quantity that the name stands for
        attrs["standard_name"] = row.standard_name
    if row.source:
        attrs["references"] = row.source
    if row.comment:
        attrs["comment"] = row.comment
    return attrs


def _of_interval(row: MapVariable, end: str) -> dict[str, Any]:
    about = LAYER_COMMENT if row.layered else STOCK_COMMENT
    attrs = {
        "units": row.unit,
        "long_name": f"{row.long_name}, {end.removeprefix('_')} end of the 90 % predictive "
        "interval of one profile",
        "cell_methods": "area: point",
        "cell_measures": "area: cell_area",
        "comment": f"{about} {row.comment}".strip(),
    }
    return attrs | ({"coordinates": "depth"} if row.layered else {})
