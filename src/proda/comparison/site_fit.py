"""Information on each parameter from assimilation at sites, and the fit of each model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from proda.comparison.model_files import OpenedModel
from proda.comparison.preference import kept_sites
from proda.errors import ModelError
from proda.inference.diagnostics.fit import log_r2
from proda.models.outside import SOURCE
from proda.models.registry import load_recorded

_OF_PARAMETERS = (
    "component",
    "lower",
    "upper",
    "posterior_quantile",
    "information_gain",
    "spread_reduction",
    "posterior_mean",
)
"""Variables of a summary that say something of each parameter."""


def parameter_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Return the information that profiles contain on the parameters, over the kept sites.

    Returns
    -------
    pandas.DataFrame
        `model`, `parameter`, `component`, `sites`, medians of `information_gain` (bit) and
        `spread_reduction`, `between_sites` (standard deviation of the posterior means over the
        prior's), and `default_outside`: share of sites whose 5-95 % interval does not contain the
        default (NaN where the default is not a single number, or the model is not in the registry).
    """
    rows = []
    for name, model in models.items():
        if model.summary is None:
            continue
        kept = kept_sites(model)
        if not len(kept):
            continue
        summary = model.summary[list(_OF_PARAMETERS)].sel(site=list(kept))
        defaults = _defaults(model)
        for j, parameter in enumerate(summary["parameter"].to_numpy().astype(str)):
            one = summary.isel(parameter=j)
            component = str(one["component"].to_numpy())
            if component == "error":
                continue
            width = float(one["upper"] - one["lower"]) / np.sqrt(12.0)
            low, high = (one["posterior_quantile"].sel(quantile=q).to_numpy() for q in (0.05, 0.95))
            default = defaults.get(parameter, np.nan)
            rows.append(
                {
                    "model": name,
                    "parameter": parameter,
                    "component": component,
                    "sites": summary.sizes["site"],
                    "information_gain": float(one["information_gain"].median()),
                    "spread_reduction": float(one["spread_reduction"].median()),
                    "between_sites": float(one["posterior_mean"].std(ddof=1)) / width,
                    "default_outside": float(((default < low) | (default > high)).mean())
                    if np.isfinite(default)
                    else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _defaults(model: OpenedModel) -> dict[str, float]:
    assert model.summary is not None
    try:
        rows = load_recorded(model.summary.attrs, f"the posterior of {model.name}").rows
    except ModelError:
        if SOURCE in model.summary.attrs:
            raise
        # The model is not installed here, so that its defaults are unknown
        return {}
    return {row.name: row.default for row in rows}


def fit_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Return the fit of each model to the profiles.

    Returns
    -------
    pandas.DataFrame
        `model`, `sites` (all), `kept`, `converged` (share with a mean Gelman-Rubin statistic below
        `limit`, that of the filter as the study set it), and over the sites kept for every model
        `common`: `layers`, `log_r2` (efficiency of the logarithms of their carbon at the posterior
        mean) and `nash_sutcliffe` (median); NaN
        without such sites.
    """
    with_summary = {n: m for n, m in models.items() if m.summary is not None}
    common: pd.Index | None = None
    for model in with_summary.values():
        names = pd.Index(kept_sites(model))
        common = names if common is None else common.intersection(names)
    rows = []
    for name, model in with_summary.items():
        assert model.summary is not None and common is not None  # noqa: PT018
        s = model.summary
        inside = pd.Index(s["row_site"].to_numpy().astype(str)).isin(common)
        o, m = s["row_observed"].to_numpy(), s["row_modelled"].to_numpy()
        fine = inside & s["row_used"].to_numpy().astype(bool) & (o > 0) & (m > 0)
        enough = len(common) > 0 and bool(fine.any())
        mean = s["gelman_rubin"].mean("parameter", skipna=False).to_numpy()
        limit = model.max_gelman_rubin
        rows.append(
            {
                "model": name,
                "sites": s.sizes["site"],
                "kept": len(kept_sites(model)),
                "converged": float((mean < limit).mean()),
                "limit": limit,
                "common": len(common),
                "layers": int(fine.sum()),
                "log_r2": float(log_r2(m, o, fine)) if enough else np.nan,
                "nash_sutcliffe": float(s["nash_sutcliffe"].sel(site=list(common)).median())
                if enough
                else np.nan,
            }
        )
    return pd.DataFrame(rows)
