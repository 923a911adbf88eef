"""Covariates for the network: one table for sites and for the grid, by one code path.

A covariate grid is a netCDF with variables on (lat, lon). One that has `flag_values` and
`flag_meanings` is a category and stays one, with its meanings. Nothing is filled: missing values
stay missing, and their shares are reported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Int

from proda import cf, files
from proda.drivers.forcing_settings import LIMIT_KM
from proda.drivers.grids import CELL_MEASURES, is_land, standard_grid, with_note
from proda.drivers.nearest_cells import Nearest, nearest_cells
from proda.errors import CovariateError

NOT_PREDICTORS = ("land_mask", "land_fraction", "cell_area")
"""Variables of the grid that describe the cell, not its soil or climate."""


@dataclass(frozen=True)
class Covariate:
    """One predictor: its name, unit, meaning, licence, and its classes if it is a category."""

    name: str
    unit: str
    long_name: str
    licence: str
    classes: dict[int, str] | None
    """Code in the file -> meaning, in the file's order; None for a quantity."""


@dataclass(frozen=True)
class CovariateGrid:
    """Covariates on a grid, checked."""

    dataset: xr.Dataset
    covariates: tuple[Covariate, ...]
    usable: np.ndarray
    """(lat, lon): cells of the land mask, or, without one, cells where anything is given."""

    def table(self, row: Int[np.ndarray, " n"], column: Int[np.ndarray, " n"]) -> pd.DataFrame:
        """Return the covariates of cells: one row each, categories as pandas categories.

        The columns `cell_latitude` and `cell_longitude` come first. Sites and maps both use this,
        so that the inputs of a network are the same in prediction and in training.
        """
        lat, lon = self.dataset["lat"].to_numpy(), self.dataset["lon"].to_numpy()
        data: dict[str, Any] = {"cell_latitude": lat[row], "cell_longitude": lon[column]}
        for covariate in self.covariates:
            values = self.dataset[covariate.name].to_numpy()[row, column]
            if covariate.classes is None:
                data[covariate.name] = values.astype(np.float32)
            else:
                codes = list(covariate.classes)
                position = pd.Index(codes, dtype=np.float64).get_indexer(
                    pd.Index(values, dtype=np.float64)
                )
                data[covariate.name] = pd.Categorical.from_codes(
                    position, categories=pd.Index(list(covariate.classes.values()))
                )
        return pd.DataFrame(data)


def open_covariates(path: str | os.PathLike[str]) -> CovariateGrid:
    """Open a covariate grid.

    Raises
    ------
    FileError
        If the file cannot be read.
    CovariateError
        Naming a variable with other dimensions, or a code that `flag_meanings` does not explain.
    """
    dataset, left = _data(cf.open_grid(path))
    dataset = cf.load(standard_grid(dataset, str(path)), path)
    if left:
        dataset = with_note(
            dataset,
            f"{path}: not used as covariates, because other variables "
            "refer to them or "
            f"they contain no numbers on the grid: {', '.join(left)}.",
        )
    covariates = []
    for name in dataset.data_vars:
        if name in NOT_PREDICTORS:
            continue
        data = dataset[name]
        if set(data.dims) != {"lat", "lon"}:
            raise CovariateError(
                f"{path}: {name} has the dimensions ({', '.join(map(str, data.dims))}); expected "
                "(lat, lon)."
            )
        data = data.transpose("lat", "lon")
        dataset = dataset.assign({name: data})
        _check_finite(data, str(path))
        covariates.append(
            Covariate(
                name=str(name),
                unit=str(data.attrs.get("units", "")),
                long_name=str(data.attrs.get("long_name", name)),
                licence=str(data.attrs.get("licence", data.attrs.get("license", ""))),
                classes=_classes(data, str(path)),
            )
        )
    if not covariates:
        raise CovariateError(f"{path}: contains no covariate.")
    if "land_mask" in dataset:
        usable = is_land(dataset["land_mask"])
    else:
        given = [~np.isnan(dataset[c.name].to_numpy()) for c in covariates]
        usable = np.logical_or.reduce(given)
    if not usable.any():
        what = "its land_mask is nowhere 1" if "land_mask" in dataset else "all values are missing"
        raise CovariateError(f"{path}: no cell of the grid is usable: {what}.")
    return CovariateGrid(dataset, tuple(covariates), usable)


def _data(opened: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Keep the data and what describes cells, without dimensions of length 1; name the others."""
    opened = opened.rename(
        {
            old: new
            for old, new in CELL_MEASURES.items()
            if old in opened.variables and new not in opened.variables
        }
    )
    kept = cf.data_variables(opened)
    kept += [n for n in NOT_PREDICTORS if n in opened.data_vars and n not in kept]
    left = [str(n) for n in opened.data_vars if n not in kept]
    dataset = opened[kept]
    axes = {n for n, v in dataset.variables.items() if v.dims == (n,)}
    single = [
        d
        for d, n in dataset.sizes.items()
        if n == 1 and (d == "time" or (d not in axes and str(d).lower()[:3] not in ("lat", "lon")))
    ]
    return dataset.squeeze(single, drop=True), left


def _check_finite(data: xr.DataArray, where: str) -> None:
    if not (wrong := np.isinf(data.to_numpy())).any():
        return
    i, j = (int(k) for k in np.argwhere(wrong)[0])
    raise CovariateError(
        f"{where}: {data.name} is infinite at lat {float(data['lat'][i]):g}, lon "
        f"{float(data['lon'][j]):g} ({int(wrong.sum()):,} such cells)."
    )


def _classes(data: xr.DataArray, where: str) -> dict[int, str] | None:
    known = cf.classes(data.attrs, f"{where}: {data.name}", CovariateError)
    if known is None:
        return None
    values = data.to_numpy()
    present = np.unique(values[~np.isnan(values)])
    if unknown := [f"{v:g}" for v in present if v not in known]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise CovariateError(
            f"{where}: {data.name} contains the code {', '.join(unknown[:5])}{more}, which its "
            "flag_meanings do not explain."
        )
    return known


def at_sites(
    grid: CovariateGrid, sites: pd.DataFrame, limit_km: float = LIMIT_KM
) -> tuple[pd.DataFrame, Nearest]:
    """Covariates of sites: those of the nearest cell of the land mask, with its distance.

    Parameters
    ----------
    sites
        Columns site, latitude, longitude.
    limit_km
        Sites farther from any usable cell are left out, with a reason.

    Returns
    -------
    table, nearest
        Columns site, latitude, longitude, distance_km, cell_latitude, cell_longitude, covariates.
    """
    lat, lon = grid.dataset["lat"].to_numpy(), grid.dataset["lon"].to_numpy()
    nearest = nearest_cells(lat, lon, grid.usable, sites, limit_km)
    cells = grid.table(nearest.row, nearest.column)
    place = nearest.sites.assign(distance_km=nearest.distance_km)
    return _described(pd.concat([place, cells], axis=1), grid), nearest


def on_grid(grid: CovariateGrid) -> pd.DataFrame:
    """Covariates of every usable cell: columns row, column (of the grid), then as for sites."""
    row, column = np.nonzero(grid.usable)
    place = pd.DataFrame({"row": row, "column": column})
    return _described(pd.concat([place, grid.table(row, column)], axis=1), grid)


def _described(table: pd.DataFrame, grid: CovariateGrid) -> pd.DataFrame:
    """Attach units, meanings and licences; pandas writes them into Parquet and reads them back."""
    table.attrs = {
        "covariates": {
            c.name: {
                "units": c.unit,
                "long_name": c.long_name,
                "licence": c.licence,
                "kind": "quantity" if c.classes is None else "category",
            }
            for c in grid.covariates
        },
        "title": str(grid.dataset.attrs.get("title", "")),
    }
    return table


def missing_shares(table: pd.DataFrame, grid: CovariateGrid) -> pd.Series:
    """Share of rows that lack each covariate, 0-1, in descending order."""
    share = table[[c.name for c in grid.covariates]].isna().mean()
    return share.sort_values(ascending=False, kind="stable")


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write the table as Parquet, which keeps categories, completely or not at all."""
    if Path(path).suffix != ".parquet":
        raise CovariateError(
            f"{path}: covariates must be written as .parquet, which preserves categories."
        )
    files.write_parquet(table, path, index=False)
