"""Depths from the surface of the mineral soil, whatever the convention of the source.

Since 1993 many surveys count depths from the top of the litter, so that the mineral soil begins
below zero; before, they wrote organic horizons upwards (8 to 4, then 4 to 0 cm). Both are brought
to one scale here: litter has negative depths, the mineral soil begins at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

TOLERANCE = 1e-9


@dataclass(frozen=True)
class SurfaceDepths:
    """Layers with depths from the mineral surface, and the corrections that were applied.

    `moved` holds the thickness of the litter (m) by identifier of the profiles that were moved,
    `upwards` is true for rows that were written upwards, `negative` for rows of profiles whose
    depths all count downwards as negative numbers (which are left as they are).
    """

    layers: pd.DataFrame
    moved: pd.Series
    upwards: np.ndarray
    negative: np.ndarray


def from_mineral_surface(layers: pd.DataFrame, tolerance: float) -> SurfaceDepths:
    """Return the layers with zero at the surface of the mineral soil.

    Parameters
    ----------
    layers
        profile_id, upper_depth, lower_depth (m) and litter of all rows of some profiles.
    tolerance
        Overlap that is treated as rounding, m.
    """
    upper = layers["upper_depth"].to_numpy(float).copy()
    lower = layers["lower_depth"].to_numpy(float).copy()
    negative = _negative(layers["profile_id"], upper, lower)
    upwards = _upwards(layers["profile_id"], layers["litter"], upper, lower)
    upper[upwards], lower[upwards] = -upper[upwards], -lower[upwards]
    layers = layers.assign(upper_depth=upper, lower_depth=lower)
    thickness = _litter_above(layers, tolerance)
    shift = layers["profile_id"].map(thickness).fillna(0.0).to_numpy(float)
    # Rounded like the depths that readers give, so that bounds of neighbours still meet.
    layers = layers.assign(
        upper_depth=np.round(upper - shift, 9), lower_depth=np.round(lower - shift, 9)
    )
    return SurfaceDepths(layers, thickness, upwards, negative)


def _negative(ids: pd.Series, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Find rows of profiles without any row of increasing depths and with some below zero."""
    down = pd.Series(lower > upper).groupby(ids.to_numpy()).transform("any").to_numpy(bool)
    below = (lower < upper) & (lower < 0)
    below = pd.Series(below).groupby(ids.to_numpy()).transform("any").to_numpy(bool)
    return below & ~down


def _upwards(ids: pd.Series, litter: pd.Series, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Find rows written upwards that are contiguous, the lowest of them with the mineral soil.

    A row with bounds exchanged by mistake leaves a gap in the mineral soil; these rows do not:
    another layer begins at 0.
    """
    measured_upwards = np.zeros(len(ids), dtype=bool)
    inverted = (lower < upper) & (lower >= 0) & np.isfinite(upper)
    if not inverted.any():
        return measured_upwards
    mineral = (np.abs(upper) < TOLERANCE) & (lower > upper) & ~litter.eq(True).to_numpy(bool)
    on_top = set(ids[mineral])
    rows = pd.DataFrame({"id": ids.to_numpy(), "upper": upper, "lower": lower})[inverted]
    for _, own in rows[rows["id"].isin(on_top)].groupby("id"):
        top = 0.0
        for row, low, high in sorted(
            zip(own.index, own["lower"], own["upper"], strict=True), key=lambda r: (r[1], r[2])
        ):
            repeats = measured_upwards[row - 1] and upper[row - 1] == high if row else False
            if abs(low - top) < TOLERANCE:
                top = high
                measured_upwards[row] = True
            elif repeats and lower[row - 1] == low:
                measured_upwards[row] = True
            else:
                break
    return measured_upwards


def _litter_above(layers: pd.DataFrame, tolerance: float) -> pd.Series:
    """Return the thickness of marked litter above the first mineral layer, by profile.

    Only litter with positive depths counts: litter beside a mineral soil that begins at 0 has a
    separate zero, and litter between mineral layers has no effect.
    """
    upper, lower = layers["upper_depth"], layers["lower_depth"]
    marked = layers["litter"].eq(True)
    candidates = layers.loc[marked & (upper >= 0) & (lower > upper), "profile_id"].unique()
    rows = layers["profile_id"].isin(candidates) & np.isfinite(upper) & np.isfinite(lower)
    ids, upper, lower, marked = (x[rows] for x in (layers["profile_id"], upper, lower, marked))
    first = np.minimum(upper, lower).where(~marked).groupby(ids).transform("min")
    above = marked & (upper < first - TOLERANCE)
    contradicts = (above & (lower > first + tolerance)) | (upper < 0)
    usable = ~contradicts.groupby(ids).transform("any")
    return lower[above & usable].groupby(ids[above & usable]).max()
