"""Which of several models the data prefer: one table for evidence at sites and held-out places.

All models are compared on the same data: sites at which every model was assimilated and passed the
filter, and layers that were held out from the networks of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from proda.comparison.model_files import OpenedModel
from proda.comparison.preference import ALL, climate_of, kept_sites, not_comparable
from proda.comparison.stacking import groups_of_blocks, jackknife_error, stacking_weights
from proda.inference.assessment import MAX_PARETO_K
from proda.latitude import BANDS
from proda.learning.carbon import DEPTHS
from proda.learning.splits import blocks

LOG_EVIDENCE, PSIS_LOO = "log evidence", "PSIS-LOO"
BLOCK = 5.0
"""Edge of the blocks, degrees; sites of one block count as one in standard errors."""
FEWEST = 10
"""Minimum number of sites of a zone for stacking weights."""

EVIDENCE_COLUMNS = (
    "measure",
    "model",
    "grouping",
    "zone",
    "sites",
    "total",
    "mean",
    "difference",
    "standard_error",
    "behind_best_of_site",
    "share_preferred",
    "sampling_error",
    "left_out",
    "reason",
)
STACKING_COLUMNS = (
    "measure",
    "grouping",
    "zone",
    "model",
    "sites",
    "weight",
    "standard_error",
    "gain_over_best_model",
)


@dataclass(frozen=True, eq=False)
class Scores:
    """Log densities of the same data by every model."""

    measure: str
    models: tuple[str, ...]
    density: Float[np.ndarray, "point model"]
    site: np.ndarray
    """Name of each datum's site, (point,)."""
    groups: pd.DataFrame
    """Zone of each datum, one column per way to group them."""
    block: Int[np.ndarray, " point"]
    """Data of one block are not independent."""
    variance: Float[np.ndarray, "point model"] | None = None
    """Variance of `density` from the sampler."""
    left_out: int = 0
    """Common sites without a reliable value for some model."""

    def select(self, which: np.ndarray) -> Scores:
        """Return some of the data."""
        return Scores(
            self.measure,
            self.models,
            self.density[which],
            self.site[which],
            self.groups[which].reset_index(drop=True),
            self.block[which],
            None if self.variance is None else self.variance[which],
            self.left_out,
        )

    def zones(self) -> Iterator[tuple[str, str, Scores]]:
        """Yield all data, then those of every zone of every grouping, with their names."""
        yield ALL, ALL, self
        for grouping in self.groups:
            names = self.groups[grouping].fillna("unknown").to_numpy().astype(str)
            known = [name for name, *_ in (*BANDS, *DEPTHS) if name in names]
            for zone in known or sorted(set(names)):
                yield str(grouping), zone, self.select(names == zone)

    @property
    def point_weight(self) -> Float[np.ndarray, " point"]:
        """One over the number of data of the site, so that every site has the same weight."""
        _, own, count = np.unique(self.site, return_inverse=True, return_counts=True)
        return np.asarray(1.0 / count[own])

    def by_site(self) -> tuple[Float[np.ndarray, "site model"], Int[np.ndarray, " site"]]:
        """Return the mean of each site's data, and its block."""
        _, first, own = np.unique(self.site, return_index=True, return_inverse=True)
        weight = self.point_weight
        means = [np.bincount(own, weight * column) for column in self.density.T]
        return np.stack(means, axis=1), self.block[first]


@dataclass(frozen=True, eq=False)
class Choice:
    """The scores, and the reasons by measure why models were excluded."""

    scores: tuple[Scores, ...] = ()
    reasons: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(measure, model) -> reason."""


def joined(*choices: Choice) -> Choice:
    """Return several choices as one."""
    reasons = {key: why for choice in choices for key, why in choice.reasons.items()}
    return Choice(tuple(scores for choice in choices for scores in choice.scores), reasons)


def comparable_models(models: Mapping[str, OpenedModel]) -> tuple[list[str], dict[str, str]]:
    """Return the models with comparable evidence, and the reasons for excluding the others.

    Of several groups with different settings, the largest is used (the first of equal ones).
    """
    with_summary = [n for n, m in models.items() if m.summary is not None]
    reasons = {
        n: f"no summary of the assimilation of {n} was given"
        for n in models
        if n not in with_summary
    }
    like = {
        n: [m for m in with_summary if not not_comparable(models[n], models[m])]
        for n in with_summary
    }
    chosen = max(like.values(), key=len, default=[])
    for name in with_summary:
        if name not in chosen:
            other = chosen[0] if chosen else name
            reasons[name] = not_comparable(models[other], models[name])
    return chosen, reasons


def site_scores(models: Mapping[str, OpenedModel], covariates: pd.DataFrame | None) -> Choice:
    """Return log evidence and PSIS-LOO at sites that passed the filter for every model.

    Parameters
    ----------
    models
        Only models with a summary are used. Without a table of `proda diagnose`, all sampled sites
        pass.
    covariates
        `site` and `koppen_class`, to group sites by climate; None: by latitude only.
    """
    names, reasons = comparable_models(models)
    missing = {
        (measure, n): why for n, why in reasons.items() for measure in (LOG_EVIDENCE, PSIS_LOO)
    }
    if len(names) < 2:
        alone = "no other model was assimilated with the same likelihood and data"
        missing |= {(m, n): alone for n in names for m in (LOG_EVIDENCE, PSIS_LOO)}
        return Choice((), missing)
    summaries = common_summaries(models, names)
    scores = []
    for measure, variable in ((LOG_EVIDENCE, "log_evidence"), (PSIS_LOO, "elpd_loo")):
        if lacking := [n for n in names if variable not in summaries[n]]:
            missing |= {
                (measure, n): f"the summary of {lacking[0]} has no {variable}" for n in names
            }
            continue
        one = _scores_of(measure, variable, summaries, covariates)
        if len(one.density):
            scores.append(one)
        else:
            lost = f"; {one.left_out:,} had no trustworthy number" if one.left_out else ""
            why = f"no site passed for every model{lost}"
            missing |= {(measure, n): why for n in names}
    return Choice(tuple(scores), missing)


def common_summaries(
    models: Mapping[str, OpenedModel], names: Sequence[str]
) -> dict[str, xr.Dataset]:
    """Return the summaries at sites kept for every model, with the same number of layers."""
    common: pd.Index | None = None
    for name in names:
        own = pd.Index(kept_sites(models[name]))
        common = own if common is None else common.intersection(own, sort=False)
    assert common is not None
    summaries = {}
    for name in names:
        summary = models[name].summary
        assert summary is not None
        summaries[name] = summary.sel(site=list(common))
    counts = [summaries[n]["n_layers"].to_numpy() for n in names if "n_layers" in summaries[n]]
    same = np.ones(len(common), bool)
    for count in counts:
        same &= count == counts[0]
    return {name: summary.isel(site=same) for name, summary in summaries.items()}


def _scores_of(
    measure: str,
    variable: str,
    summaries: Mapping[str, xr.Dataset],
    covariates: pd.DataFrame | None,
) -> Scores:
    values, variances = [], []
    for summary in summaries.values():
        data = summary[variable]
        if "chain" in data.dims:
            n = data.sizes["chain"]
            spread = data.var("chain", ddof=1) / n if n > 1 else data.isel(chain=0) * np.nan
            variances.append(spread.to_numpy())
            data = data.mean("chain")
        values.append(data.to_numpy().astype(np.float64))
    table = np.stack(values, axis=1)
    fine = np.isfinite(table).all(axis=1)
    if measure == PSIS_LOO:
        for summary in summaries.values():
            if "pareto_k" in summary:
                fine &= summary["pareto_k"].to_numpy() <= MAX_PARETO_K
    first = next(iter(summaries.values())).isel(site=fine)
    return Scores(
        measure,
        tuple(summaries),
        table[fine],
        first["site"].to_numpy().astype(str),
        climate_of(first, covariates).reset_index(drop=True),
        blocks_of(first["latitude"].to_numpy(), first["longitude"].to_numpy()),
        np.stack(variances, axis=1)[fine] if variances else None,
        int((~fine).sum()),
    )


def blocks_of(
    latitude: Float[np.ndarray, " point"], longitude: Float[np.ndarray, " point"]
) -> Int[np.ndarray, " point"]:
    """Return the block of the map of each place; a place without coordinates has its own block."""
    known = np.isfinite(latitude) & np.isfinite(longitude)
    block = -1 - np.arange(len(latitude))
    if known.any():
        block[known] = blocks(latitude[known], longitude[known], BLOCK)
    return block


def evidence_table(choice: Choice) -> pd.DataFrame:
    """Return the preference of the data for each model, for all sites and by zone.

    Returns
    -------
    pandas.DataFrame
        One row per `measure`, `grouping`, `zone` and `model`, log densities in natural logarithms:
        `sites`; `total` over them and `mean` per site; `difference` of that mean to the model with
        the highest (0 for that one), with its `standard_error` between blocks of 5 degrees;
        `behind_best_of_site`, the mean difference to the model that is best at each site;
        `share_preferred`, share of sites where the model is best (equal models share a site);
        `sampling_error`, the standard error of `total` from the spread of the chains; `left_out`,
        common sites without a reliable value. A model that cannot be compared has one row without
        sites and with the `reason`.
    """
    rows = []
    for scores in choice.scores:
        for grouping, zone, here in scores.zones():
            rows += [
                {"measure": scores.measure, "grouping": grouping, "zone": zone, **row}
                for row in _judged(here)
            ]
    for (measure, model), why in choice.reasons.items():
        rows.append(
            {
                "measure": measure,
                "model": model,
                "grouping": ALL,
                "zone": ALL,
                "sites": 0,
                "reason": why,
            }
        )
    return pd.DataFrame(rows, columns=list(EVIDENCE_COLUMNS))


def _judged(scores: Scores) -> Iterator[dict[str, object]]:
    values, block = scores.by_site()
    n, mean = len(values), values.mean(axis=0)
    best = int(np.argmax(mean))
    top = values.max(axis=1, keepdims=True)
    wins = values == top
    share = (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0)
    behind = (values - top).mean(axis=0)
    sampling = (
        np.sqrt(scores.variance.sum(axis=0))
        if scores.variance is not None
        else np.full(len(mean), np.nan)
    )
    for k, model in enumerate(scores.models):
        away = values[:, k] - values[:, best]
        yield {
            "model": model,
            "sites": n,
            "total": n * mean[k],
            "mean": mean[k],
            "difference": away.mean(),
            "standard_error": block_error(away, block),
            "behind_best_of_site": behind[k],
            "share_preferred": share[k],
            "sampling_error": sampling[k],
            "left_out": scores.left_out,
            "reason": "",
        }


def block_error(values: Float[np.ndarray, " site"], block: Int[np.ndarray, " site"]) -> float:
    """Return the standard error of a mean whose data are independent between blocks only.

    If every site has its own block, it is the usual one, sd / sqrt(n); NaN for one block.
    """
    _, own = np.unique(block, return_inverse=True)
    sums = np.bincount(own, values - values.mean())
    k = len(sums)
    if k < 2:
        return float("nan")
    return float(np.sqrt((sums**2).sum() * k / (k - 1.0)) / len(values))


def stacking_table(choice: Choice) -> pd.DataFrame:
    """Return the weights of the models in the mixture with the best predictions, by zone.

    Returns
    -------
    pandas.DataFrame
        One row per `measure`, `grouping`, `zone` and `model`: `sites`, `weight` (those of one zone
        have the sum 1), its `standard_error` (jackknife over ten groups of blocks of 5 degrees) and
        `gain_over_best_model`, the mean log density of the mixture minus that of the best single
        model. Zones with fewer than ten sites have no weights. For log evidence and PSIS-LOO a
        datum is a site, and the weights are shares of sites (one model generates a whole site); at
        held-out places it is a layer, with the same weight for every site.
    """
    rows = []
    for scores in choice.scores:
        for grouping, zone, here in scores.zones():
            sites = len(np.unique(here.site))
            if grouping != ALL and sites < FEWEST:
                continue
            for model, row in _stacked(here).items():
                rows.append(
                    {
                        "measure": scores.measure,
                        "grouping": grouping,
                        "zone": zone,
                        "model": model,
                        "sites": sites,
                        **row,
                    }
                )
    return pd.DataFrame(rows, columns=list(STACKING_COLUMNS))


def _stacked(scores: Scores) -> dict[str, dict[str, float]]:
    weight = scores.point_weight

    def weights(use: np.ndarray) -> np.ndarray:
        return stacking_weights(scores.density[use], weight[use])

    stacked = weights(np.ones(len(weight), bool))
    error = jackknife_error(weights, groups_of_blocks(scores.block))
    top = scores.density.max(axis=1)
    mixed = top + np.log(np.exp(scores.density - top[:, None]) @ stacked)
    alone = np.average(scores.density, axis=0, weights=weight).max()
    gain = float(np.average(mixed, weights=weight) - alone)
    return {
        model: {"weight": float(w), "standard_error": float(e), "gain_over_best_model": gain}
        for model, w, e in zip(scores.models, stacked, error, strict=True)
    }
