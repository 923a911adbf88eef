"""Forcing from CLM/CESM monthly history files: the study's way (P-section 2.4; P-Table S3)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from proda.drivers import grids, litter, surface
from proda.drivers.history import History, opened, plain, scan
from proda.drivers.soil_physics import water_scalar
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, LITTER, N_MONTHS
from proda.grid import CLM5_GRID

DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
"""Days of the months in CLM's calendar."""

MONTHLY = {
    "soil_temperature": "TSOI",
    "w_scalar": "W_SCALAR",
    "o_scalar": "O_SCALAR",
    "n_scalar": "FPI_vr",
    "altmax": "ALTMAX",
    "altmax_lastyear": "ALTMAX_LASTYEAR",
}
"""Our variable -> CLM's; `W_SCALAR` is made from `SOILPSI` where it is absent."""

BLOCK_BYTES = 200e6
"""Memory for the running sums of one block of rows. With copies and what is read, a whole run took
1.4 GB on two cores (benchmarks/results/drivers.md)."""

_UNITS = {
    "TSOI": ("K",),
    "SOILPSI": ("MPa",),
    "ALTMAX": ("m",),
    "ALTMAX_LASTYEAR": ("m",),
    **dict.fromkeys(("W_SCALAR", "O_SCALAR", "FPI_vr"), ("unitless", "proportion", "1", "")),
}
_FLUX = ("gC/m^2/s", "gC/m2/s", "gC m-2 s-1", "g m-2 s-1")
_FLUX_PER_VOLUME = ("gC/m^3/s", "gC/m3/s", "gC m-3 s-1", "g m-3 s-1")


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
class Plan:
    """What to read from which file; one per climatology, shared by its blocks."""

    reads: tuple[tuple[Path, tuple[tuple[str, int, int], ...]], ...]
    """(file, ((CLM variable, position in time, month 0-11), ...))"""
    layered: frozenset[str]
    recipe: litter.Recipe
    n_years: int
    w_floor: float
    columns: np.ndarray
    """Order of the files' longitudes that makes them ascend from -180."""
    progress: Reads | None


def from_clm(
    paths: Sequence[str | os.PathLike[str]],
    surface_data: str | os.PathLike[str] | None = None,
    years: tuple[int, int] | None = None,
    litter_inputs: str = "auto",
    npp_shares: Sequence[float] | None = None,
    w_floor: float = 0.0,
    on_read: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Make a monthly climatology of history files; lazy, in blocks of rows (Dask).

    Parameters
    ----------
    paths
        Monthly history files in any order: one month, many months, or one variable each.
    surface_data
        Has `nbedrock` or `zbedrock`, and `CELLSAND` or `PCT_SAND`; otherwise these must be in the
        history files.
    years
        First and last year (inclusive); by default all that the files hold.
    litter_inputs, npp_shares
        How litter inputs are made; see :func:`proda.drivers.litter.choose`.
    w_floor
        Least water scalar where it is made from `SOILPSI`. 0, CLM's own, by default: a mean over
        months is 0 only in soil that never thaws or wets.
    on_read
        Called with (files read, files to read, each once for every block) as it is computed.

    Returns
    -------
    xarray.Dataset
        As :func:`proda.drivers.climate.from_climate` returns it. Each monthly scalar is made
        before averaging: the mean of W is not the W of the mean potential.

    Raises
    ------
    FileError
        Naming the file that cannot be read.
    ForcingError
        Naming missing variables, missing or repeated months, wrong units, layers or grids.
    """
    if not 0 <= w_floor < 1:
        raise ForcingError(f"The floor of the water scalar is {w_floor:g}; expected 0 to below 1.")
    history = scan(paths, _wanted(litter_inputs))
    kind, recipe = litter.choose(litter_inputs, npp_shares, history.fields)
    names = dict(MONTHLY)
    if from_potential := "W_SCALAR" not in history.fields and "SOILPSI" in history.fields:
        names["w_scalar"] = "SOILPSI"
    needed = [*names.values(), *litter.variables(recipe)]
    for name in needed:
        _check_unit(history, name)
    for ours in ("soil_temperature", "w_scalar", "o_scalar", "n_scalar"):
        if not history.field(names[ours]).layered:
            raise ForcingError(f"{names[ours]} has no soil layers in the history files.")
    first, last = years or history.years("TSOI")
    if last < first:
        raise ForcingError(f"The years {first}-{last} run backwards.")
    history.check_complete(needed, first, last)

    others = [Path(surface_data)] if surface_data is not None else []
    constants, sources = surface.read_surface([*others, *history.paths], history.lat, history.lon)
    longitude = grids.to_180(history.lon)
    columns = np.argsort(longitude)
    cells = xr.Dataset(
        {
            "nbedrock": (("lat", "lon"), constants["nbedrock"][:, columns]),
            "sand": (("lat", "lon", "layer"), constants["sand"][:, columns]),
            "row": ("lat", np.arange(len(history.lat))),
        },
        coords={"lat": ("lat", history.lat, {"units": "degrees_north"}),
                "lon": ("lon", longitude[columns], {"units": "degrees_east"})},
    )  # fmt: skip
    n_layered = sum(history.field(name).layered for name in names.values())
    row_bytes = 8 * len(history.lon) * N_MONTHS * len(CLM5_GRID) * n_layered
    rows = int(np.clip(BLOCK_BYTES // row_bytes, 1, len(history.lat)))
    template = _template(cells, rows)
    plan = _plan(history, needed, recipe, (first, last), w_floor, columns)
    if on_read is not None:
        n_blocks = -(-len(history.lat) // rows)
        plan = replace(plan, progress=Reads(n_blocks * len(plan.reads), on_read))
    attrs = template.isel(lat=[0], lon=[0]).compute()
    result = cells.chunk(lat=rows).map_blocks(
        _climatology_block, kwargs={"plan": plan, "names": names, "attrs": attrs}, template=template
    )
    result = result.assign(_areas(history, [history.paths[0], *others], columns))
    result.attrs = {
        "Conventions": "CF-1.11",
        "title": f"Soil forcing: monthly climatology of CLM output, {first}-{last}",
        "estimated": "no",
        "source": f"{len(history.paths)} history files, {history.paths[0].name} to "
        f"{history.paths[-1].name}",
        "climatology_years": f"{first}-{last} ({last - first + 1} years)",
        "litter_input_from": f"{kind}: {litter.describe(recipe)}",
        "w_scalar_from": f"SOILPSI, floor {w_floor:g}" if from_potential else "W_SCALAR",
        "nbedrock_from": sources["nbedrock"],
        "sand_from": sources["sand"],
    }
    return result.chunk(lon=min(180, len(history.lon)))


def _wanted(litter_inputs: str) -> list[str]:
    """Names of all variables that could be of use; a recipe of the user adds its own."""
    recipes = list(litter.BUILT_IN.values())
    if litter_inputs not in ("auto", "npp", *litter.BUILT_IN):
        recipes.append(litter.from_toml(litter_inputs))
    fluxes = {name for recipe in recipes for name in litter.variables(recipe)}
    return [*MONTHLY.values(), "SOILPSI", "NPP", *sorted(fluxes)]


def _template(cells: xr.Dataset, rows: int) -> xr.Dataset:
    """Return forcing's own template with a bit mask that says which variables a cell lacks."""
    template = grids.forcing_template(cells, rows, -1)
    attrs = {
        "units": "1",
        "long_name": "which forcing variables a cell lacks",
        "flag_masks": np.array([2**i for i in range(len(FORCING_VARIABLES))], np.int16),
        "flag_meanings": " ".join(v.name for v in FORCING_VARIABLES),
    }
    template["missing"] = (("lat", "lon"), template["status"].data.astype(np.int16), attrs)
    return template


def _areas(history: History, paths: Sequence[Path], columns: np.ndarray) -> dict[str, xr.DataArray]:
    """Cell area and, where the files have it, the land fraction, for area-weighted totals."""
    found = surface.area_and_land(paths, (len(history.lat), len(history.lon)))
    area = found.get("cell_area")
    if area is None or np.isnan(area).all():
        area = grids.cell_area(history.lat, history.lon)
    meaning = {"units": "km2", "long_name": "area of the grid cell"}
    areas = {"cell_area": xr.DataArray(area[:, columns].astype(np.float32),
                                       dims=("lat", "lon"), attrs=meaning)}  # fmt: skip
    if "land_fraction" in found:
        fraction = np.nan_to_num(found["land_fraction"])  # CLM gives none where there is no land
        meaning = {"units": "1", "long_name": "land share of the cell"}
        areas["land_fraction"] = xr.DataArray(fraction[:, columns].astype(np.float32),
                                              dims=("lat", "lon"), attrs=meaning)  # fmt: skip
    return areas


def _check_unit(history: History, name: str) -> None:
    field = history.field(name)
    known = _UNITS.get(name, _FLUX_PER_VOLUME if field.layered else _FLUX)
    if field.unit not in known:
        raise ForcingError(
            f"{name} is in {field.unit!r} in the history files; expected "
            f"{' or '.join(repr(u) for u in known if u)}."
        )


def _plan(
    history: History,
    needed: Sequence[str],
    recipe: litter.Recipe,
    years: tuple[int, int],
    w_floor: float,
    columns: np.ndarray,
) -> Plan:
    """Group what is read by file, so that each is opened once per block."""
    by_file: dict[Path, list[tuple[str, int, int]]] = {}
    for name in dict.fromkeys(needed):
        for (year, month), record in sorted(history.field(name).records.items()):
            if years[0] <= year <= years[1]:
                by_file.setdefault(record.path, []).append((name, record.index, month - 1))
    return Plan(
        reads=tuple((path, tuple(items)) for path, items in by_file.items()),
        layered=frozenset(n for n in needed if history.field(n).layered),
        recipe=recipe,
        n_years=years[1] - years[0] + 1,
        w_floor=w_floor,
        columns=columns,
        progress=None,
    )


def _climatology_block(
    block: xr.Dataset, plan: Plan, names: Mapping[str, str], attrs: xr.Dataset
) -> xr.Dataset:
    rows = slice(int(block["row"][0]), int(block["row"][-1]) + 1)
    shape = (block.sizes["lat"], block.sizes["lon"])
    means = _monthly_means(plan, rows, shape)
    annual = {
        # Carbon of a year: each month's mean rate over the seconds of that month.
        name: np.tensordot(DAYS * 86400.0, means[name], axes=1)
        for name in litter.variables(plan.recipe)
    }
    gridded: dict[str, np.ndarray] = {
        "nbedrock": block["nbedrock"].to_numpy(),
        "sand": block["sand"].to_numpy(),
        "litter_input": np.stack(
            [
                sum((f * annual[n] for n, f in plan.recipe[pool].items()), np.zeros(shape))
                for pool in LITTER
            ],
            axis=-1,
        ),
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
    result["missing"] = (("lat", "lon"), np.where(land, missing, 0).astype(np.int16),
                         attrs["missing"].attrs)  # fmt: skip
    return result[list(attrs.data_vars)]


def _monthly_means(plan: Plan, rows: slice, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Mean of each calendar month over the years, (month, [layer,] lat, lon), float64.

    Fluxes per volume are integrated over the layers to fluxes per area.
    """
    n = len(CLM5_GRID)
    fluxes = set(litter.variables(plan.recipe))
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
                    raise ForcingError(f"{path}: {name} changed its shape while it was read.")
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
