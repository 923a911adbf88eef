"""Tables of all models of a comparison: agreement of all pairs, carbon, microbes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from proda.comparison.model_files import (
    BEFORE,
    COMPONENTS,
    STATES,
    STOCK,
    OpenedModel,
    holds_carbon,
)
from proda.comparison.paper import MICROBES_MEASURED
from proda.latitude import GLOBE
from proda.maps.totals import land_area, totals
from proda.models.components import MICROBES
from proda.weighted import quantile

MEASURED = "measured (Xu et al. 2013)"
SHARES = (
    ("share_0_30", "soc_0_30", None),
    ("share_30_100", STOCK, "soc_0_30"),
    ("share_100_200", "soc_0_200", STOCK),
    ("share_below_200", "cSoil", "soc_0_200"),
)
"""Column, stock down to its lower end, stock down to its upper end."""
MEANS = (*COMPONENTS, "litter_to_soil", "residence_time")
_DEPTHS = {"microbial_share_0_15": "0-15 cm", "microbial_share": "whole column"}


def matrix(
    correlations: pd.DataFrame, variable: str, state: str, column: str = "r"
) -> pd.DataFrame:
    """Return a number of all pairs as a square table, NaN on the diagonal.

    Parameters
    ----------
    correlations
        Of :func:`proda.comparison.correlations.correlation_table`.
    variable, state, column
        Which number: `r`, `n_effective`, ... of a variable in a state.
    """
    here = correlations[(correlations["variable"] == variable) & (correlations["state"] == state)]
    names = sorted({*here["first"], *here["second"]})
    table = pd.DataFrame(np.nan, index=names, columns=names)
    for _, row in here.iterrows():
        table.loc[row["first"], row["second"]] = table.loc[row["second"], row["first"]] = row[
            column
        ]
    return table


def agreement_table(correlations: pd.DataFrame) -> pd.DataFrame:
    """Return the mean agreement of all pairs of models, and its change.

    Pairs share models, so that their spread is not an error: `standard_error` is that of a
    jackknife which leaves out one model at a time.

    Returns
    -------
    pandas.DataFrame
        One row per `variable` and `state`: `models`, `pairs` (with a correlation), `mean_r`, its
        `standard_error` (NaN with two models), `sd`, `low`, `high` (smallest and largest r of a
        pair), `mean_n_effective`; and over the pairs that also have default maps: `change` (mean of
        r minus r before), `change_error`, `change_sd` and `share_rising`.
    """
    rows = []
    key = ["first", "second"]
    for variable in correlations["variable"].unique():
        own = correlations[correlations["variable"] == variable].dropna(subset=["r"])
        before = own[own["state"] == BEFORE].set_index(key)["r"]
        for state in (s for s in STATES if (own["state"] == s).any()):
            here = own[own["state"] == state].set_index(key)
            row: dict[str, object] = {
                "variable": variable,
                "state": state,
                "models": len({m for pair in here.index for m in pair}),
                "pairs": len(here),
                "mean_r": here["r"].mean(),
                "standard_error": _model_error(here["r"]),
                "sd": here["r"].std(ddof=1),
                "low": here["r"].min(),
                "high": here["r"].max(),
                "mean_n_effective": here["n_effective"].mean(),
            }
            change = (here["r"] - before).dropna()
            if state != BEFORE and len(change):
                row |= {
                    "change": change.mean(),
                    "change_error": _model_error(change),
                    "change_sd": change.std(ddof=1),
                    "share_rising": float((change > 0).mean()),
                }
            rows.append(row)
    columns = [
        "variable",
        "state",
        "models",
        "pairs",
        "mean_r",
        "standard_error",
        "sd",
        "low",
        "high",
        "mean_n_effective",
        "change",
        "change_error",
        "change_sd",
        "share_rising",
    ]
    return pd.DataFrame(rows, columns=columns)


def _model_error(values: pd.Series) -> float:
    """Return the jackknife error of the mean over pairs, by (first, second), one model left out."""
    names = sorted({m for pair in values.index for m in pair})
    n = len(names)
    if n < 3:
        return float("nan")
    means = np.array([values[[name not in pair for pair in values.index]].mean() for name in names])
    return float(np.sqrt((n - 1.0) / n * ((means - means.mean()) ** 2).sum()))


def models_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Return carbon, its depths and the components of every model and state, in one row each.

    Returns
    -------
    pandas.DataFrame
        `model`, `state`; `carbon_0_100` of the globe (Pg, with `sd` over members), `carbon` of the
        whole column (Pg); the shares of the latter in 0-30, 30-100, 100-200 cm and below;
        `answered` (share of the land); means of the components over land with carbon.
    """
    rows = []
    for name, model in models.items():
        for state, dataset in model.maps.items():
            globe = totals(dataset, {}).loc[GLOBE]
            mean = globe["mean"]
            row = {
                "model": name,
                "state": state,
                "carbon_0_100": mean[STOCK],
                "sd": globe.loc[STOCK, "sd"],
                "carbon": mean["cSoil"],
            }
            for column, lower, upper in SHARES:
                held = mean[lower] - (0.0 if upper is None else mean[upper])
                row[column] = held / mean["cSoil"] if mean["cSoil"] > 0 else np.nan
            row["answered"] = globe.loc[STOCK, "answered"]
            land = _land(dataset)
            rows.append(row | {v: _mean(dataset[v], land) for v in MEANS})
    return pd.DataFrame(rows)


def microbes_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Return the microbial share of soil carbon, of models with microbes, and as measured.

    Returns
    -------
    pandas.DataFrame
        `model`, `state`, `depth` ("0-15 cm", "whole column"), `median`, `q05`, `q95` over land,
        weighted by it; of the whole column also `share_of_all_carbon`, microbes of the globe over
        its soil carbon. Models without microbial pools, and older maps without the variable, have
        no row. The last row is the measured share in topsoil
        (:data:`~proda.comparison.paper.MICROBES_MEASURED`).
    """
    rows: list[dict[str, object]] = []
    for name, model in models.items():
        for state, dataset in model.maps.items():
            for variable, depth in _DEPTHS.items():
                if variable in dataset:
                    rows.append(
                        {
                            "model": name,
                            "state": state,
                            "depth": depth,
                            **_shares(dataset, variable),
                        }
                    )
    if rows:
        median, low, high = MICROBES_MEASURED
        rows.append(
            {
                "model": MEASURED,
                "state": "measured",
                "depth": "0-15 cm",
                "median": median,
                "q05": low,
                "q95": high,
            }
        )
    columns = ["model", "state", "depth", "median", "q05", "q95", "share_of_all_carbon"]
    return pd.DataFrame(rows, columns=columns)


def _shares(dataset: xr.Dataset, variable: str) -> dict[str, float]:
    land = _land(dataset).to_numpy()
    share = dataset[variable].transpose("lat", "lon").to_numpy().astype(np.float64)
    here = np.isfinite(share) & (land > 0)
    if not here.any():
        return {}
    quantiles = (("median", 0.5), ("q05", 0.05), ("q95", 0.95))
    shares = {n: quantile(share[here], land[here], q) for n, q in quantiles}
    if variable == MICROBES[0].name:
        carbon = dataset["cSoil"].transpose("lat", "lon").to_numpy().astype(np.float64) * land
        shares["share_of_all_carbon"] = float((share * carbon)[here].sum() / carbon[here].sum())
    return shares


def _land(dataset: xr.Dataset) -> xr.DataArray:
    """Return the land (km2) with a result and with carbon."""
    fine = (dataset["reason"].transpose("lat", "lon") == 0) & holds_carbon(dataset)
    return land_area(dataset).where(fine, 0.0)


def _mean(data: xr.DataArray, land: xr.DataArray) -> float:
    values, weight = data.transpose("lat", "lon").to_numpy().astype(np.float64), land.to_numpy()
    here = np.isfinite(values) & (weight > 0)
    return float(np.average(values[here], weights=weight[here])) if here.any() else float("nan")
