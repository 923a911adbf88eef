"""Assessment of a finished run: sites kept, their fit, and the information gained from profiles."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import xarray as xr

from proda.errors import AssimilationError
from proda.inference.diagnostics.filter import Filter, SiteVerdict
from proda.inference.site_summary import SiteReason
from proda.latitude import BANDS, bands
from proda.models.outside import ORIGIN

MAX_PARETO_K = 0.7
"""Above this value, PSIS-LOO is unreliable (Vehtari et al. 2017)."""
NEEDED = (
    "reason",
    "gelman_rubin",
    "rank_rhat",
    "ess_bulk",
    "ess_tail",
    "acceptance",
    "nash_sutcliffe",
    "rmse",
    "information_gain",
    "spread_reduction",
    "posterior_mean",
    "posterior_sd",
    "row_site",
    "row_quantile",
    "lower",
    "upper",
)
"""Variables that an assessment reads from a summary."""


@dataclass(frozen=True)
class Assessment:
    """The summary of a run with the verdict on each site."""

    summary: xr.Dataset
    """summary.nc of the run."""
    limits: Filter
    sites: pd.DataFrame
    """One row per site, in the order of the run: see :func:`assess`."""

    @property
    def kept(self) -> np.ndarray:
        """Whether each site is kept, (site,)."""
        return self.sites["kept"].to_numpy(bool)

    @property
    def sampled(self) -> np.ndarray:
        """Whether each site has draws, (site,)."""
        return (self.summary["reason"] == SiteReason.SAMPLED).to_numpy()

    @property
    def caveat(self) -> str:
        """First words of every title where the draws are not a posterior; otherwise empty."""
        statement = str(self.summary.attrs["is_posterior"])
        return "" if statement == "yes" else "NO POSTERIOR" + statement.removeprefix("NO")

    @property
    def row_site(self) -> np.ndarray:
        """Position of the site of each measured layer, (row,)."""
        names = pd.Index(self.summary["site"].to_numpy().astype(str))
        return names.get_indexer(pd.Index(self.summary["row_site"].to_numpy().astype(str)))


def assess(summary: xr.Dataset, limits: Filter) -> Assessment:
    """Assess every site of a run.

    Parameters
    ----------
    summary
        summary.nc of a finished run.
    limits
        Limits for the posterior of a site.

    Returns
    -------
    Assessment, of which `sites` has the columns site, latitude, longitude, band, n_layers, reason
    and verdict (words), kept, gelman_rubin (mean over parameters), rank_rhat (largest), ess_bulk
    and ess_tail (smallest), acceptance (mean over chains), nash_sutcliffe, rmse (g m-3), pareto_k,
    elpd_loo, information_gain (mean over parameters, bit).

    Raises
    ------
    AssimilationError
        If a variable is missing in the summary.
    """
    _check_summary(summary)
    table = _statistics(summary)
    kept, verdict = limits.apply(
        table["gelman_rubin"].to_numpy(),
        table["nash_sutcliffe"].to_numpy(),
        rank_rhat=table["rank_rhat"].to_numpy(),
        ess=table[["ess_bulk", "ess_tail"]].min(axis=1, skipna=False).to_numpy(),
        reason=summary["reason"].to_numpy(),
    )
    table.insert(6, "verdict", [SiteVerdict(int(v)).words for v in verdict])
    table.insert(7, "kept", kept)
    return Assessment(summary, limits, table)


def _statistics(summary: xr.Dataset) -> pd.DataFrame:
    """Return one row for each site: its place, and the statistics of its posterior."""
    sampled = (summary["reason"] == SiteReason.SAMPLED).to_numpy()

    # An undefined statistic of one parameter makes that of the site undefined, so that it fails.
    def over(name: str, how: str, dim: str = "parameter") -> np.ndarray:
        values = getattr(summary[name], how)(dim, skipna=False).to_numpy()
        return np.where(sampled, values, np.nan)

    def of_site(name: str) -> np.ndarray:
        return summary[name].to_numpy() if name in summary else np.full(len(sampled), np.nan)

    return pd.DataFrame(
        {
            "site": pd.Index(summary["site"].to_numpy().astype(str)),
            "latitude": summary["latitude"].to_numpy(),
            "longitude": summary["longitude"].to_numpy(),
            "band": bands(summary["latitude"].to_numpy()),
            "n_layers": summary["n_layers"].to_numpy(),
            "reason": [SiteReason(int(r)).words for r in summary["reason"].to_numpy()],
            "gelman_rubin": over("gelman_rubin", "mean"),
            "rank_rhat": over("rank_rhat", "max"),
            "ess_bulk": over("ess_bulk", "min"),
            "ess_tail": over("ess_tail", "min"),
            "acceptance": over("acceptance", "mean", "chain"),
            "nash_sutcliffe": of_site("nash_sutcliffe"),
            "rmse": of_site("rmse"),
            "pareto_k": of_site("pareto_k"),
            "elpd_loo": of_site("elpd_loo"),
            "information_gain": over("information_gain", "mean"),
        }
    )


def _check_summary(summary: xr.Dataset) -> None:
    """Refuse a summary without the variables of an assessment, or with duplicated sites."""
    if lacking := [n for n in NEEDED if n not in summary.variables]:
        raise AssimilationError(
            f"The summary of the run lacks {', '.join(lacking)}; it may have been written by "
            "another version."
        )
    names = pd.Index(summary["site"].to_numpy().astype(str))
    lost = ~pd.Index(summary["row_site"].to_numpy().astype(str)).isin(names)
    if names.has_duplicates or lost.any():
        first = [*names[names.duplicated()], *summary["row_site"].to_numpy()[lost]][0]
        raise AssimilationError(
            f"{first}: the summary of the run contains this site twice, or only its layers. "
            "Start a new run."
        )


def passing(assessment: Assessment) -> pd.DataFrame:
    """Return which limits each site meets, each limit by itself.

    Returns
    -------
    (site) of bool: `sampled`, then one column per limit, with a name such as "NSE > 0", then
    `kept`.
    """
    sites, limits = assessment.sites, assessment.limits
    ess = sites[["ess_bulk", "ess_tail"]].min(axis=1, skipna=False)
    table = {
        "sampled": assessment.sampled,
        f"GR < {limits.max_gelman_rubin:g}": sites["gelman_rubin"] < limits.max_gelman_rubin,
        f"NSE > {limits.min_nash_sutcliffe:g}": sites["nash_sutcliffe"] > limits.min_nash_sutcliffe,
    }
    if limits.max_rank_rhat is not None:
        table[f"R-hat < {limits.max_rank_rhat:g}"] = sites["rank_rhat"] < limits.max_rank_rhat
    if limits.min_ess is not None:
        table[f"ESS >= {limits.min_ess:g}"] = ess >= limits.min_ess
    return pd.DataFrame({**table, "kept": sites["kept"]})


def by_band(assessment: Assessment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return shares and medians by band of latitude (those with sites), and of all sites.

    Returns
    -------
    shares
        `sites` (their number), then the share of them in each column of :func:`passing`.
    medians
        Over sites with a posterior: `ess` (smallest over parameters, bulk and tail), `rank_rhat`
        (largest over parameters), `nash_sutcliffe`, `acceptance`; and the share of sites with
        `pareto_k` above 0.7 (NaN where the likelihood is not a density).
    """
    sites, flags = assessment.sites, passing(assessment)
    ess = sites[["ess_bulk", "ess_tail"]].min(axis=1, skipna=False)
    numbers = sites.assign(ess=ess)[assessment.sampled]
    present = [name for name, _ in BANDS if (sites["band"] == name).any()]
    groups = {
        **{name: (sites["band"] == name).to_numpy() for name in present},
        "all": np.ones(len(sites), dtype=bool),
    }
    shares, medians = {}, {}
    for name, inside in groups.items():
        shares[name] = {"sites": int(inside.sum()), **flags[inside].mean()}
        here = numbers[inside[assessment.sampled]]
        pareto_k = here["pareto_k"].dropna()
        medians[name] = {
            **here[["ess", "rank_rhat", "nash_sutcliffe", "acceptance"]].median(),
            "pareto_k": (pareto_k > MAX_PARETO_K).mean() if len(pareto_k) else np.nan,
        }
    return pd.DataFrame(shares).T, pd.DataFrame(medians).T


def counts(assessment: Assessment) -> dict[str, int]:
    """Return how many sites are kept, and the number of others by their first reason.

    Sites without posterior are counted by the sampler's own reason.
    """
    sites = assessment.sites
    lost = SiteVerdict.NO_POSTERIOR.words
    label = sites["verdict"].where(sites["verdict"] != lost, f"{lost}: " + sites["reason"])
    order = [
        SiteVerdict.KEPT.words,
        *(v.words for v in SiteVerdict if v > SiteVerdict.NO_POSTERIOR),
        *(f"{lost}: {r.words}" for r in SiteReason if r != SiteReason.SAMPLED),
    ]
    sites_by_label = label.value_counts()
    return {name: int(sites_by_label[name]) for name in order if name in sites_by_label}


def parameter_ranking(assessment: Assessment) -> pd.DataFrame:
    """Return the information that profiles contain on each parameter, in descending order.

    Returns
    -------
    By parameter, medians over the sites with a posterior: `information_gain` (bit),
    `spread_reduction`, `rank_rhat`; and unit and component.
    """
    summary = assessment.summary
    names = ["information_gain", "spread_reduction", "rank_rhat"]
    medians = {n: summary[n].isel(site=assessment.sampled).median("site").to_numpy() for n in names}
    table = pd.DataFrame(
        {**medians, **{n: summary[n].to_numpy().astype(str) for n in ("unit", "component")}},
        index=pd.Index(summary["parameter"].to_numpy().astype(str), name="parameter"),
    )
    return table.sort_values("information_gain", ascending=False, kind="stable")


def kept_posterior(assessment: Assessment) -> xr.Dataset:
    """Return the posteriors of the kept sites, for training networks.

    Parameters of the likelihood (`error_sd`) are left out, because they are not properties of the
    soil.

    Returns
    -------
    `posterior_mean` and `posterior_sd` (site, parameter) in physical units, with the coordinates
    and attributes that :func:`proda.learning.targets.targets` needs, and the limits applied.

    Raises
    ------
    AssimilationError
        If no site is kept.
    """
    if not assessment.kept.any():
        raise AssimilationError(
            f"None of the {len(assessment.sites)} sites is kept, so there is nothing to train "
            f"on ({', '.join(f'{n} {why}' for why, n in counts(assessment).items())}). Run "
            "longer chains, or relax the limits."
        )
    summary = assessment.summary
    own = (summary["component"] != "error").to_numpy()
    kept = summary[["posterior_mean", "posterior_sd"]].isel(site=assessment.kept, parameter=own)
    kept = kept[["posterior_mean", "posterior_sd"]].transpose("site", "parameter")
    limits = {k: v for k, v in asdict(assessment.limits).items() if v is not None}
    names = (
        "model",
        "variant",
        *ORIGIN,
        "proda_version",
        "settings",
        "forcing",
        "profiles",
        "is_posterior",
    )
    return kept.assign_attrs(
        {n: summary.attrs[n] for n in names if n in summary.attrs}
        | limits
        | {"title": f"{assessment.kept.sum()} of {len(assessment.sites)} sites that pass"}
    )
