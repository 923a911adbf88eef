"""Regions of the globe: zones of latitude and the regions that the paper names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from proda import weighted
from proda.comparison.model_files import (
    COMPARED,
    DEFINED_EVERYWHERE,
    OpenedModel,
    common_land,
    grid_of,
    holds_carbon,
    pairs,
    states_of,
)
from proda.latitude import GLOBE, ZONES, between
from proda.maps.map_variables import STOCKS
from proda.maps.totals import PG, by_latitude, ensemble_by_latitude, land_area


@dataclass(frozen=True)
class Region:
    """A box of latitude and longitude, degrees; the northern and eastern edges are excluded."""

    south: float
    north: float
    west: float = -180.0
    east: float = 180.0

    def contains(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Return whether points lie inside; a region may cross the date line (west > east)."""
        rows = between(lat, self.south, self.north)
        if self.west > self.east:
            return np.asarray(rows & ((lon >= self.west) | (lon < self.east)))
        return np.asarray(rows & (lon >= self.west) & (lon < self.east))


REGIONS: dict[str, Region] = {
    GLOBE: Region(-90.0, 90.0),
    **{name: Region(*limits) for name, limits in ZONES.items()},
    "East Siberia": Region(55.0, 73.0, 105.0, 160.0),
    "western Siberian lowlands": Region(55.0, 70.0, 60.0, 88.0),
    "Alaska": Region(58.0, 71.5, -168.0, -141.0),
    "Canadian Shield": Region(48.0, 66.0, -110.0, -62.0),
    "Amazon": Region(-15.0, 5.0, -75.0, -50.0),
    "Congo": Region(-6.0, 5.0, 15.0, 30.0),
    "Indonesia": Region(-10.0, 6.0, 95.0, 141.0),
}
"""The globe, zones of latitude, and the regions named in P-section 3 as boxes.

The paper gives no limits; these are ours.
"""
QUANTILES = {"median": 0.5, "q05": 0.05, "q25": 0.25, "q75": 0.75, "q95": 0.95}
"""Over the cells of a region, by the name of the column."""


def region_table(
    models: Mapping[str, OpenedModel], regions: Mapping[str, Region] = REGIONS
) -> pd.DataFrame:
    """Summarise every variable of the maps in every region, for models and differences of pairs.

    Returns
    -------
    pandas.DataFrame
        One row per `region`, `model` ("second - first" for a pair), `state` and `variable`:
        `cells`, `land` (10^6 km2), `mean`, `median`, `q05`, `q25`, `q75`, `q95` over the cells,
        weighted by land; `sd_members`, the mean of the members' standard deviation at a cell, and
        `mean_q05`, `mean_q95`, the members' range of the region's mean, where the file has it
        (stocks, in regions that span all longitudes). For a pair also `log_ratio`, the median of
        ln(second/first). Models and pairs are summarised on their common land, components where
        there is carbon.
    """
    rows = []
    boxes = _boxes(grid_of(models), regions)
    everyone = tuple(models)
    states = states_of(models, everyone)
    for state in sorted({s for m in models.values() for s in m.maps}):
        # All models on the same land, or each on its own if not all have that state.
        for name in everyone:
            if state not in models[name].maps:
                continue
            shared = common_land(models, everyone, states) if state in states else None
            dataset = models[name].maps[state]
            land = land_area(dataset) if shared is None else shared
            where = _defined(land, dataset)
            for variable in COMPARED:
                head = {"model": name, "state": state, "variable": variable}
                rows += _rows(dataset[variable], where[variable], boxes, head, dataset)
        for first, second in pairs(models):
            if state not in states_of(models, (first, second)):
                continue
            land = common_land(models, (first, second), (state,))
            both = [models[m].maps[state] for m in (first, second)]
            where = _defined(land, *both)
            for variable in COMPARED:
                x, y = (dataset[variable] for dataset in both)
                head = {"model": f"{second} - {first}", "state": state, "variable": variable}
                rows += _rows(y - x, where[variable], boxes, head, ratio=log_ratio(x, y))
    return pd.DataFrame(rows)


_Boxes = Mapping[str, tuple[Region, np.ndarray]]
"""Every region with where its cells are, (lat, lon)."""


def _boxes(grid: xr.Dataset, regions: Mapping[str, Region]) -> _Boxes:
    lat, lon = np.meshgrid(grid["lat"].to_numpy(), grid["lon"].to_numpy(), indexing="ij")
    return {name: (region, region.contains(lat, lon)) for name, region in regions.items()}


def _defined(land: xr.DataArray, *maps: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the land where each variable is defined: components need carbon."""
    with_carbon = land
    for dataset in maps:
        with_carbon = with_carbon.where(holds_carbon(dataset), 0.0)
    return {v: land if v in DEFINED_EVERYWHERE else with_carbon for v in COMPARED}


def log_ratio(x: xr.DataArray, y: xr.DataArray) -> xr.DataArray:
    """Return ln(y/x), NaN where one is not above 0."""

    def of_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.log(np.where((a > 0) & (b > 0), b / a, np.nan))

    return xr.apply_ufunc(of_arrays, x, y)


def _rows(
    values: xr.DataArray,
    land: xr.DataArray,
    boxes: _Boxes,
    head: dict[str, str],
    dataset: xr.Dataset | None = None,
    ratio: xr.DataArray | None = None,
) -> list[dict]:
    v, w = (d.transpose("lat", "lon").to_numpy().astype(np.float64) for d in (values, land))
    spread, stock = None, False
    if dataset is not None:
        stock = head["variable"] in dataset["stock"].to_numpy().astype(str)
        if f"{head['variable']}_sd" in dataset:
            spread = dataset[f"{head['variable']}_sd"].transpose("lat", "lon").to_numpy()
    logs = None if ratio is None else ratio.transpose("lat", "lon").to_numpy()
    known = np.isfinite(v) & (w > 0)
    rows = []
    for name, (region, inside) in boxes.items():
        here = inside & known
        row = {"region": name, **head, "cells": int(here.sum()), "land": w[here].sum() / 1e6}
        if here.any():
            row["mean"] = float(np.average(v[here], weights=w[here]))
            found = weighted.quantiles(v[here], w[here], [*QUANTILES.values()])
            row |= dict(zip(QUANTILES, found.tolist(), strict=True))
            if spread is not None:
                row["sd_members"] = float(np.average(spread[here], weights=w[here]))
            if logs is not None:
                fine = here & np.isfinite(logs)
                row["log_ratio"] = (
                    weighted.quantile(logs[fine], w[fine], 0.5) if fine.any() else np.nan
                )
        if dataset is not None and stock:
            low, high = _members_range(dataset, head["variable"], region)
            row |= {"mean_q05": low, "mean_q95": high}
        rows.append(row)
    return rows


def _members_range(dataset: xr.Dataset, stock: str, region: Region) -> tuple[float, float]:
    """Return the 5-95 % range of the members' mean stock; NaN for boxes and single members."""
    whole = region.west == -180.0 and region.east == 180.0
    if not whole or dataset.sizes["realization"] < 2:
        return float("nan"), float("nan")
    lat = dataset["lat"].to_numpy()
    rows = region.contains(lat, np.zeros_like(lat))
    carbon = dataset["member_carbon"].sel(stock=stock).transpose("realization", "lat").to_numpy()
    area = dataset["member_area"].transpose("realization", "lat").to_numpy()
    under = area[:, rows].sum(axis=1)
    if not (under > 0).all():
        return float("nan"), float("nan")
    low, high = np.quantile(carbon[:, rows].sum(axis=1) / (PG * under), [0.05, 0.95])
    return float(low), float(high)


def zonal_table(models: Mapping[str, OpenedModel], width: float = 2.5) -> pd.DataFrame:
    """Return means along latitude of every model and state.

    Returns
    -------
    pandas.DataFrame
        `model`, `state`, `variable`, `lat` (centre of the band), `mean`, `median`, `q05`, `q95`
        over cells, `land` (km2), and for stocks `members_q05`, `members_q95` of the band's mean.
    """
    parts = []
    stocks = {s.name for s in STOCKS}
    for name, model in models.items():
        for state, dataset in model.maps.items():
            where = _defined(land_area(dataset), dataset)
            for variable in COMPARED:
                bands = by_latitude(dataset[variable], where[variable], width)
                head = {"model": name, "state": state, "variable": variable}
                columns = {str(n): bands[n].to_numpy() for n in ("lat", *bands.data_vars)}
                table = pd.DataFrame({**head, **columns})
                if variable in stocks and dataset.sizes["realization"] > 1:
                    members = ensemble_by_latitude(dataset, variable, width).to_dataframe()
                    ranges = members[["q05", "q95"]].add_prefix("members_")
                    table = table.join(ranges, on="lat")
                parts.append(table)
    return pd.concat(parts, ignore_index=True)
