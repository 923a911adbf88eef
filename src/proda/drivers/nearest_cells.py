"""Gridded drivers at sites: the nearest usable cell within a limit; its distance is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from proda import files
from proda.drivers.forcing_settings import LIMIT_KM
from proda.drivers.grids import standard_grid
from proda.errors import ForcingError, SiteError
from proda.places import chord_km, great_circle_km, unit_vectors


@dataclass(frozen=True)
class Nearest:
    """The nearest usable cell of each site that has one.

    `row`, `column` and `distance_km` belong to `sites`; `left_out` holds the others with their
    `reason` and, where they have a usable cell at all, the distance. The two add up to all sites.
    """

    sites: pd.DataFrame
    row: Int[np.ndarray, " site"]
    column: Int[np.ndarray, " site"]
    distance_km: Float[np.ndarray, " site"]
    left_out: pd.DataFrame

    def counts(self) -> dict[str, int]:
        """Return the number of sites taken, and the number left out by reason."""
        reasons = self.left_out["reason"].value_counts()
        return {"taken": len(self.sites), **{str(k): int(v) for k, v in reasons.items()}}


def nearest_cells(
    lat: Float[np.ndarray, " lat"],
    lon: Float[np.ndarray, " lon"],
    usable: Bool[np.ndarray, "lat lon"],
    sites: pd.DataFrame,
    limit_km: float = LIMIT_KM,
) -> Nearest:
    """Find each site's nearest usable cell by great-circle distance to the cell's centre.

    Parameters
    ----------
    lat, lon
        Axes, degrees; longitudes may run to 180 or to 360.
    usable
        Which cells may be taken.
    sites
        Columns site, latitude, longitude; longitudes may run to 180 or to 360.
    limit_km
        A site whose nearest usable cell is farther is left out.

    Raises
    ------
    ForcingError
        If no cell is usable, or the limit is not a positive number.
    """
    if not limit_km > 0:
        raise ForcingError(f"The distance limit is {limit_km:g} km; it must be above 0.")
    row, column = np.nonzero(usable)
    if len(row) == 0:
        raise ForcingError("No cell of the grid is usable.")
    latitude, longitude = (sites[n].to_numpy(dtype=np.float64) for n in ("latitude", "longitude"))
    reason = np.full(len(sites), "", dtype=object)
    reason[np.isnan(latitude) | np.isnan(longitude)] = "no_coordinates"
    impossible = (np.abs(latitude) > 90) | (longitude < -180) | (longitude > 360)
    reason[impossible] = "impossible_coordinates"
    known = reason == ""
    distance = np.full(len(sites), np.nan)
    cell = np.zeros(len(sites), dtype=np.int64)
    if known.any():
        tree = cKDTree(unit_vectors(lat[row], lon[column]))
        chord, index = tree.query(unit_vectors(latitude[known], longitude[known]))
        distance[known] = chord_km(chord)
        cell[known] = index
    reason[known & (distance > limit_km)] = "beyond_distance_limit"
    taken = reason == ""
    left_out = sites[~taken].assign(reason=reason[~taken], distance_km=distance[~taken])
    return Nearest(
        sites=sites[taken].reset_index(drop=True),
        row=row[cell[taken]],
        column=column[cell[taken]],
        distance_km=distance[taken],
        left_out=left_out.reset_index(drop=True),
    )


def forcing_at_sites(
    forcing: xr.Dataset, sites: pd.DataFrame, limit_km: float = LIMIT_KM
) -> tuple[xr.Dataset, Nearest]:
    """Take the forcing of sites from forcing on a grid, as `Forcing.from_dataset` reads it.

    Parameters
    ----------
    forcing
        On (lat, lon, ...), with `status` (0 = usable); netCDF or Zarr, in memory or lazy.
    sites
        Columns site, latitude, longitude.
    limit_km
        Greatest distance to the centre of the nearest usable cell.

    Returns
    -------
    dataset, nearest
        The forcing on (site, ...) with the coordinates latitude, longitude (of the site),
        cell_latitude, cell_longitude and distance_km; and who was left out, why.

    Raises
    ------
    ForcingError
        If the grid has no `status`, or no site is near a usable cell.
    """
    forcing = standard_grid(forcing, "forcing")
    if "status" not in forcing:
        raise ForcingError("The forcing on the grid has no variable `status` (0 = usable).")
    usable = forcing["status"].transpose("lat", "lon").to_numpy() == 0
    lat, lon = forcing["lat"].to_numpy(), forcing["lon"].to_numpy()
    nearest = nearest_cells(lat, lon, usable, sites, limit_km)
    if len(nearest.sites) == 0:
        raise ForcingError(f"None of {len(sites)} sites is near a usable cell: {nearest.counts()}.")
    at = {
        "lat": xr.DataArray(nearest.row, dims="site"),
        "lon": xr.DataArray(nearest.column, dims="site"),
    }
    left = [n for n in ("status", "cell_area", "land_fraction") if n in forcing]
    where = str(forcing.encoding.get("source", "the forcing on the grid"))
    chosen = files.load(forcing.drop_vars(left).isel(at).drop_vars(["lat", "lon"]), where)
    for name, values in chosen.data_vars.items():  # a chunk that a store has lost reads as NaN
        if values.dtype.kind == "f" and (lost := int(np.isnan(values.to_numpy()).sum())):
            raise ForcingError(
                f"{where}: {name} is missing in usable cells ({lost:,} values); the store is "
                "damaged; create it again."
            )
    names = {n: v.transpose("site", ...) for n, v in chosen.data_vars.items()}
    coords = _coordinates(nearest, lat, lon)
    dataset = chosen.assign(names).assign_coords(site=nearest.sites["site"].to_numpy(), **coords)
    dataset.attrs["sampling"] = f"nearest usable cell within {limit_km:g} km of the site"
    return dataset, nearest


def _coordinates(nearest: Nearest, lat: np.ndarray, lon: np.ndarray) -> dict[Any, Any]:
    """Return the places of the sites and of their cells, and the distances between them."""
    north, east, centre = "degrees_north", "degrees_east", "centre of the nearest cell"
    return {
        name: ("site", values, {"units": unit, "long_name": meaning})
        for name, values, unit, meaning in (
            ("latitude", nearest.sites["latitude"].to_numpy(), north, "site"),
            ("longitude", nearest.sites["longitude"].to_numpy(), east, "site"),
            ("cell_latitude", lat[nearest.row], north, centre),
            ("cell_longitude", lon[nearest.column], east, centre),
            ("distance_km", nearest.distance_km, "km", "distance from site to cell centre"),
        )
    }


def write_left_out(nearest: Nearest, path: str | os.PathLike[str]) -> None:
    """Write the sites that were left out, with reason and distance, as CSV; also if none were."""
    with files.whole_file(path) as temporary:
        nearest.left_out.to_csv(temporary, index=False)


def one_place(
    forcing: xr.Dataset, lat: float | None = None, lon: float | None = None, site: str | None = None
) -> xr.Dataset:
    """Take one column: the site of that name, or the nearest usable cell or site to a place.

    Returns
    -------
    xarray.Dataset
        The forcing without place dimensions; attributes `place` (text) and `distance_km`.

    Raises
    ------
    SiteError
        If the site is not there, or neither a site nor a place was given.
    """
    on_grid = {"lat", "lon"} <= set(forcing.dims)
    if (site is None) == (lat is None or lon is None):
        raise SiteError("Give either a site, or both lat and lon.")
    if site is not None:
        if on_grid:
            raise SiteError("Forcing on a grid has no named sites; give lat and lon.")
        names = [str(s) for s in forcing["site"].to_numpy()]
        if site not in names:
            raise SiteError(f"There is no site {site}; the file has {len(names):,} others.")
        column = forcing.isel(site=names.index(site)).load()
        place, distance = f"site {site}", float(column.get("distance_km", np.nan))
        if "latitude" in column.coords:
            place += f", {_place(float(column['latitude']), float(column['longitude']))}"
    elif on_grid:
        forcing = standard_grid(forcing, "forcing")
        axes = forcing["lat"].to_numpy(), forcing["lon"].to_numpy()
        usable = forcing["status"].transpose("lat", "lon").to_numpy() == 0
        wanted = pd.DataFrame({"site": [0], "latitude": [lat], "longitude": [lon]})
        nearest = nearest_cells(*axes, usable, wanted, np.inf)
        if len(nearest.sites) == 0:
            raise SiteError(f"lat {lat:g}, lon {lon:g} is not a place on Earth.")
        i, j = nearest.row[0], nearest.column[0]
        column = forcing.isel(lat=i, lon=j).load()
        place, distance = _place(axes[0][i], axes[1][j]), float(nearest.distance_km[0])
    else:
        assert lat is not None  # checked above
        assert lon is not None
        here = unit_vectors(np.array([lat]), np.array([lon]))
        there = unit_vectors(forcing["latitude"].to_numpy(), forcing["longitude"].to_numpy())
        away = great_circle_km(there, here[0])
        column = forcing.isel(site=int(np.argmin(away))).load()
        place = f"site {column['site'].item()}, " + _place(
            float(column["latitude"]), float(column["longitude"])
        )
        distance = float(away.min())
    return column.assign_attrs({**forcing.attrs, "place": place, "distance_km": distance})


def _place(lat: float, lon: float) -> str:
    ns, ew = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    return f"{abs(lat):.2f}°{ns} {abs(lon):.2f}°{ew}"
