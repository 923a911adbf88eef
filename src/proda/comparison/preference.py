"""Which model the profiles prefer at each site.

The criterion is the evidence: the mean likelihood of the profile over the model's prior, which
penalises unnecessary flexibility. PSIS-LOO and WAIC, which measure how well a model fitted to a
profile predicts a new layer of it, are given for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from proda.comparison.model_files import OpenedModel, pairs
from proda.inference.assessment import MAX_PARETO_K
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.problem import build_likelihood
from proda.inference.site_summary import SiteReason
from proda.inference.stream_fit import data_of
from proda.latitude import BANDS, bands

CRITERIA = ("log_evidence", "elpd_loo", "elpd_waic")
THRESHOLDS = (1.0, 3.0, 5.0)
"""Natural logarithms. Kass and Raftery (1995): 1 is positive, 3 strong, 5 very strong evidence."""
ALL = "all"


def kept_sites(model: OpenedModel) -> np.ndarray:
    """Return the names of the sites of a model that have a posterior and are kept."""
    assert model.summary is not None
    names = model.summary["site"].to_numpy().astype(str)
    fine = (model.summary["reason"] == int(SiteReason.SAMPLED)).to_numpy()
    if model.sites is not None:
        kept = set(model.sites.index[model.sites["kept"].astype(bool)])
        fine &= np.array([n in kept for n in names], dtype=bool)
    return np.asarray(names[fine])


def not_comparable(first: OpenedModel, second: OpenedModel) -> str:
    """Return the reason why two assimilations cannot be compared by evidence, or ""."""
    for model in (first, second):
        if model.summary is None:
            return f"no summary of the assimilation of {model.name} was given"
    values = [
        AssimilationSettings.model_validate_json(m.summary.attrs["settings"])
        for m in (first, second)
        if m.summary is not None
    ]
    a, b = values
    if not (build_likelihood(a).density and build_likelihood(b).density):
        return f"the likelihoods {a.likelihood} and {b.likelihood} are not both densities"
    for name in ("likelihood", "error_sd", "operator"):
        if getattr(a, name) != getattr(b, name):
            return (
                f"{first.name} was assimilated with {name} {getattr(a, name)}, {second.name} "
                f"with {getattr(b, name)}"
            )
    # A model may be unable to answer a stream that another one can.
    data = [data_of(m.summary) for m in (first, second) if m.summary is not None]
    if data[0] != data[1]:
        return f"{first.name} was fitted to {data[0]}, {second.name} to {data[1]}"
    return ""


def site_differences(first: OpenedModel, second: OpenedModel) -> xr.Dataset:
    """Return the criteria of the second model minus those of the first at their common sites.

    Only sites kept for both models and fitted to the same number of layers are used.

    Returns
    -------
    xarray.Dataset
        On site, with `latitude`, `longitude`: for each criterion that both have its difference;
        `log_evidence_error`, the standard error of its difference from the spread of the chains
        (NaN with one chain); `pareto_k`, the larger of the two. The attribute `other_layers` counts
        sites left out because the models used different layers.
    """
    assert first.summary is not None and second.summary is not None  # noqa: PT018
    common = pd.Index(kept_sites(first)).intersection(pd.Index(kept_sites(second)), sort=False)
    a, b = first.summary.sel(site=list(common)), second.summary.sel(site=list(common))
    same = np.ones(len(common), dtype=bool)
    if "n_layers" in a and "n_layers" in b:
        same = a["n_layers"].to_numpy() == b["n_layers"].to_numpy()
    a, b = a.isel(site=same), b.isel(site=same)
    data = {}
    for name in CRITERIA:
        if name in a and name in b:
            over = "chain" if "chain" in a[name].dims else None
            x, y = (d[name].mean(over) if over else d[name] for d in (a, b))
            data[name] = ("site", (y - x).to_numpy(), {"units": "1"})
    chains = a.sizes["chain"]
    variance = [
        d["log_evidence"].var("chain", ddof=1).to_numpy() / chains
        if chains > 1
        else np.full(int(same.sum()), np.nan)
        for d in (a, b)
    ]
    data["log_evidence_error"] = ("site", np.sqrt(variance[0] + variance[1]), {"units": "1"})
    if "pareto_k" in a and "pareto_k" in b:
        data["pareto_k"] = (
            "site",
            np.maximum(a["pareto_k"].to_numpy(), b["pareto_k"].to_numpy()),
            {"units": "1"},
        )
    return xr.Dataset(
        data,
        coords={
            "site": common[same].to_numpy().astype(str),
            **{n: ("site", a[n].to_numpy()) for n in ("latitude", "longitude")},
        },
        attrs={"other_layers": int((~same).sum()), "first": first.name, "second": second.name},
    )


def climate_of(sites: xr.Dataset, covariates: pd.DataFrame | None) -> pd.DataFrame:
    """Return the groups of each site: `latitude` band and, if known, `koppen` main class (A-E)."""
    lat = sites["latitude"].to_numpy()
    groups = pd.DataFrame({"latitude": bands(lat)}, index=pd.Index(sites["site"].to_numpy()))
    if covariates is not None and {"site", "koppen_class"} <= set(covariates):
        table = covariates.assign(site=covariates["site"].astype(str)).set_index("site")
        classes = table["koppen_class"].reindex(groups.index)
        groups["koppen"] = classes.astype("string").str[:1]
    return groups


def preference_table(
    models: Mapping[str, OpenedModel],
    differences: Mapping[tuple[str, str], xr.Dataset],
    covariates: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Count by climate how many profiles prefer each model.

    Returns
    -------
    pandas.DataFrame
        One row per `first`, `second`, `criterion`, `grouping` ("all", "latitude", "koppen") and
        `zone`: `sites` (where the criterion is finite), `median` difference (second - first),
        `low`, `high` (95 % interval of that median, by order statistics), `prefer_second` (share
        above 0), and for 1, 3, 5 the counts and shares of sites that prefer one by more:
        `second_by_1`, `first_by_1`, `share_second_by_1`, ...; `untrustworthy` (share of sites whose
        Pareto k exceeds 0.7 for either model; of PSIS-LOO only).
    """
    rows = []
    for first, second in pairs(models):
        data = differences.get((first, second))
        if data is None:
            continue
        groups = climate_of(data, covariates)
        for criterion in (c for c in CRITERIA if c in data):
            values = data[criterion].to_numpy()
            k = data["pareto_k"].to_numpy() if criterion == "elpd_loo" else None
            members = [(ALL, ALL, np.ones(len(values), dtype=bool))]
            for grouping in groups:
                zones = groups[grouping].fillna("unknown").to_numpy().astype(str)
                order = (
                    [n for n, _ in BANDS if n in zones]
                    if grouping == "latitude"
                    else (sorted(set(zones)))
                )
                members += [(str(grouping), zone, zones == zone) for zone in order]
            for grouping, zone, here in members:
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "criterion": criterion,
                        "grouping": grouping,
                        "zone": zone,
                        **_counted(values[here], None if k is None else k[here]),
                    }
                )
    return pd.DataFrame(rows)


def _counted(values: np.ndarray, pareto_k: np.ndarray | None) -> dict[str, float]:
    fine = np.isfinite(values)
    v, n = values[fine], int(fine.sum())
    row: dict[str, float] = {"sites": n}
    if n:
        low, high = median_interval(v)
        row |= {
            "median": float(np.median(v)),
            "low": low,
            "high": high,
            "prefer_second": float((v > 0).mean()),
        }
        for limit in THRESHOLDS:
            for name, count in (("second", (v > limit).sum()), ("first", (v < -limit).sum())):
                row[f"{name}_by_{limit:g}"] = int(count)
                row[f"share_{name}_by_{limit:g}"] = float(count / n)
    if pareto_k is not None and fine.any():
        row["untrustworthy"] = float((~(pareto_k[fine] <= MAX_PARETO_K)).mean())
    return row


def median_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the distribution-free interval of a median; NaN for too few values.

    Sites count as independent here.
    """
    from scipy import stats

    n = len(values)
    k = int(stats.binom.ppf((1.0 - level) / 2.0, n, 0.5))
    if k < 1:
        return float("nan"), float("nan")
    ordered = np.sort(values)
    return float(ordered[k - 1]), float(ordered[n - k])
