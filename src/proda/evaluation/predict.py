"""Parameters wherever there are covariates, from a trained network to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.drivers import covariates as grids
from proda.learning.features import Missing
from proda.learning.store import load_ensemble
from proda.models.registry import load_model

_UNITED = ("parameters", "mean", "spread", "sd", "interval_lower", "interval_upper", "draws")


def predict_table(
    network: str | os.PathLike[str],
    covariates: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    draws: bool = False,
    missing: Missing = "leave_out",
    model: str | None = None,
) -> xr.Dataset:
    """Predict parameters for a table or a grid of covariates.

    Parameters
    ----------
    network
        Folder of `proda train`.
    covariates
        Table (.parquet), or a grid on lat and lon (netCDF, Zarr), of which the usable cells are
        taken.
    output
        File to write (.nc, .zarr), whole or not at all.
    draws
        Also members spread as far as the truth may lie.
    missing
        "leave_out": NaN for rows that lack a covariate; "median": fill and count them.
    model
        Refuse a network of another model.

    Returns
    -------
    As :meth:`proda.learning.Ensemble.predict`, with `latitude` and `longitude` where known, units
    by parameter (`unit`), and for a grid `row` and `column` (positions in it).

    Raises
    ------
    FileError, LearningError, CovariateError
        Naming what is absent, damaged or does not fit.
    """
    ensemble = load_ensemble(network, model=model)
    known = load_model(ensemble.model, ensemble.variant)
    load_ensemble(network, rows=known.rows)  # refuses another set of parameters or prior ranges
    table = _read(Path(covariates))
    found = ensemble.predict(table, missing, draws)
    place: dict[str, Any] = {}
    for name, columns in (("latitude", ("latitude", "cell_latitude")),
                          ("longitude", ("longitude", "cell_longitude")),
                          ("row", ("row",)), ("column", ("column",))):  # fmt: skip
        if column := next((c for c in columns if c in table), None):
            place[name] = ("site", table[column].to_numpy())
    units = [row.unit for row in known.rows]
    found = found.assign_coords(**place, unit=("parameter", units))
    for name in _UNITED:
        if name in found:
            found[name].attrs["comment"] = "each parameter in its own unit, see the variable unit"
    found = found.assign_attrs(
        Conventions="CF-1.11",
        title=f"Parameters of {ensemble.model} predicted from covariates",
        network=str(network), covariates=str(covariates), training_sites=ensemble.n_sites,
    )  # fmt: skip
    for name in ("usable", "flag"):
        found[name] = found[name].astype(np.int8)
    if output is not None:
        files.write_dataset(found, output)
    return found


def _read(path: Path) -> pd.DataFrame:
    if path.suffix != ".parquet":
        return grids.on_grid(grids.open_covariates(path))
    return files.read_parquet(path)
