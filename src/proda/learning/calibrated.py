"""Intervals of the carbon of measured layers by each method, fitted to held-out layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.learning.carbon_sites import CarbonSites
from proda.learning.conformal import STOCK_DEPTHS, Intervals, cold_soil, fit_intervals
from proda.learning.stock_intervals import fit_stock_intervals, stock_scores
from proda.learning.unseen import Answer, log_carbon


def with_interval(answer: Answer, intervals: Intervals, sites: CarbonSites) -> Answer:
    """Add the ends of the 90 % interval."""
    lower, upper = intervals.bounds(
        log_carbon(answer), answer.spread, _depth(sites), _cold(sites)[sites.layers.row_site]
    )
    return replace(answer, lower=lower, upper=upper)


def intervals_of(
    sites: CarbonSites,
    answers: Mapping[str, Answer],
    scale: Float[np.ndarray, " depth_class"],
    rows: Bool[np.ndarray, " row"] | None = None,
) -> dict[str, Intervals]:
    """Fit the intervals of layers and stocks of every method to held-out layers.

    Parameters
    ----------
    answers
        Carbon by methods that were not fitted to the site.
    scale
        Estimated error of ln carbon by class of depth.
    rows
        Layers to use; by default all that lie in the soil of the model.
    """
    use = sites.layers.used if rows is None else sites.layers.used & rows
    return {name: _fit(sites, answer, scale, use) for name, answer in answers.items()}


def crossed(
    sites: CarbonSites,
    answers: Mapping[str, Answer],
    fold: Int[np.ndarray, " site"],
    scale: Float[np.ndarray, " depth_class"],
) -> tuple[dict[str, Answer], dict[str, Any]]:
    """Give every layer the interval calibrated on the other folds.

    Returns
    -------
    answers
        With intervals.
    stocks
        method -> depth -> `sites` and `interval90`: number of held-out profiles that measure a
        stock, and the share of them inside its interval, which is calibrated on the other folds.
    """
    site, depth = sites.layers.row_site, _depth(sites)
    cold = _cold(sites)
    ends = {name: (np.full(len(site), np.nan), np.full(len(site), np.nan)) for name in answers}
    inside = {name: np.zeros((len(STOCK_DEPTHS), 2), int) for name in answers}
    for f in np.unique(fold):
        here = fold[site] == f
        for name, one in intervals_of(sites, answers, scale, ~here).items():
            answer = answers[name]
            lower, upper = one.bounds(
                log_carbon(answer)[here], answer.spread[here], depth[here], cold[site[here]]
            )
            ends[name][0][here], ends[name][1][here] = lower, upper
            inside[name] += _stocks_inside(sites, answer, one, here)
    stocks = {
        name: {
            f"0-{100 * d:.0f} cm": {"sites": int(n), "interval90": round(k / n, 4) if n else None}
            for d, (k, n) in zip(STOCK_DEPTHS, counts.tolist(), strict=True)
        }
        for name, counts in inside.items()
    }
    crossed_out = {
        name: replace(answer, lower=ends[name][0], upper=ends[name][1])
        for name, answer in answers.items()
    }
    return crossed_out, stocks


def _fit(sites: CarbonSites, answer: Answer, scale: np.ndarray, use: np.ndarray) -> Intervals:
    p, site, depth = sites.layers.profiles, sites.layers.row_site, _depth(sites)
    modelled = log_carbon(answer)
    # Layers without modelled carbon lie outside any interval; lost sites have no interval.
    empty = np.isnan(modelled) & answer.feasible[site]
    off = np.where(empty, np.inf, np.log(p.carbon) - modelled)
    cold = _cold(sites)
    one = fit_intervals(off[use], answer.spread[use], depth[use], cold[site[use]], scale)
    return fit_stock_intervals(
        one,
        site[use],
        p.upper[use],
        p.lower[use],
        p.carbon[use] / 1000.0,
        answer.carbon[use],
        one.error(answer.spread[use], depth[use]),
        cold,
    )


def _stocks_inside(
    sites: CarbonSites, answer: Answer, intervals: Intervals, rows: np.ndarray
) -> Int[np.ndarray, "stock 2"]:
    """Count the measured stocks inside their interval, and all measured stocks."""
    p, site, use = sites.layers.profiles, sites.layers.row_site, sites.layers.used & rows
    error, cold = intervals.error(answer.spread[use], _depth(sites)[use]), _cold(sites).astype(int)
    counts = np.zeros((len(STOCK_DEPTHS), 2), int)
    for i in range(len(STOCK_DEPTHS)):
        whole, score = stock_scores(
            i,
            site[use],
            p.upper[use],
            p.lower[use],
            p.carbon[use] / 1000.0,
            answer.carbon[use],
            error,
            len(sites),
        )
        low, high = intervals.stock_low[i][cold], intervals.stock_high[i][cold]
        counts[i] = (whole & (score >= low) & (score <= high)).sum(), whole.sum()
    return counts


def _depth(sites: CarbonSites) -> Float[np.ndarray, " row"]:
    p = sites.layers.profiles
    return 0.5 * (p.upper + p.lower)


def _cold(sites: CarbonSites) -> Bool[np.ndarray, " site"]:
    return cold_soil(sites.layers.forcing)
