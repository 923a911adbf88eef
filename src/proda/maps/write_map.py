"""From chunks to one CF netCDF file on (lat, lon), variable by variable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from proda.blocks.store import BlockStore
from proda.files import whole_netcdf
from proda.grid import CLM5_GRID
from proda.maps.cells import OUTSIDE_LAND, LandCells
from proda.maps.header import FILL, attributes, write_axes
from proda.maps.map_variables import (
    LOWER,
    NO_FORCING,
    PARAMETER_PREFIX,
    STOCKS,
    UPPER,
    MapVariable,
    age_variables,
    parameter_variables,
    reasons_of,
    residual_variables,
    state_variables,
)
from proda.models.components import COMPONENTS, MICROBES
from proda.models.model import SoilModel
from proda.models.outside import provenance

BUDGET = 400e6
"""Bytes of cell values held at a time while the file is written."""
TILE = (512, 1024)
"""Largest compressed tile of the file: a viewer reads a region without reading the globe."""


@dataclass(frozen=True)
class Field:
    """One array of the chunks as it goes into the file; `end` is "" (mean), "_sd", "_q05"...

    `ancillary` names the ends of its interval.
    """

    row: MapVariable
    end: str
    ancillary: str = ""

    @property
    def name(self) -> str:
        """Name in chunks and file."""
        return self.row.name + self.end


def assemble(
    model: SoilModel,
    cells: LandCells,
    store: BlockStore,
    n_chunks: int,
    target: Path,
    outside: np.ndarray | None,
) -> dict[str, Any]:
    """Write the map, completely or not at all, and count cells and members by reason.

    Memory is bounded by :data:`BUDGET` and a few grids of one variable: chunks are read once for
    each group of variables.
    """
    fields = _fields(model, store)
    ends = list(dict.fromkeys(f.end for f in fields))
    with (
        whole_netcdf(target) as temporary,
        netCDF4.Dataset(temporary, "w", format="NETCDF4") as file,
    ):
        n_members = int(store.identity["members"])
        write_axes(file, cells, n_members)
        summary = _reasons(file, cells, store, n_chunks, n_members, reasons_of(model))
        if outside is not None:
            _outside(file, cells, outside)
        for group in _groups(fields, len(cells)):
            _write_group(file, cells, store, n_chunks, group, n_members)
        _by_latitude(file, cells, store, n_chunks, n_members)
        file.setncatts(_globals(model, cells, store, ends))
    return summary | {"n_members": n_members}


def _fields(model: SoilModel, store: BlockStore) -> list[Field]:
    shapes = {name: array.shape for name, array in store.read(0).items()}
    components = [row.name for row in COMPONENTS]
    components += [row.name for row in MICROBES if row.name in shapes]
    # A Michaelis constant's own variable is the shortest of the names that begin with it.
    michaelis = sorted(n for n in shapes if n.startswith("michaelis_over_"))
    components += [
        n for n in michaelis if not any(n != m and n.startswith(m + "_") for m in michaelis)
    ]
    layered = {row.name for row in model.rows if len(shapes[PARAMETER_PREFIX + row.name]) == 2}
    rows = state_variables(components) + residual_variables() + parameter_variables(model, layered)
    rows += [row for row in age_variables(model) if row.name in shapes]
    fields = []
    for row in rows:
        endings = [n.removeprefix(row.name) for n in shapes if n.startswith(row.name)]
        fields += [
            Field(row, e, _ancillary(row.name + e, set(shapes)))
            for e in endings
            if e in ("", "_sd", LOWER, UPPER) or e.startswith("_q")
        ]
    return fields


def _ancillary(name: str, there: set[str]) -> str:
    """Return the names of the ends of a variable's interval, where it has one."""
    return " ".join(name + end for end in (LOWER, UPPER) if name + end in there)


def _groups(fields: list[Field], n_cells: int) -> Iterator[list[Field]]:
    """Split into groups that fit the budget, each of at least one field."""
    group: list[Field] = []
    size = 0.0
    for field in fields:
        more = 4.0 * n_cells * (len(CLM5_GRID) if field.row.layered else 1)
        if group and size + more > BUDGET:
            yield group
            group, size = [], 0.0
        group.append(field)
        size += more
    yield group


def gather(
    cells: LandCells, store: BlockStore, n_chunks: int, names: list[str]
) -> dict[str, np.ndarray]:
    """Read some arrays of all chunks into the order of the land cells."""
    whole: dict[str, np.ndarray] = {}
    for i in range(n_chunks):
        part = store.read(i, ["cells", *names])
        for name in names:
            if name not in whole:
                whole[name] = np.empty((len(cells), *part[name].shape[1:]), part[name].dtype)
            whole[name][part["cells"]] = part[name]
    return whole


def _write_group(
    file: netCDF4.Dataset,
    cells: LandCells,
    store: BlockStore,
    n_chunks: int,
    group: list[Field],
    n_members: int,
) -> None:
    values = gather(cells, store, n_chunks, [field.name for field in group])
    for field in group:
        array = values.pop(field.name)
        variable = _variable(file, field.name, np.float32, FILL, field.row.layered)
        variable.setncatts(attributes(field.row, field.end, n_members))
        if field.ancillary:
            variable.ancillary_variables = field.ancillary
        if field.row.layered:
            for layer in range(array.shape[1]):
                variable[layer] = filled(cells, array[:, layer])
        else:
            variable[:] = filled(cells, array)


def _variable(
    file: netCDF4.Dataset, name: str, dtype: type, fill: Any, layered: bool = False
) -> netCDF4.Variable:
    tile = [min(t, len(file.dimensions[d])) for t, d in zip(TILE, ("lat", "lon"), strict=True)]
    # Whole tiles are written, once: HDF5's cache would hold some of every variable to the end.
    return file.createVariable(
        name,
        dtype,
        (*(["layer"] if layered else []), "lat", "lon"),
        zlib=True,
        complevel=4,
        shuffle=True,
        fill_value=fill,
        chunksizes=[*([1] if layered else []), *tile],
        chunk_cache=1,
    )


def filled(cells: LandCells, values: np.ndarray) -> np.ndarray:
    """Return values of all cells on the grid; the fill value where there is none."""
    full = np.full((len(cells.lat), len(cells.lon)), FILL)
    full[cells.row, cells.column] = np.where(np.isnan(values), FILL, values)
    return full


def _whole_numbers(
    file: netCDF4.Dataset,
    cells: LandCells,
    name: str,
    values: np.ndarray,
    dtype: type,
    other: tuple[np.ndarray, int] | None = None,
) -> netCDF4.Variable:
    """Write whole numbers of the land cells, and `other` (mask on the grid, number).

    -1 elsewhere, which no count or code is.
    """
    full = np.full((len(cells.lat), len(cells.lon)), -1, dtype)
    full[cells.row, cells.column] = values
    if other is not None:
        full[other[0]] = other[1]
    variable = _variable(file, name, dtype, dtype(-1))
    variable[:] = full
    variable.cell_measures = "area: cell_area"
    return variable


def _reasons(
    file: netCDF4.Dataset,
    cells: LandCells,
    store: BlockStore,
    n_chunks: int,
    n_members: int,
    words: dict[int, str],
) -> dict[str, dict[str, int]]:
    reason = np.zeros(len(cells), np.int8)
    counts: dict[str, np.ndarray] = {}
    for i in range(n_chunks):
        here = [f"n:{n}" for n in words.values() if store.has(i, f"n:{n}")]
        part = store.read(i, ["cells", "reason", *here])
        reason[part["cells"]] = part["reason"]
        for name in here:
            count = counts.setdefault(name.removeprefix("n:"), np.zeros(len(cells), np.int32))
            count[part["cells"]] = part[name]
    counts.setdefault("feasible", np.zeros(len(cells), np.int32))
    lacking = ~np.isin(cells.status, [0, *OUTSIDE_LAND])
    variable = _whole_numbers(file, cells, "reason", reason, np.int8, (lacking, NO_FORCING))
    variable.setncatts(
        {
            "units": "1",
            "standard_name": "status_flag",
            "long_name": "why a land cell has no answer (the most frequent reason of its members); "
            "0 where at least one member has a steady state",
            "flag_values": np.array(list(words), np.int8),
            "flag_meanings": " ".join(words.values()),
        }
    )
    for name, count in counts.items():
        variable = _whole_numbers(file, cells, f"n_{name}", count, np.int32)
        variable.units = "1"
        variable.long_name = f"number of ensemble members, of {n_members}: {name.replace('_', ' ')}"
    by_reason = {name: int((reason == c).sum()) for c, name in words.items()}
    by_reason[words[NO_FORCING]] = int(lacking.sum())
    return {
        "cells_by_reason": {name: n for name, n in by_reason.items() if n},
        "members_by_reason": {name: int(c.sum()) for name, c in counts.items() if c.any()},
    }


def _outside(file: netCDF4.Dataset, cells: LandCells, outside: np.ndarray) -> None:
    flags = outside.astype(bool).astype(np.int8)
    variable = _whole_numbers(file, cells, "outside_training", flags, np.int8)
    variable.setncatts(
        {
            "units": "1",
            "standard_name": "status_flag",
            "long_name": "whether the covariates lie outside the range of the training sites",
            "flag_values": np.array([0, 1], np.int8),
            "flag_meanings": "inside outside",
        }
    )


def _by_latitude(
    file: netCDF4.Dataset, cells: LandCells, store: BlockStore, n_chunks: int, n_members: int
) -> None:
    area = np.zeros((n_members, len(cells.lat)))
    carbon = np.zeros((n_members, len(cells.lat), len(STOCKS)))
    for i in range(n_chunks):
        part = store.read(i, ["rows", "member_area", "member_carbon"])
        area[:, part["rows"]] += part["member_area"]
        carbon[:, part["rows"]] += part["member_carbon"]
    file.createDimension("stock", len(STOCKS))
    labels = file.createVariable("stock", str, ("stock",))
    labels.long_name = "variable whose carbon is summed"
    for i, stock in enumerate(STOCKS):
        labels[i] = stock.name
    variable = file.createVariable("member_carbon", "f8", ("realization", "lat", "stock"))
    variable[:] = carbon
    variable.setncatts(
        {
            "units": "Pg",
            "long_name": "soil carbon of each member in each row of the grid",
            "comment": "stock x cell_area x land_fraction over cells where this member has an "
            "answer",
        }
    )
    variable = file.createVariable("member_area", "f8", ("realization", "lat"))
    variable[:] = area
    variable.setncatts(
        {
            "units": "km2",
            "long_name": "land of the cells where each member has an answer",
        }
    )


def _globals(
    model: SoilModel, cells: LandCells, store: BlockStore, ends: list[str]
) -> dict[str, Any]:
    forcing = {
        f"forcing_{name}": value
        for name, value in cells.dataset.attrs.items()
        if isinstance(value, str | int | float | np.number)
    }
    return {
        "Conventions": "CF-1.11",
        "title": f"Soil carbon and its components at steady state by {model.name}",
        "source": model.title,
        "references": model.source,
        "model": model.name,
        "variant": model.variant,
        **provenance(model),
        "comment": "Plain names are means over the ensemble members that have a steady state"
        + (
            "; _sd is their standard deviation (n - 1) and _qNN their quantiles in per cent."
            if len(ends) > 1
            else "; this ensemble has one member, so there is no spread."
        )
        + " Parameters are averaged over all members that have any."
        + (
            " _lower and _upper are the ends of a 90 % predictive interval of one profile in the "
            "cell, not of the cell's mean."
            if LOWER in ends
            else ""
        ),
        "settings": json.dumps(dict(store.identity)),
        **forcing,
    }
