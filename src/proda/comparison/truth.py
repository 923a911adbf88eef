"""Compare maps of a synthetic world with its truth: recovery, and coverage of the spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from proda.errors import ComparisonError
from proda.maps.map_variables import PARAMETER_PREFIX, STOCKS
from proda.maps.totals import land_area
from proda.models.components import COMPONENTS
from proda.weighted import correlation

ALL, UNSEEN = "all", "unseen"
"""Cells of a table: all of the land, or the land without a profile."""


@dataclass(frozen=True, eq=False)
class Recovered:
    """The map of one model by one route (`posterior` or `end-to-end`).

    `estimate` is a map; `spread` is the map whose 5-95 % range is compared with the truth, if it
    differs.
    """

    model: str
    route: str
    estimate: xr.Dataset
    spread: xr.Dataset | None = None


def recovered_table(
    maps: Sequence[Recovered],
    truth: xr.Dataset,
    measured: str,
    sites: tuple[Float[np.ndarray, " site"], Float[np.ndarray, " site"]] | None = None,
) -> pd.DataFrame:
    """Compare maps of any models and routes with the truth of one world.

    Parameters
    ----------
    maps
        The maps.
    truth
        Map of the world.
    measured
        The model that generated the world. There is no truth for the components and parameters of
        other models, only for their carbon above 2 m.
    sites
        Latitudes and longitudes of the profiles; with them, every map is also evaluated on the
        cells without a profile.

    Returns
    -------
    pandas.DataFrame
        Columns `model`, `route`, `cells` (:data:`ALL` or :data:`UNSEEN`), then those of
        :func:`truth_table`, in which `cells` is `n_cells`.

    Raises
    ------
    ComparisonError
        If the grids differ, or every cell of the land has a profile.
    """
    stocks = [stock.name for stock in STOCKS if stock.lower is not None]
    masks: dict[str, np.ndarray | None] = {ALL: None}
    if sites is not None:
        masks[UNSEEN] = cells_without(truth, *sites)
    tables = []
    for one in maps:
        names = None if one.model == measured else stocks
        for cells, where in masks.items():
            table = truth_table(one.estimate, truth, names, one.spread, where)
            if table.empty:
                raise ComparisonError(f"{one.model}, {one.route}: no {cells} cells to compare on.")
            table = table.rename(columns={"cells": "n_cells"})
            tables.append(table.assign(model=one.model, route=one.route, cells=cells))
    result = pd.concat(tables, ignore_index=True)
    first = ["model", "route", "cells"]
    return result[first + [name for name in result if name not in first]]


def cells_without(
    like: xr.Dataset, lat: Float[np.ndarray, " site"], lon: Float[np.ndarray, " site"]
) -> Bool[np.ndarray, "lat lon"]:
    """Return the cells without a site; a site's cell is the one with the nearest centre."""
    there = np.zeros((like.sizes["lat"], like.sizes["lon"]), bool)
    rows = np.abs(like["lat"].to_numpy()[:, None] - lat).argmin(axis=0)
    away = (like["lon"].to_numpy()[:, None] - lon + 180.0) % 360.0 - 180.0
    there[rows, np.abs(away).argmin(axis=0)] = True
    return ~there


def recovered(estimate: xr.Dataset, truth: xr.Dataset) -> list[str]:
    """Return the variables that both maps have: stocks, components, then parameters."""
    names = [*(s.name for s in STOCKS), *(row.name for row in COMPONENTS)]
    names += sorted(str(n) for n in truth if str(n).startswith(PARAMETER_PREFIX))
    return [n for n in names if n in estimate and n in truth and truth[n].ndim == 2]


def truth_table(
    estimate: xr.Dataset,
    truth: xr.Dataset,
    names: Iterable[str] | None = None,
    spread: xr.Dataset | None = None,
    where: Bool[np.ndarray, "lat lon"] | None = None,
) -> pd.DataFrame:
    """Compare a map with the truth, cell by cell, weighted by land.

    Parameters
    ----------
    estimate
        Map of an ensemble (docs/maps.md).
    truth
        Map of the true parameters, on the same grid.
    names
        Variables; by default :func:`recovered`.
    spread
        Map whose 5-95 % range is compared with the truth; by default `estimate`.
    where
        Cells to compare on, such as those without a profile; by default all.

    Returns
    -------
    pandas.DataFrame
        One row per variable: cells, the means of truth and of the map, `r` and `r2` (coefficient of
        determination) of logarithms for stocks and components and of values for parameters, `rmse`
        likewise, and `coverage_90`, the share of land where the 5-95 % range contains the truth
        (NaN for a map of one member). A cell where a logarithm is not defined is left out.

    Raises
    ------
    ComparisonError
        If the grids differ.
    """
    for axis in ("lat", "lon"):
        if not np.array_equal(estimate[axis].to_numpy(), truth[axis].to_numpy()):
            raise ComparisonError(
                f"The map and the truth differ in {axis}; they must be on the same grid."
            )
    land = land_area(truth).to_numpy()
    drawn = estimate if spread is None else spread
    rows = []
    for name in recovered(estimate, truth) if names is None else names:
        x, y = (d[name].transpose("lat", "lon").to_numpy() for d in (estimate, truth))
        logarithm = not name.startswith(PARAMETER_PREFIX)
        use = np.isfinite(x) & np.isfinite(y) & (land > 0)
        if where is not None:
            use &= where
        if logarithm:
            use &= (x > 0) & (y > 0)
        if not use.any():
            continue
        rows.append(
            {
                "variable": name.removeprefix(PARAMETER_PREFIX),
                "unit": truth[name].attrs["units"],
                "scale": "log" if logarithm else "linear",
                "cells": int(use.sum()),
                **_agreement(x[use], y[use], land[use], logarithm),
                "coverage_90": _coverage(drawn, name, y, use, land[use]),
            }
        )
    return pd.DataFrame(rows)


def _agreement(x: np.ndarray, y: np.ndarray, w: np.ndarray, logarithm: bool) -> dict[str, float]:
    """Return how an estimate x agrees with the truth y, in logarithms or in values."""
    a, b = (np.log(v) if logarithm else v for v in (x, y))
    error = np.average((a - b) ** 2, weights=w)
    variance = np.average((b - np.average(b, weights=w)) ** 2, weights=w)
    return {
        "truth": np.average(y, weights=w),
        "recovered": np.average(x, weights=w),
        "r": correlation(a, b, w) if variance > 0 else np.nan,
        "r2": 1.0 - error / variance if variance > 0 else np.nan,
        "rmse": np.sqrt(error),
    }


def _coverage(drawn: xr.Dataset, name: str, y: np.ndarray, use: np.ndarray, w: np.ndarray) -> float:
    """Return the share of land where the 5-95 % range contains the truth, NaN without a range."""
    if f"{name}_q05" not in drawn:
        return np.nan
    low, high = (
        drawn[f"{name}_{q}"].transpose("lat", "lon").to_numpy()[use] for q in ("q05", "q95")
    )
    return float(np.average((low <= y[use]) & (y[use] <= high), weights=w))
