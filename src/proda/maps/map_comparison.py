"""A map beside another: correlation, bias by zone, totals on the land that both have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Int

from proda import units
from proda.drivers.grids import standard_grid
from proda.errors import MapError
from proda.latitude import GLOBE, ZONES, in_zone
from proda.maps.totals import PG
from proda.weighted import correlation

_ALIGNED = 0.01
"""Centres of cells may differ by this share of a cell."""


def on_same_grid(
    reference: xr.Dataset | xr.DataArray, like: xr.Dataset | xr.DataArray
) -> xr.Dataset:
    """Return `reference` on the axes of `like`, in its order; nothing is interpolated.

    Raises
    ------
    MapError
        If a cell of `like` has no counterpart.
    """
    if isinstance(reference, xr.DataArray):
        reference = reference.to_dataset(name=str(reference.name or "reference"))
    reference = standard_grid(reference, "reference")
    indexers = {axis: positions(reference, like, axis) for axis in ("lat", "lon")}
    chosen = reference.isel(indexers)
    return chosen.assign_coords(lat=like["lat"], lon=like["lon"])


def positions(
    other: xr.Dataset, like: xr.Dataset | xr.DataArray, axis: str, what: str = "reference"
) -> Int[np.ndarray, " n"]:
    """Return where the cells of `like` lie on one axis (`lat` or `lon`) of another data set.

    Raises
    ------
    MapError
        If a cell has no counterpart there, or the cells are of another size.
    """
    ours, theirs = like[axis].to_numpy(), other[axis].to_numpy()
    nearest = np.abs(theirs[None, :] - ours[:, None]).argmin(axis=1)
    step = np.abs(np.diff(ours)).min() if len(ours) > 1 else 1.0
    off = np.abs(theirs[nearest] - ours)
    if (off > _ALIGNED * step).any():
        i = int(off.argmax())
        raise MapError(
            f"The {what} is on another grid: no cell at {axis} {ours[i]:g} (nearest "
            f"{theirs[nearest[i]]:g}). Regrid it to the map's grid first."
        )
    if len(ours) > 1 and len(theirs) > 1:
        spacing = np.abs(np.diff(theirs)).min()
        if abs(spacing - step) > _ALIGNED * step:
            raise MapError(
                f"The {what} is on another grid: its cells are {spacing:g} degrees apart along "
                f"{axis}, those of the map {step:g}. Regrid it to the map's grid first."
            )
    return nearest


def compare(
    predicted: xr.DataArray,
    reference: xr.DataArray,
    area: xr.DataArray,
    zones: Mapping[str, tuple[float, float]] = ZONES,
) -> pd.DataFrame:
    """Compare two maps of stocks on the cells where both have a value.

    Parameters
    ----------
    predicted, reference
        kg m-2 on (lat, lon).
    area
        Land of each cell, km2, with which everything is weighted.
    zones
        Limits in degrees north.

    Returns
    -------
    pandas.DataFrame
        One row per zone and for the globe: `cells`, `land` (10^6 km2), `total` and
        `reference_total` (Pg C) on the common land, `bias` (mean difference, kg m-2),
        `relative_bias` (of the totals), `rmse` (kg m-2), `r_log` (correlation of the logarithms,
        of cells where both exceed 0) and `cells_log`, their number.

    Raises
    ------
    MapError
        If the grids differ, a unit is not kg m-2, or there is no common cell.
    """
    for data, what in ((predicted, "predicted"), (reference, "reference")):
        if units.factor(unit := units.stated(data.attrs, "kg m-2"), units.STOCK) != 1.0:
            raise MapError(f"The {what} map is in {unit!r}; expected 'kg m-2'.")
    aligned = on_same_grid(reference, predicted)
    theirs = next(iter(aligned.data_vars.values()))
    x, y, w = (
        d.transpose("lat", "lon").to_numpy().astype(np.float64) for d in (predicted, theirs, area)
    )
    lat = np.broadcast_to(predicted["lat"].to_numpy()[:, None], x.shape)
    both = np.isfinite(x) & np.isfinite(y) & (w > 0)
    if not both.any():
        raise MapError("The two maps have no common cell.")
    rows = []
    for zone in (GLOBE, *zones):
        here = both & in_zone(lat, zone, zones)
        rows.append({"zone": zone, **_row(x[here], y[here], w[here])})
    return pd.DataFrame(rows).set_index("zone")


def _row(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> dict[str, float]:
    total, reference = PG * (x * w).sum(), PG * (y * w).sum()
    positive = (x > 0) & (y > 0)
    weight = w.sum()
    return {
        "cells": len(x),
        "land": weight / 1e6,
        "total": total,
        "reference_total": reference,
        "bias": ((x - y) * w).sum() / weight if weight > 0 else np.nan,
        "relative_bias": total / reference - 1.0 if reference > 0 else np.nan,
        "rmse": np.sqrt(((x - y) ** 2 * w).sum() / weight) if weight > 0 else np.nan,
        "r_log": correlation(np.log(x[positive]), np.log(y[positive]), w[positive]),
        "cells_log": int(positive.sum()),
    }
