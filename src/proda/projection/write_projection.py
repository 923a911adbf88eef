"""From chunks to one CF netCDF file on (experiment, time, lat, lon)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from proda.blocks.store import BlockStore
from proda.files import whole_netcdf
from proda.maps.cells import LandCells
from proda.maps.header import FILL, attributes, write_axes
from proda.maps.map_variables import MapVariable, reasons_of
from proda.maps.write_map import filled, gather
from proda.models.model import SoilModel
from proda.models.outside import provenance
from proda.projection.forward import CARBON
from proda.projection.projection_plan import ProjectionPlan
from proda.projection.projection_variables import (
    AT_END,
    AT_START,
    CHANGES,
    NEW,
    OTHERS,
    REGIONS,
    SPLIT,
    STATES,
)

DAYS = 365.0
START = "2000-01-01"
"""Nominal date of the start; only the years since then have a meaning."""
WITHOUT = (
    "Not included in this projection: plants (input changes only as the experiment prescribes), "
    "nitrogen, fire, land use, erosion, soil moisture beyond what thaws, and the warming's own "
    "pattern where it is uniform."
)


@dataclass(frozen=True)
class _Field:
    row: MapVariable
    end: str
    dims: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.row.name + self.end


def assemble(plan: ProjectionPlan, store: BlockStore, n_chunks: int, target: Path) -> None:
    """Write the projection, completely or not at all; one variable is in memory at a time."""
    n_members = int(store.identity["members"])
    grid = sampled_grid(plan.cells, plan.settings.every)
    names = [e.name for e in plan.experiments]
    with (
        whole_netcdf(target) as temporary,
        netCDF4.Dataset(temporary, "w", format="NETCDF4") as file,
    ):
        write_axes(file, grid, n_members)
        _write_time(file, plan)
        _write_reasons(file, grid, store, n_chunks, names, n_members, plan.model)
        for field in _fields(store, names[0]):
            _write_field(file, grid, store, n_chunks, names, field, n_members)
        _write_regions(file, grid, store, n_chunks, plan, n_members)
        file.setncatts(_globals(plan, store))


def sampled_grid(cells: LandCells, every: int) -> LandCells:
    """Return the cells on the coarse grid of every n-th row and column, each with its block's land.

    A sampled cell represents the n x n cells around it, so that sums over the sample estimate those
    over all land.
    """
    if every == 1:
        return cells
    first = every // 2
    rows, columns = slice(first, None, every), slice(first, None, every)
    land = cells.status == 0
    everything = (cells.area * cells.land_fraction)[land].sum()
    factor = everything / cells.land_area.sum()
    return replace(
        cells,
        lat=cells.lat[rows],
        lon=cells.lon[columns],
        row=(cells.row - first) // every,
        column=(cells.column - first) // every,
        status=cells.status[rows, columns],
        area=cells.area[rows, columns] * factor,
        land_fraction=cells.land_fraction[rows, columns],
    )


def _write_time(file: netCDF4.Dataset, plan: ProjectionPlan) -> None:
    times = np.array([0.0, *plan.settings.times])
    file.createDimension("time", len(times))
    time = file.createVariable("time", "f8", ("time",))
    time[:] = DAYS * times
    time.setncatts(
        {
            "units": f"days since {START}",
            "calendar": "365_day",
            "standard_name": "time",
            "axis": "T",
            "comment": f"the start of the projection, which has no date of its own, is {START}",
        }
    )
    years = file.createVariable("years", "f8", ("time",))
    years[:] = times
    years.setncatts({"units": "1", "long_name": "years since the start"})
    file.createDimension("experiment", len(plan.experiments))
    for name, values in (
        ("experiment", [e.name for e in plan.experiments]),
        ("experiment_words", [e.words for e in plan.experiments]),
    ):
        variable = file.createVariable(name, str, ("experiment",))
        for i, value in enumerate(values):
            variable[i] = value


def _fields(store: BlockStore, first: str) -> Iterator[_Field]:
    there = {name.partition("|")[2] for name in store.read(0) if name.startswith(f"{first}|")}
    moments, once = ("experiment", "time", "lat", "lon"), ("experiment", "lat", "lon")
    for rows, dims in (
        ((*STATES, *CHANGES, *SPLIT, *OTHERS), moments),
        ((*AT_START, *AT_END), once),
    ):
        for row in rows:
            for end in ("", "_sd", "_q05", "_q95"):
                if row.name + end in there:
                    yield _Field(row, end, dims)


def _create(
    file: netCDF4.Dataset, name: str, dtype: Any, dims: tuple[str, ...], fill: Any
) -> netCDF4.Variable:
    shape = [1] * (len(dims) - 2) + [len(file.dimensions[d]) for d in dims[-2:]]
    return file.createVariable(
        name,
        dtype,
        dims,
        zlib=True,
        complevel=4,
        shuffle=True,
        fill_value=fill,
        chunksizes=shape,
        chunk_cache=1,
    )


def _write_field(
    file: netCDF4.Dataset,
    grid: LandCells,
    store: BlockStore,
    n_chunks: int,
    names: Sequence[str],
    field: _Field,
    n_members: int,
) -> None:
    variable = _create(file, field.name, np.float32, field.dims, FILL)
    variable.setncatts(attributes(field.row, field.end, n_members))
    if "time" in field.dims:
        variable.coordinates = "years experiment_words"
    for i, name in enumerate(names):
        key = f"{name}|{field.name}"
        values = gather(grid, store, n_chunks, [key])[key]
        if "time" not in field.dims:
            variable[i] = filled(grid, values)
            continue
        for j in range(values.shape[1]):
            variable[i, j] = filled(grid, values[:, j])


def _write_reasons(
    file: netCDF4.Dataset,
    grid: LandCells,
    store: BlockStore,
    n_chunks: int,
    names: Sequence[str],
    n_members: int,
    model: SoilModel,
) -> None:
    """Write why cells have no answer, and how many members have one."""
    words_of = reasons_of(model)
    flags = {
        "flag_values": np.array(list(words_of), np.int8),
        "flag_meanings": " ".join(words_of.values()),
    }
    for name, words in (("reason", "projection"), (f"reason{NEW}", "new steady state")):
        variable = _create(file, name, np.int8, ("experiment", "lat", "lon"), np.int8(-1))
        variable.setncatts(
            {
                "units": "1",
                "standard_name": "status_flag",
                **flags,
                "long_name": f"reason why a land cell has no {words} (the most frequent reason of "
                "its members); 0 where at least one member has one",
            }
        )
        _whole(variable, grid, store, n_chunks, names, name, np.int8(-1))
    for name, words in (("answered", "projection"), (f"answered{NEW}", "new steady state")):
        variable = _create(file, name, np.int32, ("experiment", "lat", "lon"), np.int32(-1))
        variable.setncatts(
            {"units": "1", "long_name": f"number of members, of {n_members}, with a {words}"}
        )
        _whole(variable, grid, store, n_chunks, names, name, np.int32(-1))


def _whole(
    variable: netCDF4.Variable,
    grid: LandCells,
    store: BlockStore,
    n_chunks: int,
    names: Sequence[str],
    what: str,
    fill: Any,
) -> None:
    for i, name in enumerate(names):
        key = f"{name}|{what}"
        full = np.full((len(grid.lat), len(grid.lon)), fill)
        full[grid.row, grid.column] = gather(grid, store, n_chunks, [key])[key]
        variable[i] = full


def _write_regions(
    file: netCDF4.Dataset,
    grid: LandCells,
    store: BlockStore,
    n_chunks: int,
    plan: ProjectionPlan,
    n_members: int,
) -> None:
    """Write every member's carbon by region at the end of each time step, and where regions are."""
    ends = [[0.0, *(span.end for span in e.steps(plan.settings))] for e in plan.experiments]
    steps = max(map(len, ends))
    shape = (len(ends), n_members, len(REGIONS), steps, len(CARBON))
    series, land = np.full(shape, np.nan), np.zeros(shape[:3])
    factor = grid.land_area.sum() / plan.cells.land_area.sum()
    for i, experiment in enumerate(plan.experiments):
        series[i, :, :, : len(ends[i])] = 0.0
        for k in range(n_chunks):
            keys = [f"{experiment.name}|series", f"{experiment.name}|land"]
            part = store.read(k, keys)
            series[i, :, :, : len(ends[i])] += factor * part[keys[0]]
            land[i] += factor * part[keys[1]]
    file.createDimension("step", steps)
    file.createDimension("region", len(REGIONS))
    file.createDimension("stock", len(CARBON))
    for name, words in (("region", [zone for zone, _ in REGIONS]), ("stock", CARBON)):
        variable = file.createVariable(name, str, (name,))
        for i, word in enumerate(words):
            variable[i] = word
    frozen = file.createVariable("permafrost", "i1", ("region",))
    frozen[:] = [int(f) for _, f in REGIONS]
    frozen.long_name = "whether the present active layer is shallower than 3 m"
    at = file.createVariable("series_years", "f8", ("experiment", "step"), fill_value=np.nan)
    at[:] = np.array([e + [np.nan] * (steps - len(e)) for e in ends])
    at.setncatts({"units": "1", "long_name": "years since the start at the end of each time step"})
    carbon = file.createVariable(
        "series_carbon",
        "f8",
        ("experiment", "realization", "region", "step", "stock"),
        zlib=True,
        fill_value=np.nan,
    )
    carbon[:] = series
    carbon.setncatts({"units": "Pg", "long_name": "carbon of each member in each region"})
    area = file.createVariable("series_land", "f8", ("experiment", "realization", "region"))
    area[:] = land
    area.setncatts({"units": "km2", "long_name": "land where each member has a projection"})
    variable = _create(file, "cell_region", np.int8, ("lat", "lon"), np.int8(-1))
    full = np.full((len(grid.lat), len(grid.lon)), np.int8(-1))
    full[grid.row, grid.column] = gather(grid, store, n_chunks, ["region"])["region"]
    variable[:] = full
    variable.long_name = "position of each cell's region on the dimension region, from 0"


def _globals(plan: ProjectionPlan, store: BlockStore) -> dict[str, Any]:
    model = plan.model
    sample = plan.settings.every
    return {
        "Conventions": "CF-1.11",
        "title": f"Projections of soil carbon by {model.name}",
        "source": model.title,
        "references": model.source,
        "model": model.name,
        "variant": model.variant,
        **provenance(model),
        "comment": "Plain names are means over the members that have a projection; _sd is their "
        "standard deviation, _qNN their quantiles in per cent. Drivers are annual means and "
        "constant within a time step. "
        + WITHOUT
        + (
            f" A sample: every {sample}th row and column of the grid, weighted to all land."
            if sample > 1
            else ""
        ),
        "settings": json.dumps(dict(store.identity)),
    }
