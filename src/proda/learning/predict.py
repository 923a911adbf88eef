"""Predict parameters from covariates with a trained network, and write them to a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.drivers import covariates as grids
from proda.drivers.grids import standard_grid
from proda.errors import LearningError
from proda.forcing import FORCING_VARIABLES, Forcing
from proda.learning.features import Missing
from proda.learning.forcing_inputs import needs_forcing
from proda.learning.network_folder import load_for_model

Make = Callable[[pd.DataFrame, Forcing], pd.DataFrame]
"""Computes the inputs of networks from covariates and the forcing of the same places."""

BAND = 30
"""Rows of a grid of forcing that are read together, so that memory does not grow with the grid."""

TOLERANCE = 1e-3
"""Tolerance for the centres of one cell in two grids, degrees."""

_UNITED = ("parameters", "mean", "spread", "sd", "interval_lower", "interval_upper", "draws")


def predict_table(
    network: str | os.PathLike[str],
    covariates: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    draws: bool = False,
    missing: Missing = "leave_out",
    model: str | None = None,
    forcing: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Predict parameters for a table or a grid of covariates.

    Parameters
    ----------
    network
        Folder of `proda train`.
    covariates
        Table (.parquet), or a grid on lat and lon (netCDF, Zarr), of which the usable cells are
        used.
    output
        File to write (.nc, .zarr), completely or not at all.
    draws
        Whether to return calibrated draws too.
    missing
        "leave_out": NaN for rows that lack a covariate; "median": fill and count them.
    model
        Refuse a network of another model.
    forcing
        Forcing of the same places, which networks trained end to end need in addition to
        covariates: at sites (coordinate `site`, as in the table), or on the grid of the covariates.

    Returns
    -------
    As :meth:`proda.learning.ensemble.Ensemble.predict`, with `latitude` and `longitude` where
    known, units by parameter (`unit`), and for a grid `row` and `column` (positions in it).

    Raises
    ------
    FileError, LearningError, CovariateError
        Naming what is absent, damaged or inconsistent.
    """
    ensemble, known = load_for_model(network, model)
    table = _read(Path(covariates))
    if needs_forcing(ensemble.features.names):
        if forcing is None:
            raise LearningError(
                f"{network}: this network was trained end to end and needs the forcing of the "
                "same places in addition to their covariates; give it (--forcing)."
            )
        make = partial(ensemble.made_of_forcing, model=known, missing=missing)
        table = _with_forcing(table, forcing, make)
    elif forcing is not None:
        raise LearningError(f"{network}: this network uses covariates only; leave out --forcing.")
    predicted = ensemble.predict(table, missing, draws)
    units = [row.unit for row in known.rows]
    predicted = predicted.assign_coords(**_places(table), unit=("parameter", units))
    for name in _UNITED:
        if name in predicted:
            predicted[name].attrs["comment"] = (
                "each parameter in its own unit, see the variable unit"
            )
    predicted = predicted.assign_attrs(
        Conventions="CF-1.11",
        title=f"Parameters of {ensemble.model} predicted from covariates",
        network=str(network),
        covariates=str(covariates),
        training_sites=ensemble.n_sites,
    )
    for name in ("usable", "flag"):
        predicted[name] = predicted[name].astype(np.int8)
    if output is not None:
        files.write_dataset(predicted, output)
    return predicted


def _places(table: pd.DataFrame) -> dict[str, Any]:
    """Return the place of each row, and its position in a grid, where the table has them."""
    place: dict[str, Any] = {}
    for name, columns in (
        ("latitude", ("latitude", "cell_latitude")),
        ("longitude", ("longitude", "cell_longitude")),
        ("row", ("row",)),
        ("column", ("column",)),
    ):
        if column := next((c for c in columns if c in table), None):
            place[name] = ("site", table[column].to_numpy())
    return place


def _with_forcing(table: pd.DataFrame, path: str | os.PathLike[str], make: Make) -> pd.DataFrame:
    """Add inputs that `make` computes from the forcing to covariates of the same places.

    Cells and sites without forcing lack these inputs; they are not usable and are counted.
    """
    with files.open_dataset(path) as opened:
        if "site" in opened.dims:
            known = pd.Index(opened["site"].to_numpy().astype(str))
            names = table.get("site", table.index.to_series()).astype(str)
            place = known.get_indexer(pd.Index(names))
            there = place >= 0
            drivers = Forcing.from_dataset(files.load(opened.isel(site=place[there]), path))
            return _filled(table, there, make(table[there], drivers))
        return _on_grid(table, standard_grid(opened, str(path)), str(path), make)


def _on_grid(table: pd.DataFrame, grid: xr.Dataset, where: str, make: Make) -> pd.DataFrame:
    """Read the forcing of each row's cell, one band of latitudes at a time."""
    if not {"cell_latitude", "cell_longitude"} <= set(table):
        raise LearningError(
            f"{where}: forcing on a grid needs covariates on the same grid, not a table."
        )
    row, column = (
        _nearest(grid[axis].to_numpy(), table[name].to_numpy(float), where)
        for axis, name in (("lat", "cell_latitude"), ("lon", "cell_longitude"))
    )
    if "status" not in grid:
        raise LearningError(f"{where}: the forcing on the grid has no variable status.")
    status = grid["status"].transpose("lat", "lon").to_numpy()
    there = status[row, column] == 0
    parts, rows = [], np.flatnonzero(there)
    for band in np.unique(row[rows] // BAND):
        own = rows[row[rows] // BAND == band]
        slab = grid.isel(lat=slice(int(band) * BAND, int(band + 1) * BAND))
        slab = files.load(slab[[v.name for v in FORCING_VARIABLES]], where)
        place = {"lat": row[own] - band * BAND, "lon": column[own]}
        at = slab.isel({axis: xr.DataArray(value, dims="site") for axis, value in place.items()})
        parts.append(make(table.iloc[own], Forcing.from_dataset(at)).set_index(own))
    if not parts:
        raise LearningError(f"{where}: no cell of the covariates has usable forcing (status 0).")
    return _filled(table, there, pd.concat(parts).sort_index())


def _nearest(axis: np.ndarray, values: np.ndarray, where: str) -> np.ndarray:
    """Return the position of each value on an axis of the grid, which must contain it."""
    place = np.abs(axis[None, :] - values[:, None]).argmin(axis=1)
    off = np.abs(axis[place] - values)
    if off.max() > TOLERANCE:
        raise LearningError(
            f"{where}: the forcing has no cell at {values[int(np.argmax(off))]:g} degrees; it must "
            "be on the grid of the covariates."
        )
    return np.asarray(place)


def _filled(table: pd.DataFrame, there: np.ndarray, summary: pd.DataFrame) -> pd.DataFrame:
    whole = pd.DataFrame(np.nan, index=table.index, columns=summary.columns)
    whole.loc[there] = summary.to_numpy()
    return pd.concat([table, whole], axis=1)


def _read(path: Path) -> pd.DataFrame:
    if path.suffix != ".parquet":
        return grids.on_grid(grids.open_covariates(path))
    return files.read_parquet(path)
