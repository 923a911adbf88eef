"""Properties of the soil by layer: from covariates or, where measured, from a site's profile."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.drivers.forcing_settings import LIMIT_KM
from proda.drivers.grids import standard_grid
from proda.drivers.nearest_cells import nearest_cells
from proda.errors import ForcingError
from proda.forcing import SITE_PROPERTIES, ForcingVariable, conversion
from proda.grid import CLM5_GRID, Grid

COVARIATES: Mapping[str, str] = {
    "clay": "clay",
    "silt": "silt",
    "ph": "ph_water",
    "bulk_density": "bulk_density",
    "coarse": "coarse_fragments",
}
"""Our property -> the covariate's name, which `_0cm`, `_30cm` and `_100cm` follow."""
DEPTHS_CM = (0, 30, 100)
MEASURED: Mapping[str, str] = {
    "clay": "clay",
    "silt": "silt",
    "ph": "ph",
    "bulk_density": "fine_earth_density",
    "coarse": "coarse_volume",
}
"""Our property -> the column of the table of measured layers."""


def add_properties(
    forcing: xr.Dataset,
    covariates: xr.Dataset,
    layers: pd.DataFrame | None = None,
    limit_km: float = LIMIT_KM,
    grid: Grid = CLM5_GRID,
) -> xr.Dataset:
    """Return forcing, at sites or on a grid, with the properties of the soil added.

    Covariates hold at 0, 30 and 100 cm; between these a property is linear with depth, below the
    last known depth it is constant. Each place takes the nearest cell that has all of them at the
    surface. Where `layers` of the site itself are measured these count instead, linear between the
    middles of the layers and constant beyond.

    Parameters
    ----------
    forcing
        With `latitude` and `longitude` on `site`, or on (lat, lon) with `status`.
    covariates
        Variables such as `clay_0cm` on (lat, lon); see :data:`COVARIATES`.
    layers
        Measured layers of the sites: profile_id, upper_depth, lower_depth (m) and any of
        :data:`MEASURED`; for forcing at sites only.
    limit_km
        Greatest distance to the cell's centre. On a grid, cells farther away become unusable
        (status 2); sites farther away are refused.

    Raises
    ------
    ForcingError
        Naming the missing covariates, or the site that is too far from any cell.
    """
    covariates = standard_grid(covariates, "covariates")
    profile = {v.name: _by_depth(v, covariates) for v in SITE_PROPERTIES}
    known = np.logical_and.reduce([np.isfinite(values[..., 0]) for values in profile.values()])
    on_grid = {"lat", "lon"} <= set(forcing.dims)
    if on_grid:
        forcing = standard_grid(forcing, "forcing")
        usable = forcing["status"].transpose("lat", "lon").to_numpy() == 0
        row, column = np.nonzero(usable)
        latitude, longitude = forcing["lat"].to_numpy()[row], forcing["lon"].to_numpy()[column]
        names = np.arange(len(row))
    else:
        names = forcing["site"].to_numpy()
        latitude, longitude = (forcing[n].to_numpy() for n in ("latitude", "longitude"))
    places = pd.DataFrame(
        {"site": np.arange(len(names)), "latitude": latitude, "longitude": longitude}
    )
    axes = covariates["lat"].to_numpy(), covariates["lon"].to_numpy()
    nearest = nearest_cells(*axes, known, places, limit_km)
    if len(nearest.left_out) and not on_grid:
        raise ForcingError(
            f"{len(nearest.left_out)} sites are more than {limit_km:g} km from any cell with "
            f"properties of the soil (first: {names[nearest.left_out['site'].iloc[0]]}); leave "
            "them out of the forcing."
        )
    taken = nearest.sites["site"].to_numpy()
    result = forcing.copy()
    for variable in SITE_PROPERTIES:
        at = _on_layers(profile[variable.name][nearest.row, nearest.column], grid)
        attrs = {"units": variable.unit, "long_name": variable.long_name}
        if on_grid:
            full = np.full((*usable.shape, len(grid)), np.nan)
            full[row[taken], column[taken]] = at
            result[variable.name] = (("lat", "lon", "layer"), full.astype(np.float32), attrs)
            continue
        own = _measured(variable.name, names, layers, grid)
        measured = np.isfinite(own[:, 0])
        attrs["comment"] = f"from measured layers at {int(measured.sum())} sites, else covariates"
        result[variable.name] = (("site", "layer"), np.where(np.isfinite(own), own, at), attrs)
    if on_grid:
        status = forcing["status"].transpose("lat", "lon").to_numpy().copy()
        far = nearest.left_out["site"].to_numpy(dtype=int)
        status[row[far], column[far]] = 2
        result["status"] = (("lat", "lon"), status, forcing["status"].attrs)
    return result


def _by_depth(variable: ForcingVariable, covariates: xr.Dataset) -> Float[np.ndarray, "lat lon 3"]:
    names = [f"{COVARIATES[variable.name]}_{depth}cm" for depth in DEPTHS_CM]
    if missing := [name for name in names if name not in covariates]:
        raise ForcingError(f"The covariates lack {', '.join(missing)}.")
    parts = []
    for name in names:
        data = covariates[name].transpose("lat", "lon")
        unit = data.attrs.get("units")
        factor, offset = conversion(name, variable.unit, variable.accepted, unit)
        parts.append(data.to_numpy().astype(np.float64) * factor + offset)
    for i in range(1, len(parts)):  # where the soil ends above a depth, what lies over it holds
        parts[i] = np.where(np.isfinite(parts[i]), parts[i], parts[i - 1])
    return np.stack(parts, axis=-1)


def _on_layers(values: Float[np.ndarray, "n 3"], grid: Grid) -> Float[np.ndarray, "n layer"]:
    depth = np.array(DEPTHS_CM) / 100.0
    return np.stack([np.interp(grid.node, depth, row) for row in values])


def _measured(
    name: str, sites: np.ndarray, layers: pd.DataFrame | None, grid: Grid
) -> Float[np.ndarray, "site layer"]:
    """Return the values measured in the sites' own layers, NaN where nothing is measured."""
    result = np.full((len(sites), len(grid)), np.nan)
    if layers is None or MEASURED[name] not in layers:
        return result
    measured = layers[layers[MEASURED[name]].notna()]
    if name == "bulk_density" and "density_origin" in layers:
        measured = measured[measured["density_origin"] == "measured"]
    position = {str(site): i for i, site in enumerate(sites)}
    for profile_id, rows in measured.groupby("profile_id", sort=False):
        if str(profile_id) in position:
            middle = 0.5 * (rows["upper_depth"] + rows["lower_depth"]).to_numpy(float)
            order = np.argsort(middle)
            values = rows[MEASURED[name]].to_numpy(float)[order]
            result[position[str(profile_id)]] = np.interp(grid.node, middle[order], values)
    return result
