"""Maps of a made-up world beside its truth: what is recovered, what the spread holds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from proda.errors import ComparisonError
from proda.maps.compare import correlation
from proda.maps.outputs import PARAMETER_PREFIX, STOCKS
from proda.maps.totals import land_area
from proda.models.components import COMPONENTS


def recovered(found: xr.Dataset, truth: xr.Dataset) -> list[str]:
    """Return the variables that both maps have: stocks, components, then parameters."""
    names = [*(s.name for s in STOCKS), *(row.name for row in COMPONENTS)]
    names += sorted(str(n) for n in truth if str(n).startswith(PARAMETER_PREFIX))
    return [n for n in names if n in found and n in truth and truth[n].ndim == 2]


def truth_table(
    found: xr.Dataset,
    truth: xr.Dataset,
    names: Iterable[str] | None = None,
    spread: xr.Dataset | None = None,
) -> pd.DataFrame:
    """Compare a map with the truth, cell by cell, weighted by land.

    Parameters
    ----------
    found
        Map of an ensemble (docs/maps.md).
    truth
        Map of the true parameters, on the same grid.
    names
        Variables; by default :func:`recovered`.
    spread
        Map whose 5-95 % range is held against the truth; by default `found`.

    Returns
    -------
    pandas.DataFrame
        One row per variable: cells, the means of truth and of the map, `r` and `r2` (coefficient
        of determination) of logarithms for stocks and components and of values for parameters,
        `rmse` alike, and `coverage_90`, the share of land where the 5-95 % range holds the truth
        (NaN for a map of one member). A cell where a logarithm is not defined is left out.

    Raises
    ------
    ComparisonError
        If the grids differ.
    """
    for axis in ("lat", "lon"):
        if not np.array_equal(found[axis].to_numpy(), truth[axis].to_numpy()):
            raise ComparisonError(f"The map and the truth differ in {axis}; they need one grid.")
    land = land_area(truth).to_numpy()
    drawn = found if spread is None else spread
    rows = []
    for name in recovered(found, truth) if names is None else names:
        x, y = (d[name].transpose("lat", "lon").to_numpy() for d in (found, truth))
        logarithm = not name.startswith(PARAMETER_PREFIX)
        use = np.isfinite(x) & np.isfinite(y) & (land > 0)
        if logarithm:
            use &= (x > 0) & (y > 0)
        if not use.any():
            continue
        w = land[use]
        a, b = (np.log(v[use]) if logarithm else v[use] for v in (x, y))
        error = np.average((a - b) ** 2, weights=w)
        variance = np.average((b - np.average(b, weights=w)) ** 2, weights=w)
        coverage = np.nan
        if f"{name}_q05" in drawn:
            low, high = (
                drawn[f"{name}_{q}"].transpose("lat", "lon").to_numpy()[use] for q in ("q05", "q95")
            )
            coverage = np.average((low <= y[use]) & (y[use] <= high), weights=w)
        rows.append({
            "variable": name.removeprefix(PARAMETER_PREFIX), "unit": truth[name].attrs["units"],
            "scale": "log" if logarithm else "linear", "cells": int(use.sum()),
            "truth": np.average(y[use], weights=w), "recovered": np.average(x[use], weights=w),
            "r": correlation(a, b, w) if variance > 0 else np.nan,
            "r2": 1.0 - error / variance if variance > 0 else np.nan,
            "rmse": np.sqrt(error), "coverage_90": coverage,
        })  # fmt: skip
    return pd.DataFrame(rows)
