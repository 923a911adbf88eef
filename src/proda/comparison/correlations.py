"""Agreement of two models' maps: patterns by correlation, magnitudes by the 1:1 line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd
import xarray as xr

from proda.comparison.agreement import agreement
from proda.comparison.model_files import (
    COMPARED,
    LOGARITHMIC,
    OpenedModel,
    common_land,
    pairs,
    states_of,
)
from proda.comparison.spatial import CorrelationTest, correlation_test
from proda.errors import ComparisonError
from proda.weighted import unweighted_correlation

Sample = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""x, y, latitude, longitude and weight of cells."""


def cells(x: xr.DataArray, y: xr.DataArray, land: xr.DataArray, log: bool) -> tuple[Sample, int]:
    """Return two maps as lists of cells on common land, and the number without a logarithm.

    Parameters
    ----------
    x, y, land
        On (lat, lon); land (km2) is the weight.
    log
        Whether to take natural logarithms; cells that are not above 0 are then left out.
    """
    a, b, w = (d.transpose("lat", "lon").to_numpy().astype(np.float64) for d in (x, y, land))
    lat, lon = (
        np.asarray(v)
        for v in np.meshgrid(land["lat"].to_numpy(), land["lon"].to_numpy(), indexing="ij")
    )
    here = np.isfinite(a) & np.isfinite(b) & (w > 0)
    lost = 0
    if log:
        positive = (a > 0) & (b > 0)
        lost = int((here & ~positive).sum())
        here &= positive
        a, b = (np.log(np.where(here, v, 1.0)) for v in (a, b))
    return (a[here], b[here], lat[here], lon[here], w[here]), lost


def correlation_table(
    models: Mapping[str, OpenedModel], on_row: Callable[[], None] | None = None
) -> pd.DataFrame:
    """Compare every pair of models, in every state, by every variable of the maps.

    All states are compared on the same cells, those in which both models have a steady state with
    carbon in all states, so that differences between states are not due to different land.

    Returns
    -------
    pandas.DataFrame
        One row per pair, state and variable: `first`, `second`, `state`, `variable`, `scale` ("log"
        or "linear"), `without_logarithm` (cells left out), `r` (weighted by land),
        `r_each_cell_once` (as in the paper), the test of
        :class:`~proda.comparison.spatial.CorrelationTest`, and the statistics of
        :func:`~proda.comparison.agreement.agreement` on the same scale; `bias` is the second minus
        the first. A field that is constant has no correlation (NaN).

    Raises
    ------
    ComparisonError
        If two models have no land in common.
    """
    rows = []
    for first, second in pairs(models):
        states = states_of(models, (first, second))
        land = common_land(models, (first, second), states, with_carbon=True)
        if not (land > 0).any():
            raise ComparisonError(f"{first} and {second} have no cell with a result in common.")
        for state in states:
            for variable in COMPARED:
                one, other = (models[m].maps[state][variable] for m in (first, second))
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "state": state,
                        "variable": variable,
                        **compare_maps(one, other, land),
                    }
                )
                if on_row is not None:
                    on_row()
    return pd.DataFrame(rows)


def compare_maps(x: xr.DataArray, y: xr.DataArray, land: xr.DataArray) -> dict[str, object]:
    """Return the statistics of :func:`correlation_table` for two maps of one variable."""
    log = x.name in LOGARITHMIC
    (a, b, lat, lon, w), lost = cells(x, y, land, log)
    return {
        "scale": "log" if log else "linear",
        "without_logarithm": lost,
        **tested(a, b, lat, lon, w),
        **agreement(a, b, w),
    }


def tested(
    x: np.ndarray, y: np.ndarray, lat: np.ndarray, lon: np.ndarray, w: np.ndarray
) -> dict[str, float]:
    """Return r of values at places, weighted, with its test; NaN where one of them is constant."""
    if not vary(x, y):
        nan = float("nan")
        test, once = CorrelationTest(nan, len(x), nan, nan, nan, nan, nan), nan
    else:
        test = correlation_test(x, y, lat, lon, w)
        once = unweighted_correlation(x, y)
    table = asdict(test)
    return {"r": table.pop("r"), "r_each_cell_once": once, **table}


def vary(x: np.ndarray, y: np.ndarray) -> bool:
    """Return whether two fields have a correlation: four places or more, none constant."""
    return len(x) >= 4 and np.ptp(x) > 0 and np.ptp(y) > 0
