"""Bedrock and sand from CLM surface data or from constants of history files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from proda import units
from proda.drivers.history import check_layers, in_unit, opened, plain
from proda.errors import ForcingError
from proda.files import check_whole
from proda.grid import CLM5_GRID, Grid

MIN_BEDROCK_M = 0.4
"""CLM5 keeps at least the layers down to this depth above bedrock."""

_SURFACE_LAYERS = 10

_MEASURES = {"cell_area": ("km2", units.AREA), "land_fraction": ("1", units.SHARE)}


def surface_interfaces() -> Float[np.ndarray, " 10"]:
    """Lower interfaces of the 10 layers that surface data give texture for, m (CLM4's grid).

    Nodes at 0.025 (exp(0.5 (j - 0.5)) - 1) m, interfaces half-way; the last lies half a
    layer below the last node, at 3.4331 m.
    """
    j = np.arange(1, _SURFACE_LAYERS + 1)
    node = 0.025 * (np.exp(0.5 * (j - 0.5)) - 1.0)
    last = node[-1] + 0.5 * (node[-1] - node[-2])
    return np.append((node[1:] + node[:-1]) / 2, last)


def texture_on_grid(
    texture: Float[np.ndarray, "texture ..."], grid: Grid = CLM5_GRID
) -> Float[np.ndarray, "layer ..."]:
    """Texture of the grid's layers: that of the surface-data layer which holds the node.

    Below 3.4 m the deepest one continues, as in CLM5.
    """
    index = np.searchsorted(surface_interfaces(), grid.node, side="left")
    return texture[np.minimum(index, _SURFACE_LAYERS - 1)]


def layers_above_bedrock(
    depth: Float[np.ndarray, "*n"], grid: Grid = CLM5_GRID
) -> Float[np.ndarray, "*n"]:
    """Count the layers above bedrock from its depth (zbedrock, m), as CLM5 counts.

    The layer that holds the depth still counts, and at least those down to 0.4 m; bedrock deeper
    than the grid leaves all layers. NaN stays NaN.
    """
    least = np.searchsorted(grid.interface, MIN_BEDROCK_M) + 1
    count = np.searchsorted(grid.interface, depth, side="left") + 1
    return np.where(np.isnan(depth), np.nan, np.clip(count, least, len(grid)))


def read_surface(
    candidates: list[Path], lat: np.ndarray, lon: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Find `nbedrock` (lat, lon) and `sand` (lat, lon, layer, %) in the first file that has them.

    Parameters
    ----------
    candidates
        Surface data first, then history files.
    lat, lon
        The grid that they must be on (longitudes as in the history files).

    Returns
    -------
    values, sources
        And which variable of which file each came from.

    Raises
    ------
    ForcingError
        Naming what was not found, and where it was looked for.
    """
    values: dict[str, np.ndarray] = {}
    sources: dict[str, str] = {}
    for path in candidates:
        if path.is_file():
            check_whole(path)
        with opened(path) as dataset:
            for target, names in (
                ("nbedrock", ("nbedrock", "zbedrock")),
                ("sand", ("CELLSAND", "PCT_SAND")),
            ):
                for name in names:
                    if target not in values and name in dataset.variables:
                        values[target] = _values(dataset, name, path, (len(lat), len(lon)))
                        sources[target] = f"{name} of {path.name}"
                        _check_place(dataset, path, lat, lon)
        if len(values) == 2:
            return values, sources
    looked = ", ".join(str(p) for p in candidates[:3]) + (" ..." if len(candidates) > 3 else "")
    missing = {"nbedrock": "nbedrock (or zbedrock)", "sand": "CELLSAND (or PCT_SAND)"}
    lacking = " and ".join(m for t, m in missing.items() if t not in values)
    raise ForcingError(
        f"Neither surface data nor history files have {lacking} (looked in {looked})."
    )


def _values(dataset: Any, name: str, path: Path, shape: tuple[int, int]) -> np.ndarray:
    variable = dataset[name]
    array = plain(variable)
    dims = list(variable.dimensions)
    unit = str(getattr(variable, "units", "")).strip()
    if name == "zbedrock":
        array = in_unit(array, variable, "m", units.LENGTH, path)
        array = -array if str(getattr(variable, "positive", "")) == "up" else array
    elif name in ("CELLSAND", "PCT_SAND") and unit not in ("", "unitless"):
        array = in_unit(array, variable, "%", units.SHARE, path)  # CLM calls per cent unitless
    if "time" in dims:  # constant in time, but written with each month
        array, dims = array[0], dims[1:]
    if array.shape[-2:] != shape:
        raise ForcingError(
            f"{path}: {name} is {array.shape[-2:]} cells; the history files have {shape}."
        )
    if name == "zbedrock" or name == "nbedrock":
        return layers_above_bedrock(array) if name == "zbedrock" else array
    if array.shape[0] == _SURFACE_LAYERS:
        array = texture_on_grid(array)
    else:
        check_layers(dataset, dims[0], array.shape[0], name, path)
    return np.moveaxis(array[: len(CLM5_GRID)], 0, -1)


def _check_place(dataset: Any, path: Path, lat: np.ndarray, lon: np.ndarray) -> None:
    """Surface data carry coordinates as LATIXY, LONGXY: same shape is not yet same place."""
    for name, expected in (("LATIXY", lat[:, None]), ("LONGXY", lon[None, :])):
        if name in dataset.variables:
            here = plain(dataset[name])
            apart = np.abs((here - expected + 180.0) % 360.0 - 180.0)
            if not (apart < 1e-3).all():
                raise ForcingError(f"{path}: its {name} differs from the history files' grid.")


def area_and_land(paths: Sequence[Path], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Cell areas (km2) and land fractions of the first files that have them, where they do."""
    fields: dict[str, np.ndarray] = {}
    for path in paths:
        with opened(path) as dataset:
            for target, name in (("cell_area", "area"), ("land_fraction", "landfrac")):
                if target not in fields and name in dataset.variables:
                    array = plain(dataset[name])
                    if array.shape == (1, *shape):  # constant, but with one time
                        array = array[0]
                    if array.shape == shape:
                        unit, kind = _MEASURES[target]
                        fields[target] = in_unit(array, dataset[name], unit, kind, path)
    return fields
