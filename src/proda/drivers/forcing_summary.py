"""Numbers that describe forcing: ranges, counts by reason, area-weighted totals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from proda.drivers.grids import STATUS, cell_measures, check_usable
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, LITTER, SITE_PROPERTIES

PG = 1e15
M2_PER_KM2 = 1e6


@dataclass(frozen=True)
class ForcingSummary:
    """What `proda forcing summary` prints."""

    kind: str
    """`grid` or `sites`."""
    size: str
    attrs: dict[str, str]
    status: dict[str, int]
    """Cells by reason (grid only); adds up to all cells."""
    ranges: pd.DataFrame
    """Rows: variables; columns: unit, min, mean, max, missing (values in usable columns)."""
    litter_total: dict[str, float]
    """Pg C per year by pool (grid only), on the land of the usable cells."""
    distance_km: dict[str, float]
    """Quantiles of the distance to the cell (sites only)."""


def litter_totals(forcing: xr.Dataset) -> dict[str, float]:
    """Carbon input to each litter pool over all usable cells, Pg yr-1: area-weighted sums.

    Raises
    ------
    ForcingError
        If the cells' area or land fraction is in another unit, or one that no cell can have.
    """
    usable = forcing["status"].transpose("lat", "lon").to_numpy() == 0
    forcing = cell_measures(forcing, "forcing")
    for name in ("cell_area", "land_fraction"):
        if name in forcing:
            check_usable(forcing[name], name, usable)
    area = forcing["cell_area"].transpose("lat", "lon").to_numpy().astype(np.float64) * M2_PER_KM2
    if "land_fraction" in forcing:
        area = area * forcing["land_fraction"].transpose("lat", "lon").to_numpy()
    carbon = forcing["litter_input"].transpose("lat", "lon", "litter").to_numpy()
    return {
        pool: float(np.sum(carbon[usable, i] * area[usable]) / PG) for i, pool in enumerate(LITTER)
    }


def status_counts(forcing: xr.Dataset) -> dict[str, int]:
    """Cells by reason; they add up to all cells of the grid."""
    status = forcing["status"].to_numpy()
    return {name: int((status == code).sum()) for code, name in STATUS.items()}


def summarise(forcing: xr.Dataset) -> ForcingSummary:
    """Summarise forcing on a grid or at sites; reads one variable at a time.

    Raises
    ------
    ForcingError
        If it is neither.
    """
    if missing := [v.name for v in FORCING_VARIABLES if v.name not in forcing]:
        raise ForcingError(f"This is not forcing: it lacks {', '.join(missing)}.")
    on_grid = {"lat", "lon"} <= set(forcing.dims)
    if not on_grid and "site" not in forcing.dims:
        raise ForcingError("Forcing has the dimensions (lat, lon, ...) or (site, ...).")
    place = ("lat", "lon") if on_grid else ("site",)
    if on_grid and "status" not in forcing:
        raise ForcingError("The forcing on the grid has no variable `status` (0 = usable).")
    usable = forcing["status"].transpose(*place).to_numpy() == 0 if on_grid else slice(None)
    rows = []
    properties = [v for v in SITE_PROPERTIES if v.name in forcing]
    for variable in (*FORCING_VARIABLES, *properties):
        values = forcing[variable.name].transpose(*place, ...).to_numpy()[usable]
        known = values[~np.isnan(values)].astype(np.float64)
        low, mean, high = (known.min(), known.mean(), known.max()) if known.size else [np.nan] * 3
        missing_values = values.size - known.size
        rows.append((variable.name, variable.unit, low, mean, high, missing_values))
    ranges = pd.DataFrame(rows, columns=["variable", "unit", "min", "mean", "max", "missing"])
    distance: dict[str, float] = {}
    if "distance_km" in forcing:
        values = forcing["distance_km"].to_numpy()
        distance = {
            name: float(np.quantile(values, q))
            for name, q in (("median", 0.5), ("95 %", 0.95), ("most", 1.0))
        }
    size = (
        f"{forcing.sizes['lat']} x {forcing.sizes['lon']} cells"
        if on_grid
        else f"{forcing.sizes['site']:,} sites"
    )
    return ForcingSummary(
        kind="grid" if on_grid else "sites",
        size=size,
        attrs={str(k): str(v) for k, v in forcing.attrs.items()},
        status=status_counts(forcing) if on_grid else {},
        ranges=ranges.set_index("variable"),
        litter_total=litter_totals(forcing) if on_grid and "cell_area" in forcing else {},
        distance_km=distance,
    )
