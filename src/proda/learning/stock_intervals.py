"""Intervals of stocks over a depth, fitted to profiles whose layers cover all of it.

Errors of a profile's layers are correlated, so the interval of a stock does not follow from those
of its layers. It is fitted directly to measured and modelled stocks of held-out profiles.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.learning.conformal import (
    COVERED,
    STOCK_DEPTHS,
    STOCK_MINIMUM,
    Intervals,
    quantiles,
)


def mean_error(
    carbon: Float[np.ndarray, "... layer"], error: Float[np.ndarray, "... layer"]
) -> Float[np.ndarray, "..."]:
    """Return the mean error of ln carbon of layers, weighted by their carbon; NaN without any."""
    total = carbon.sum(axis=-1)
    weighted = np.where(carbon > 0, carbon * np.where(carbon > 0, error, 0.0), 0.0).sum(axis=-1)
    return np.asarray(np.divide(weighted, total, out=np.full(total.shape, np.nan), where=total > 0))


def fit_stock_intervals(
    intervals: Intervals,
    site: Int[np.ndarray, " row"],
    upper: Float[np.ndarray, " row"],
    lower: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    modelled: Float[np.ndarray, " row"],
    error: Float[np.ndarray, " row"],
    cold: Bool[np.ndarray, " site"],
) -> Intervals:
    """Add the quantiles of stocks to intervals of layers.

    Parameters
    ----------
    intervals
        Of the same method.
    site, upper, lower, observed, modelled
        Held-out layers: position of their site, depths (m), and carbon (kg m-3); modelled is NaN
        where there is no steady state.
    error
        Expected error of ln carbon of each layer (`Intervals.error`).
    cold
        Whether the soil of each site is cold.

    Notes
    -----
    A profile counts for a depth if its layers cover :data:`~proda.learning.conformal.COVERED` of it
    without overlap. With fewer than `STOCK_MINIMUM` such profiles in cold or in warm soil, the
    quantiles of all profiles are used.
    """
    low, high = (np.full((len(STOCK_DEPTHS), 2), np.nan) for _ in range(2))
    for i in range(len(STOCK_DEPTHS)):
        whole, score = stock_scores(i, site, upper, lower, observed, modelled, error, len(cold))
        for c in range(2):
            own = whole & (cold == bool(c))
            chosen = own if own.sum() >= STOCK_MINIMUM else whole
            low[i, c], high[i, c] = quantiles(score[chosen])
    return replace(intervals, stock_low=low, stock_high=high)


def stock_scores(
    stock: int,
    site: Int[np.ndarray, " row"],
    upper: Float[np.ndarray, " row"],
    lower: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    modelled: Float[np.ndarray, " row"],
    error: Float[np.ndarray, " row"],
    n_sites: int,
) -> tuple[Bool[np.ndarray, " site"], Float[np.ndarray, " site"]]:
    """Return which sites measure a stock, and (ln observed - ln modelled) / error of it.

    Parameters
    ----------
    stock
        Position in `STOCK_DEPTHS`; the others as in :func:`fit_stock_intervals`.
    """
    bottom = STOCK_DEPTHS[stock]
    thick = np.maximum(np.minimum(lower, bottom) - np.maximum(upper, 0.0), 0.0)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(site, np.where(thick > 0, values, 0.0) * thick, n_sites)

    covered = total(np.ones(len(site)))
    measured, model = total(observed), total(modelled)
    whole = (covered >= COVERED * bottom) & (covered <= 1.001 * bottom) & np.isfinite(model)
    expected = np.divide(
        total(np.where(modelled > 0, modelled * np.nan_to_num(error), 0.0)),
        model,
        out=np.full(n_sites, np.nan),
        where=whole & (model > 0),
    )
    score = np.full(n_sites, np.nan)
    some = whole & (model > 0)
    score[some] = np.log(measured[some] / model[some]) / expected[some]
    score[whole & ~some] = np.inf  # a stock of 0 lies outside any interval
    return whole, score
