"""Correlation and quantiles of values that count differently, such as cells by their land."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def correlation(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> float:
    """Return the weighted Pearson correlation; NaN for fewer than three or for constant values."""
    if len(x) < 3:
        return float("nan")
    dx, dy = (v - np.average(v, weights=weights) for v in (x, y))
    product = np.sqrt((weights * dx**2).sum() * (weights * dy**2).sum())
    return float((weights * dx * dy).sum() / product) if product > 0 else float("nan")


def unweighted_correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Return the Pearson correlation; NaN for fewer than three or for constant values."""
    if len(x) < 3 or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def quantile(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], q: float) -> float:
    """Return the smallest value that at least the share q of the weight does not exceed."""
    return float(quantiles(values, weights, [q])[0])


def quantiles(
    values: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    shares: Sequence[float],
) -> Float[np.ndarray, " share"]:
    """Return :func:`quantile` for several shares of the weight; the values are sorted once."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    found = np.searchsorted(reached, np.asarray(shares) * reached[-1] * (1 - 1e-12))
    return np.asarray(values[order[found]])


def correlation_of_columns(
    a: Float[np.ndarray, "row column"], b: Float[np.ndarray, "row column"]
) -> Float[np.ndarray, " column"]:
    """Return the Pearson correlation of each column, rows alike; NaN where one is constant."""
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    varies = (a.max(axis=0) > a.min(axis=0)) & (b.max(axis=0) > b.min(axis=0))
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return ratio((x * y).sum(axis=0), np.where(varies, scale, 0.0))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, with a ratio that is NaN, not infinite, where nothing varies."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
