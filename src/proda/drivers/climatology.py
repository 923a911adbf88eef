"""One block of rows of a climatology: read all months, average them, and compute the forcing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from proda.drivers import grids, litter_recipes
from proda.drivers.history import opened, plain
from proda.drivers.soil_physics import water_scalar
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, LITTER, N_MONTHS
from proda.grid import CLM5_GRID

DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
"""Days of the months in CLM's calendar."""


class Reads:
    """Counts files read, over all blocks and threads: (done, in all) goes to `report`."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._done, self._total, self._report = 0, total, report
        self._lock = threading.Lock()

    def step(self) -> None:
        """Count one more."""
        with self._lock:
            self._done += 1
            self._report(self._done, self._total)


@dataclass(frozen=True)
class ClimatologyPlan:
    """What to read from which file; one per climatology, shared by its blocks."""

    reads: tuple[tuple[Path, tuple[tuple[str, int, int], ...]], ...]
    """(file, ((CLM variable, position in time, month 0-11), ...))"""
    layered: frozenset[str]
    recipe: litter_recipes.Recipe
    n_years: int
    w_floor: float
    columns: np.ndarray
    """Order of the files' longitudes that makes them ascend from -180."""
    progress: Reads | None


def climatology_block(
    block: xr.Dataset, plan: ClimatologyPlan, names: Mapping[str, str], attrs: xr.Dataset
) -> xr.Dataset:
    """Return forcing, `status` and `missing` of some rows of the grid.

    Parameters
    ----------
    block
        `row` (position in the files), `nbedrock` and `sand` of these rows.
    plan
        What to read.
    names
        Our variable -> CLM's.
    attrs
        Template whose attributes and coordinates the result takes.

    Raises
    ------
    FileError
        Naming the file that cannot be read.
    ForcingError
        Naming the first impossible value and its place.
    """
    rows = slice(int(block["row"][0]), int(block["row"][-1]) + 1)
    shape = (block.sizes["lat"], block.sizes["lon"])
    means = _monthly_means(plan, rows, shape)
    gridded: dict[str, np.ndarray] = {
        "nbedrock": block["nbedrock"].to_numpy(),
        "sand": block["sand"].to_numpy(),
        "litter_input": _litter_input(plan.recipe, means, shape),
    }
    for ours, theirs in names.items():  # (month, [layer,] lat, lon) -> (lat, lon, [layer,] month)
        gridded[ours] = np.moveaxis(means[theirs], [-2, -1, 0], [0, 1, -1])

    missing = np.zeros(shape, dtype=np.int16)
    for i, variable in enumerate(FORCING_VARIABLES):
        absent = np.isnan(gridded[variable.name]).reshape(*shape, -1).any(axis=-1)
        missing |= np.int16(2**i) * absent
    # Surface data cover the sea too: land is where history files hold a soil temperature.
    land = ~np.isnan(gridded["soil_temperature"]).reshape(*shape, -1).all(axis=-1)
    status = np.where(missing > 0, 2, 0)
    status[(missing == 0) & (gridded["litter_input"] < 0).any(axis=-1)] = 3
    status[~land] = 1
    usable = status == 0
    columns = {name: values[usable] for name, values in gridded.items()}
    _check_values(columns, block, usable)
    result = grids.scatter(block, status, columns, attrs.drop_vars("missing"))
    result["missing"] = (
        ("lat", "lon"),
        np.where(land, missing, 0).astype(np.int16),
        attrs["missing"].attrs,
    )
    return result[list(attrs.data_vars)]


def _litter_input(
    recipe: litter_recipes.Recipe, means: Mapping[str, np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    """Return the carbon input of a year to each litter pool, (lat, lon, pool)."""
    annual = {
        # Carbon of a year: each month's mean rate over the seconds of that month.
        name: np.tensordot(DAYS * 86400.0, means[name], axes=1)
        for name in litter_recipes.variables(recipe)
    }
    return np.stack(
        [sum((f * annual[n] for n, f in recipe[pool].items()), np.zeros(shape)) for pool in LITTER],
        axis=-1,
    )


def _monthly_means(
    plan: ClimatologyPlan, rows: slice, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Mean of each calendar month over the years, (month, [layer,] lat, lon), float64.

    Fluxes per volume are integrated over the layers to fluxes per area.
    """
    n = len(CLM5_GRID)
    fluxes = set(litter_recipes.variables(plan.recipe))
    sums: dict[str, np.ndarray] = {}
    for path, items in plan.reads:
        with opened(path) as dataset:
            for name, index, month in items:
                layered = name in plan.layered
                place = (index, slice(0, n), rows) if layered else (index, rows)
                values = plain(dataset[name], place)[..., plan.columns]
                if name == "SOILPSI":
                    values = water_scalar(values, plan.w_floor)
                elif layered and name in fluxes:
                    values = np.tensordot(CLM5_GRID.thickness, values, axes=1)
                if values.shape[-2:] != shape:
                    raise ForcingError(f"{path}: {name} changed shape while it was being read.")
                if name not in sums:
                    sums[name] = np.zeros((N_MONTHS, *values.shape))
                sums[name][month] += values
        if plan.progress is not None:
            plan.progress.step()
    for total in sums.values():
        total /= plan.n_years
    return sums


def _check_values(columns: dict[str, np.ndarray], block: xr.Dataset, usable: np.ndarray) -> None:
    """Refuse values that no forcing may have, with their place; scalars of 1 + 1e-7 become 1."""
    for variable in FORCING_VARIABLES:
        values = columns[variable.name]
        # Averages of float32 numbers at a bound may lie beyond it by their rounding.
        slack = 1e-6 if variable.unit == "1" else 0.0
        wrong = (values < variable.lower - slack) | (values > variable.upper + slack)
        if wrong.any():
            first = tuple(int(i) for i in np.argwhere(wrong)[0])
            i, j = np.argwhere(usable)[first[0]]
            raise ForcingError(
                f"{variable.name} ({variable.clm_name}) = {values[first]:.6g} {variable.unit} at "
                f"lat {float(block['lat'][i]):g}, lon {float(block['lon'][j]):g}, "
                f"{dict(zip(variable.dims[1:], (k + 1 for k in first[1:]), strict=True))}; "
                f"expected {variable.lower:g} to {variable.upper:g} ({int(wrong.sum())} such "
                "values in this block)."
            )
        columns[variable.name] = np.clip(values, variable.lower, variable.upper)
