"""Global and zonal totals with the ensemble's spread, and profiles along latitude."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from proda import files, weighted
from proda.drivers.grids import cell_measures, check_axis, check_usable
from proda.errors import ForcingError, MapError
from proda.latitude import GLOBE, ZONES, centre_of, in_zone, row_of

_CELLS = ("cell_area", "land_fraction")
PG = 1e-6
"""kg m-2 times km2 in Pg."""


def open_map(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a map file written by :func:`proda.maps.run_map.write_map`.

    Raises
    ------
    FileError
        If the file cannot be read.
    MapError
        If it is not a map.
    """
    dataset = files.open_netcdf(path, result=True)
    needed = ("lat", "lon", "reason", "member_carbon", "cell_area", "land_fraction")
    if missing := [n for n in needed if n not in dataset.variables]:
        raise MapError(f"{path}: not a proda map; it lacks {', '.join(missing)}.")
    _check_cells(dataset, str(path))
    return dataset


def _check_cells(dataset: xr.Dataset, path: str) -> None:
    """Refuse a map whose axes or cells cannot be: what is damaged would be summed without a word.

    Raises
    ------
    MapError
        Naming the axis, or the first cell whose area or land fraction is wrong.
    """
    for name in ("lat", "lon"):
        if name not in dataset.coords or dataset[name].dims != (name,):
            raise MapError(f"{path}: the map has no axis {name}; the file is damaged.")
        check_axis(dataset[name], name, path, MapError)
    if (np.abs(dataset["lat"].to_numpy()) > 90).any():
        raise MapError(f"{path}: the axis lat exceeds -90..90; the file is damaged.")
    try:
        cells = cell_measures(dataset[[n for n in _CELLS if n in dataset]], path)
        land = dataset["reason"].notnull().transpose("lat", "lon").to_numpy()  # noqa: PD004
        for name in _CELLS:
            if name in cells:
                check_usable(cells[name], name, land)
    except (RuntimeError, OSError) as error:
        raise MapError(f"{path}: its cells cannot be read ({error}); copy it again.") from error
    except ForcingError as error:
        raise MapError(str(error)) from error


def land_area(dataset: xr.Dataset) -> xr.DataArray:
    """Return the land of each cell of a map that counts as land there, km2; 0 elsewhere."""

    def of_arrays(area: np.ndarray, fraction: np.ndarray, reason: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(reason), 0.0, (area * fraction).astype(np.float64))

    parts = (dataset[name] for name in (*_CELLS, "reason"))
    return xr.apply_ufunc(of_arrays, *parts).transpose("lat", "lon")


def totals(dataset: xr.Dataset, zones: Mapping[str, tuple[float, float]] = ZONES) -> pd.DataFrame:
    """Return soil carbon of the globe and of each zone.

    Parameters
    ----------
    dataset
        A map; every member's carbon by row of the grid is in it.
    zones
        Limits in degrees north. A row of cells belongs to the zone of its centre.

    Returns
    -------
    pandas.DataFrame
        One row per (zone, stock): `mean`, `sd` (n - 1), `q05`, `q95` over the totals of the
        members, Pg C; `land`, 10^6 km2; `answered`, the share of that land where members have an
        answer (mean over members): a total is of that land only. With one member there is no
        spread (NaN).
    """
    lat = dataset["lat"].to_numpy()
    carbon = dataset["member_carbon"].transpose("realization", "lat", "stock").to_numpy()
    answered = dataset["member_area"].transpose("realization", "lat").to_numpy()
    land = land_area(dataset).sum("lon").to_numpy()
    rows = []
    for zone in (GLOBE, *zones):
        inside = in_zone(lat, zone, zones)
        area = land[inside].sum()
        share = answered[:, inside].sum(axis=1).mean() / area if area > 0 else np.nan
        for i, stock in enumerate(dataset["stock"].to_numpy()):
            each = carbon[:, inside, i].sum(axis=1)
            spread = len(each) > 1
            low, high = np.quantile(each, [0.05, 0.95]) if spread else (np.nan, np.nan)
            rows.append(
                {
                    "zone": zone,
                    "stock": str(stock),
                    "mean": each.mean(),
                    "sd": each.std(ddof=1) if spread else np.nan,
                    "q05": low,
                    "q95": high,
                    "land": area / 1e6,
                    "answered": share,
                }
            )
    return pd.DataFrame(rows).set_index(["zone", "stock"])


def by_latitude(values: xr.DataArray, area: xr.DataArray, width: float = 2.5) -> xr.Dataset:
    """Return the median and the 5-95 % range of a map in bands of latitude.

    Parameters
    ----------
    values, area
        On (lat, lon); area of land, km2. Cells without a value are left out.
    width
        Of a band, degrees.

    Returns
    -------
    xarray.Dataset
        `mean`, `median`, `q05`, `q95` over the cells of each band, all weighted by their land, and
        `land` (km2), on `lat` (centre of the band). Bands without land are left out.
    """
    lat = np.broadcast_to(values["lat"].to_numpy()[:, None], values.shape)
    v = values.transpose("lat", "lon").to_numpy().astype(np.float64)
    a = area.transpose("lat", "lon").to_numpy()
    counts = np.isfinite(v) & (a > 0)
    band = row_of(lat[counts], width)
    v, a = v[counts], a[counts]
    rows = []
    for k in np.unique(band):
        here = band == k
        quantiles = weighted.quantiles(v[here], a[here], (0.5, 0.05, 0.95))
        rows.append(
            (centre_of(k, width), np.average(v[here], weights=a[here]), *quantiles, a[here].sum())
        )
    columns = np.array(rows).reshape(-1, 6).T
    unit = str(values.attrs.get("units", ""))
    names = ("mean", "median", "q05", "q95", "land")
    return xr.Dataset(
        {
            n: ("lat", c, {"units": "km2" if n == "land" else unit})
            for n, c in zip(names, columns[1:], strict=True)
        },
        coords={"lat": ("lat", columns[0], {"units": "degrees_north"})},
    )


def ensemble_by_latitude(dataset: xr.Dataset, stock: str, width: float = 2.5) -> xr.Dataset:
    """Return the mean stock of bands of latitude for each member: what the ensemble disagrees on.

    Returns
    -------
    xarray.Dataset
        `mean`, `q05`, `q95` over the members' means, kg m-2, on `lat` (centre of the band).
    """
    carbon = dataset["member_carbon"].sel(stock=stock).transpose("realization", "lat").to_numpy()
    area = dataset["member_area"].transpose("realization", "lat").to_numpy()
    band = row_of(dataset["lat"].to_numpy(), width)
    bands_with_land = [k for k in np.unique(band) if (area[:, band == k].sum(axis=1) > 0).all()]
    each = np.array(
        [
            carbon[:, band == k].sum(axis=1) / (PG * area[:, band == k].sum(axis=1))
            for k in bands_with_land
        ]
    ).reshape(len(bands_with_land), len(carbon))
    low, high = np.quantile(each, [0.05, 0.95], axis=1)
    attrs = {"units": "kg m-2"}
    return xr.Dataset(
        {
            "mean": ("lat", each.mean(axis=1), attrs),
            "q05": ("lat", low, attrs),
            "q95": ("lat", high, attrs),
        },
        coords={
            "lat": ("lat", centre_of(np.array(bands_with_land), width), {"units": "degrees_north"})
        },
    )
