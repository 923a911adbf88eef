"""Several maps side by side: totals by zone, and how each compares with reference maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from proda.errors import MapError
from proda.maps.compare import compare, on_same_grid
from proda.maps.outputs import STOCKS
from proda.maps.totals import GLOBE, PG, ZONES, in_zone, land_area, totals

_DEPTHS = {"0_30": "soc_0_30", "0_100": "cSoilAbove1m", "0_200": "soc_0_200"}
WORDS = {stock.name: stock.words for stock in STOCKS}


def reference_maps(
    dataset: xr.Dataset, variables: Sequence[str] = (), where: str = "the reference"
) -> dict[tuple[str, str], xr.DataArray]:
    """Return the maps of soil carbon in a file of references, by (stock, name).

    Parameters
    ----------
    dataset
        Stocks in kg m-2 on (lat, lon).
    variables
        Names, or STOCK=NAME where the name does not tell the depth; empty: all whose name does
        (`cSoil`, `cSoilAbove1m`, or `0_30`, `0_100`, `0_200` in the name).

    Raises
    ------
    MapError
        Naming the variable that is absent or whose depth is not known.
    """
    found: dict[tuple[str, str], xr.DataArray] = {}
    on_grid = [str(n) for n, v in dataset.data_vars.items() if v.ndim == 2]
    for given in variables or [name for name in on_grid if _stock(name)]:
        stock, equals, name = given.rpartition("=")
        stock = stock if equals else _stock(given)
        if name not in dataset:
            raise MapError(f"{where}: has no variable {name}. It has: {', '.join(on_grid)}.")
        if stock not in WORDS:
            raise MapError(
                f"{where}: which depth {name} is of cannot be told from its name; give "
                f"STOCK={name}, with STOCK one of {', '.join(WORDS)}."
            )
        found[stock, name] = dataset[name]
    if not found:
        raise MapError(
            f"{where}: no variable is named by its depth (0_30, 0_100, 0_200, cSoil); name one "
            f"as STOCK=NAME. It has: {', '.join(on_grid) or 'none on (lat, lon)'}."
        )
    return found


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
            rows.append({
                "zone": zone, "stock": stock, "mean": PG * (aligned[known] * land[known]).sum(),
                "sd": np.nan, "q05": np.nan, "q95": np.nan, "land": whole / 1e6,
                "answered": land[known].sum() / whole if whole > 0 else np.nan, "map": name,
            })  # fmt: skip
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
        The columns of :func:`proda.maps.compare.compare`, one row per (stock, map, reference,
        zone).
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
