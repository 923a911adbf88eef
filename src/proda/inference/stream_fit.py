"""How the posteriors of a run meet the data beside carbon, and what these data narrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.errors import AssimilationError
from proda.inference.diagnostics import fit
from proda.streams.registry import STREAMS
from proda.streams.stream import CARBON, on_scale
from proda.weighted import unweighted_correlation

AGE = "mean_age_0_100_quantile"
"""Quantiles of the mean age of the first metre, in the summary of a run with streams."""
ENDS = (0.05, 0.95)


def streams_of(summary: xr.Dataset) -> list[str]:
    """Return the streams of which a summary has values."""
    return [name for name in STREAMS if f"row_{name}_observed" in summary]


def stream_values(summary: xr.Dataset, name: str) -> pd.DataFrame:
    """Return the values of a stream at sites with a posterior.

    Returns
    -------
    table
        site, upper, lower (m), year, observed, modelled (posterior mean), and `low` and `high`, the
        ends of the 90 % interval of the modelled value; in the stream's unit.
    """
    row = f"row_{name}"
    plain = ("site", "upper", "lower", "year", "observed", "modelled")
    table = pd.DataFrame({n: summary[f"{row}_{n}"].to_numpy() for n in plain})
    quantile = summary[f"{row}_quantile"].transpose("quantile", row)
    for end, level in zip(("low", "high"), ENDS, strict=True):
        table[end] = quantile.sel(quantile=level, method="nearest").to_numpy()
    used = summary[f"{row}_used"].to_numpy().astype(bool)
    return table[used & np.isfinite(table["modelled"])].reset_index(drop=True)


def stream_fit(summary: xr.Dataset) -> pd.DataFrame:
    """Return how each stream of a run is met; no row for a run without any.

    Returns
    -------
    table
        stream, unit, scale (on which errors are judged), fitted (False: held out), values, sites,
        rmse, bias and nse of the posterior mean, r, and inside90, the share of values in the 90 %
        interval of the modelled value.
    """
    held_out = _listed(summary, "held_out")
    out = []
    for name in streams_of(summary):
        stream, table = STREAMS[name], stream_values(summary, name)
        observed, modelled = (
            on_scale(table[n].to_numpy(), stream.scale) for n in ("observed", "modelled")
        )
        inside = table["observed"].between(table["low"], table["high"])
        out.append(
            {
                "stream": name,
                "unit": stream.unit,
                "scale": stream.scale,
                "fitted": name not in held_out,
                "values": len(table),
                "sites": table["site"].nunique(),
                **scores(observed, modelled),
                "inside90": inside.mean() if len(table) else np.nan,
            }
        )
    return pd.DataFrame(out)


def scores(
    observed: Float[np.ndarray, " value"], modelled: Float[np.ndarray, " value"]
) -> dict[str, float]:
    """Return rmse and bias of modelled values, nse (about the mean of the observed ones) and r.

    Both on the scale of the stream's error. Without values all are NaN, and nse and r for fewer
    than three values or equal ones.
    """
    everything = np.ones(len(observed), dtype=bool)
    r = unweighted_correlation(observed, modelled)
    nse = r if np.isnan(r) else float(fit.nash_sutcliffe(modelled, observed, everything))
    return {
        "rmse": float(fit.rmse(modelled, observed, everything)),
        "bias": float(fit.bias(modelled, observed, everything)),
        "nse": nse,
        "r": r,
    }


def narrowing(summary: xr.Dataset, other: xr.Dataset) -> pd.DataFrame:
    """Return how much narrower one run's posteriors are than another's at their common sites.

    Parameters
    ----------
    summary, other
        Summaries of two runs of the same model, such as with all data and with carbon alone.

    Returns
    -------
    table
        quantity (a parameter, or `mean age of 0-100 cm`), unit, sites, `width`, the median over
        sites of the ratio of the standard deviations (of the age: of the widths of the 90 %
        intervals), and `median` and `other_median`, medians over sites of the mean (of the age: of
        the median) in both runs.

    Raises
    ------
    AssimilationError
        If the runs are of different models, or have no site in common.
    """
    kind = tuple(summary.attrs[n] for n in ("model", "variant"))
    if kind != tuple(other.attrs[n] for n in ("model", "variant")):
        raise AssimilationError(
            f"A run of {' '.join(kind)} is compared with one of {other.attrs['model']} "
            f"{other.attrs['variant']}; give two runs of one model."
        )
    names = [
        s["site"].to_numpy().astype(str)[(s["reason"] == 0).to_numpy()] for s in (summary, other)
    ]
    common = [name for name in names[0] if name in set(names[1])]
    if not common:
        raise AssimilationError("The two runs have no site with a posterior in common.")
    a, b = (s.assign_coords(site=s["site"].astype(str)).sel(site=common) for s in (summary, other))
    shared = [p for p in a["parameter"].to_numpy() if p in set(b["parameter"].to_numpy())]
    out = []
    for name in shared:
        one, two = (s.sel(parameter=name) for s in (a, b))
        width = (one["posterior_sd"] / two["posterior_sd"]).median()
        middle = [s["posterior_mean"].median() for s in (one, two)]
        out.append((name, str(one["unit"].item()), width, *middle))
    if AGE in a and AGE in b:
        ends = [s[AGE].sel(quantile=list(ENDS), method="nearest") for s in (a, b)]
        wide = [e.isel(quantile=1) - e.isel(quantile=0) for e in ends]
        middle = [s[AGE].sel(quantile=0.5, method="nearest").median() for s in (a, b)]
        out.append(("mean age of 0-100 cm", "yr", (wide[0] / wide[1]).median(), *middle))
    columns = ["quantity", "unit", "width", "median", "other_median"]
    table = pd.DataFrame(
        [(name, unit, *(float(v) for v in values)) for name, unit, *values in out], columns=columns
    )
    table.insert(2, "sites", len(common))
    return table


def data_of(summary: xr.Dataset) -> str:
    """Return what a run was fitted to, in words."""
    held_out, there = _listed(summary, "held_out"), [CARBON, *_listed(summary, "streams")]
    return " and ".join(name for name in there if name not in held_out)


def _listed(summary: xr.Dataset, attribute: str) -> list[str]:
    """Return the names that an attribute of a summary lists."""
    return [name for name in str(summary.attrs.get(attribute, "")).split(", ") if name]
