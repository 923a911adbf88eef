"""Forcing from CLM/CESM monthly history files, as in the paper (P-section 2.4; P-Table S3)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from proda.drivers import grids, litter_recipes, surface
from proda.drivers.climatology import ClimatologyPlan, Reads, climatology_block
from proda.drivers.history import History, scan
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, N_MONTHS
from proda.grid import CLM5_GRID

MONTHLY = {
    "soil_temperature": "TSOI",
    "w_scalar": "W_SCALAR",
    "o_scalar": "O_SCALAR",
    "n_scalar": "FPI_vr",
    "altmax": "ALTMAX",
    "altmax_lastyear": "ALTMAX_LASTYEAR",
}
"""Our variable -> CLM's; `W_SCALAR` is calculated from `SOILPSI` where it is absent."""

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


def from_clm(
    paths: Sequence[str | os.PathLike[str]],
    surface_data: str | os.PathLike[str] | None = None,
    years: tuple[int, int] | None = None,
    litter_inputs: str = "auto",
    npp_shares: Sequence[float] | None = None,
    w_floor: float = 0.0,
    on_read: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Calculate a monthly climatology of history files; lazy, in blocks of rows (Dask).

    Parameters
    ----------
    paths
        Monthly history files in any order: one month, many months, or one variable each.
    surface_data
        Has `nbedrock` or `zbedrock`, and `CELLSAND` or `PCT_SAND`; otherwise these must be in the
        history files.
    years
        First and last year (inclusive); by default all years in the files.
    litter_inputs, npp_shares
        How litter inputs are calculated; see :func:`proda.drivers.litter_recipes.choose`.
    w_floor
        Minimum of the water scalar if calculated from `SOILPSI`. The default is CLM's own, 0: a
        mean over months is 0 only in soil that never thaws or is never wet.
    on_read
        Called with (files read, files to read, each once for every block) as it is computed.

    Returns
    -------
    xarray.Dataset
        As :func:`proda.drivers.climate.from_climate` returns it. Each monthly scalar is calculated
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
    kind, recipe = litter_recipes.choose(litter_inputs, npp_shares, history.fields)
    names = dict(MONTHLY)
    if from_potential := "W_SCALAR" not in history.fields and "SOILPSI" in history.fields:
        names["w_scalar"] = "SOILPSI"
    needed = [*names.values(), *litter_recipes.variables(recipe)]
    _check_fields(history, names, needed)
    first, last = years or history.years("TSOI")
    if last < first:
        raise ForcingError(f"The years {first}-{last} are in reverse order.")
    history.check_complete(needed, first, last)

    others = [Path(surface_data)] if surface_data is not None else []
    constants, sources = surface.read_surface([*others, *history.paths], history.lat, history.lon)
    columns = np.argsort(grids.to_180(history.lon))
    cells = _cells(history, constants, columns)
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
        climatology_block, kwargs={"plan": plan, "names": names, "attrs": attrs}, template=template
    )
    result = result.assign(_areas(history, [history.paths[0], *others], columns))
    for name in ("cell_area", "land_fraction"):
        if name in result:
            grids.check_measure(result[name], name, str(history.paths[0]))
    result.attrs = {
        "Conventions": "CF-1.11",
        "title": f"Soil forcing: monthly climatology of CLM output, {first}-{last}",
        "estimated": "no",
        "source": f"{len(history.paths)} history files, {history.paths[0].name} to "
        f"{history.paths[-1].name}",
        "climatology_years": f"{first}-{last} ({last - first + 1} years)",
        "litter_input_from": f"{kind}: {litter_recipes.describe(recipe)}",
        "w_scalar_from": f"SOILPSI, floor {w_floor:g}" if from_potential else "W_SCALAR",
        "nbedrock_from": sources["nbedrock"],
        "sand_from": sources["sand"],
        **({} if "cell_area" in result else {grids.NOTES: grids.AREA_UNKNOWN}),
    }
    return result.chunk(lon=min(180, len(history.lon)))


def _cells(history: History, constants: dict[str, np.ndarray], columns: np.ndarray) -> xr.Dataset:
    """Return the fields that are constant in time on the grid, from west to east."""
    longitude = grids.to_180(history.lon)
    return xr.Dataset(
        {
            "nbedrock": (("lat", "lon"), constants["nbedrock"][:, columns]),
            "sand": (("lat", "lon", "layer"), constants["sand"][:, columns]),
            "row": ("lat", np.arange(len(history.lat))),
        },
        coords={
            "lat": ("lat", history.lat, {"units": "degrees_north"}),
            "lon": ("lon", longitude[columns], {"units": "degrees_east"}),
        },
    )


def _wanted(litter_inputs: str) -> list[str]:
    """Names of all variables that can be used, including those of the user's recipe."""
    recipes = list(litter_recipes.BUILT_IN.values())
    if litter_inputs not in ("auto", "npp", *litter_recipes.BUILT_IN):
        recipes.append(litter_recipes.from_toml(litter_inputs))
    fluxes = {name for recipe in recipes for name in litter_recipes.variables(recipe)}
    return [*MONTHLY.values(), "SOILPSI", "NPP", *sorted(fluxes)]


def _template(cells: xr.Dataset, rows: int) -> xr.Dataset:
    """Return the template of forcing with a bit mask of the variables that a cell lacks."""
    template = grids.forcing_template(cells, rows, -1)
    attrs = {
        "units": "1",
        "long_name": "which forcing variables are missing in a cell",
        "flag_masks": np.array([2**i for i in range(len(FORCING_VARIABLES))], np.int16),
        "flag_meanings": " ".join(v.name for v in FORCING_VARIABLES),
    }
    template["missing"] = (("lat", "lon"), template["status"].data.astype(np.int16), attrs)
    return template


def _areas(history: History, paths: Sequence[Path], columns: np.ndarray) -> dict[str, xr.DataArray]:
    """Cell area and, where the files have it, the land fraction, for area-weighted totals."""
    fields = surface.area_and_land(paths, (len(history.lat), len(history.lon)))
    area = fields.get("cell_area")
    if area is None or np.isnan(area).all():
        area = grids.area_on_sphere(history.lat, history.lon)
    areas: dict[str, xr.DataArray] = {}
    if area is not None:
        meaning = {"units": "km2", "long_name": "area of the grid cell"}
        areas["cell_area"] = xr.DataArray(
            area[:, columns].astype(np.float32), dims=("lat", "lon"), attrs=meaning
        )
    if "land_fraction" in fields:
        fraction = np.nan_to_num(fields["land_fraction"])  # CLM gives none where there is no land
        meaning = {"units": "1", "long_name": "land share of the cell"}
        areas["land_fraction"] = xr.DataArray(
            fraction[:, columns].astype(np.float32), dims=("lat", "lon"), attrs=meaning
        )
    return areas


def _check_fields(history: History, names: dict[str, str], needed: Sequence[str]) -> None:
    """Refuse unknown units, and scalars and temperature without soil layers."""
    for name in needed:
        _check_unit(history, name)
    for ours in ("soil_temperature", "w_scalar", "o_scalar", "n_scalar"):
        if not history.field(names[ours]).layered:
            raise ForcingError(f"{names[ours]} has no soil layers in the history files.")


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
    recipe: litter_recipes.Recipe,
    years: tuple[int, int],
    w_floor: float,
    columns: np.ndarray,
) -> ClimatologyPlan:
    """Group what is read by file, so that each is opened once per block."""
    by_file: dict[Path, list[tuple[str, int, int]]] = {}
    for name in dict.fromkeys(needed):
        for (year, month), record in sorted(history.field(name).records.items()):
            if years[0] <= year <= years[1]:
                by_file.setdefault(record.path, []).append((name, record.index, month - 1))
    return ClimatologyPlan(
        reads=tuple((path, tuple(items)) for path, items in by_file.items()),
        layered=frozenset(n for n in needed if history.field(n).layered),
        recipe=recipe,
        n_years=years[1] - years[0] + 1,
        w_floor=w_floor,
        columns=columns,
        progress=None,
    )
