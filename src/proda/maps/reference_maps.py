"""Several maps side by side: totals by zone, and how each compares with reference maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from proda import cf, units
from proda.drivers.grids import NOTES, standard_grid
from proda.errors import MapError
from proda.latitude import GLOBE, ZONES, in_zone
from proda.maps.map_comparison import compare, on_same_grid
from proda.maps.map_variables import STOCKS
from proda.maps.totals import PG, land_area, totals

_DEPTHS = {"0_30": "soc_0_30", "0_100": "cSoilAbove1m", "0_200": "soc_0_200"}
WORDS = {stock.name: stock.words for stock in STOCKS}


def reference_maps(
    dataset: xr.Dataset, variables: Sequence[str] = (), where: str = "the reference"
) -> dict[tuple[str, str], xr.DataArray]:
    """Return the maps of soil carbon in a file of references, by (stock, name).

    Parameters
    ----------
    dataset
        Stocks on (lat, lon), in any unit of mass per area; opened with
        :func:`proda.cf.open_grid`. More times are understood where they are all the same.
    variables
        Names, or STOCK=NAME where the name does not tell the depth; empty: all whose name does
        (`cSoil`, `cSoilAbove1m`, or `0_30`, `0_100`, `0_200` in the name).

    Raises
    ------
    MapError
        Naming the variable that is absent, whose depth or unit is not known, or that holds what
        no stock can be.
    """
    references: dict[tuple[str, str], xr.DataArray] = {}
    data = cf.data_variables(dataset)
    on_grid = [name for name in data if {"lat", "lon"} <= _axes(dataset[name])]
    for given in variables or [name for name in on_grid if _stock(name)]:
        stock, equals, name = given.rpartition("=")
        stock = stock if equals else _stock(given)
        if name not in dataset:
            raise MapError(f"{where}: has no variable {name}. It has: {', '.join(on_grid)}.")
        if stock not in WORDS:
            raise MapError(
                f"{where}: the depth of {name} does not follow from its name; give "
                f"STOCK={name}, with STOCK one of {', '.join(WORDS)}."
            )
        references[stock, name] = _judged(dataset, name, where)
    if not references:
        raise MapError(
            f"{where}: no variable name states its depth (0_30, 0_100, 0_200, cSoil); name one "
            f"as STOCK=NAME. It has: {', '.join(on_grid) or 'none on (lat, lon)'}."
        )
    return references


def _axes(data: xr.DataArray) -> set[str]:
    return {str(d).lower()[:3] for d in data.dims}


def _judged(dataset: xr.Dataset, name: str, where: str) -> xr.DataArray:
    """Return a stock on (lat, lon), kg m-2, whose unit is stated and whose values can be.

    Raises
    ------
    MapError
        Naming the variable, its unit, or the first wrong cell and its value.
    """
    grid = standard_grid(dataset[[name]], where)
    data = _steady(cf.load(grid, where)[name], where)
    if set(data.dims) != {"lat", "lon"}:
        raise MapError(
            f"{where}: {name} has the dimensions ({', '.join(map(str, data.dims))}); expected "
            "(lat, lon)."
        )
    given = str(data.attrs.get("units", "")).strip()
    if not given:
        raise MapError(
            f"{where}: {name} has no unit. Add the attribute `units` to it: 'kg m-2', or 't ha-1', "
            "'Mg ha-1', 'g m-2', 'g cm-2'."
        )
    factor = units.factor(given, units.STOCK)
    if factor is None:
        raise MapError(
            f"{where}: {name} is in {given!r}, which is no mass of carbon per area that is "
            "understood; expected 'kg m-2', or 't ha-1', 'Mg ha-1', 'g m-2', 'g cm-2'."
        )
    notes = {NOTES: grid.attrs[NOTES]} if NOTES in grid.attrs else {}
    attrs = {**data.attrs, "units": "kg m-2", **notes}
    if factor != 1.0:
        data = data.astype(np.float64) * factor
    if (wrong := (data < 0).to_numpy() | np.isinf(data.to_numpy())).any():
        first = np.argwhere(wrong)[0]
        place = ", ".join(
            f"{d} {float(data[d][i]):g}" for d, i in zip(data.dims, first, strict=True)
        )
        raise MapError(
            f"{where}: {name} is {float(data.to_numpy()[tuple(first)]):g} kg m-2 at {place} "
            f"({int(wrong.sum()):,} such cells); expected 0 or more. Missing values need the "
            "attribute _FillValue."
        )
    return data.assign_attrs(attrs)


def _steady(data: xr.DataArray, where: str) -> xr.DataArray:
    """Take one of several times that are all the same, as in a steady state by year."""
    others = [d for d in data.dims if d not in ("lat", "lon")]
    for dim in others:
        first = data.isel({dim: 0}, drop=True)
        same = [first.equals(data.isel({dim: i}, drop=True)) for i in range(1, data.sizes[dim])]
        if not all(same):
            raise MapError(
                f"{where}: {data.name} differs along {dim} ({data.sizes[dim]} values); give a file "
                "with one of them, or their mean."
            )
        data = first
    return data


def _stock(name: str) -> str:
    if name in WORDS:
        return name
    for depth, stock in _DEPTHS.items():
        if re.search(rf"(^|[^0-9]){depth}([^0-9]|$)", name):
            return stock
    return ""


def beside(
    maps: Mapping[str, xr.Dataset],
    references: Mapping[tuple[str, str], xr.DataArray] | None = None,
    zones: Mapping[str, tuple[float, float]] = ZONES,
) -> pd.DataFrame:
    """Return the totals of several maps and of references, by zone.

    Parameters
    ----------
    maps
        By label: maps opened with :func:`proda.maps.totals.open_map`.
    references
        From :func:`reference_maps`; summed over the land of the first map, with its weights
        (cell area times land fraction).

    Returns
    -------
    pandas.DataFrame
        One row per (stock, map, zone): `mean`, `sd`, `q05`, `q95` in Pg C, `land` (10^6 km2) and
        `answered`, the share of it that the total covers.
    """
    parts = []
    for label, dataset in maps.items():
        table = totals(dataset, zones).reset_index()
        parts.append(table.assign(map=label))
    first = next(iter(maps.values()))
    area = land_area(first)
    land = area.to_numpy()
    lat = np.broadcast_to(first["lat"].to_numpy()[:, None], land.shape)
    for (stock, name), data in (references or {}).items():
        aligned = on_same_grid(data.rename(name), first)[name].transpose("lat", "lon").to_numpy()
        rows = []
        for zone in (GLOBE, *zones):
            here = (land > 0) & in_zone(lat, zone, zones)
            known = here & np.isfinite(aligned)
            whole = land[here].sum()
            rows.append(
                {
                    "zone": zone,
                    "stock": stock,
                    "mean": PG * (aligned[known] * land[known]).sum(),
                    "sd": np.nan,
                    "q05": np.nan,
                    "q95": np.nan,
                    "land": whole / 1e6,
                    "answered": land[known].sum() / whole if whole > 0 else np.nan,
                    "map": name,
                }
            )
        parts.append(pd.DataFrame(rows))
    table = pd.concat(parts, ignore_index=True)
    order = {stock: i for i, stock in enumerate(WORDS)}
    table = table.sort_values("stock", key=lambda s: s.map(order), kind="stable")
    return table.set_index(["stock", "map", "zone"])


def against_references(
    maps: Mapping[str, xr.Dataset],
    references: Mapping[tuple[str, str], xr.DataArray],
    zones: Mapping[str, tuple[float, float]] = ZONES,
) -> pd.DataFrame:
    """Compare every map with every reference, on the cells that both have.

    Returns
    -------
    pandas.DataFrame
        The columns of :func:`proda.maps.map_comparison.compare`, one row per (stock, map,
        reference, zone).
    """
    parts = {}
    for label, dataset in maps.items():
        for (stock, name), data in references.items():
            table = compare(dataset[stock], data.rename(name), land_area(dataset), zones)
            parts[stock, label, name] = table
    return pd.concat(parts, names=["stock", "map", "reference", "zone"])


def between(
    maps: Mapping[str, xr.Dataset],
    stock: str = "cSoilAbove1m",
    zones: Mapping[str, tuple[float, float]] = ZONES,
) -> pd.DataFrame:
    """Compare every pair of maps, the second of a pair as the reference.

    Returns
    -------
    pandas.DataFrame
        As :func:`against_references`, one row per (map, other, zone).
    """
    labels = list(maps)
    parts = {
        (one, two): compare(maps[one][stock], maps[two][stock], land_area(maps[one]), zones)
        for i, one in enumerate(labels)
        for two in labels[i + 1 :]
    }
    return pd.concat(parts, names=["map", "other", "zone"])
