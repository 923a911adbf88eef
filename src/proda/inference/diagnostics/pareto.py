"""Pareto smoothing of importance weights (Vehtari, Simpson, Gelman, Yao and Gabry 2024, JMLR 25).

Many sets of weights at once. The results equal those of ArviZ, which takes one set at a time.
BlackJAX's function is not used because it takes one set and one relative efficiency per
compilation, and smooths only where k > 1/3.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

PRIOR_B = 3.0
"""Scale of the prior of Zhang and Stephens (2009)."""
PRIOR_K, PRIOR_K_DRAWS = 0.5, 10
"""Mean of the weak prior for the shape k, and its weight as a number of draws."""
NEGLIGIBLE = 10 * np.finfo(float).eps


def tail_size(n_draws: int, relative_efficiency: np.ndarray) -> np.ndarray:
    """Return how many of the largest weights are smoothed.

    Parameters
    ----------
    n_draws
        Number of draws.
    relative_efficiency
        Effective over actual number of draws, any shape.

    Returns
    -------
    3 sqrt(n / efficiency), but at most a fifth of the draws (int), same shape.
    """
    many = n_draws * relative_efficiency > 225
    size = np.where(many, 3.0 * np.sqrt(n_draws / relative_efficiency), n_draws / 5)
    return np.floor(size).astype(np.intp)


def smooth(log_weights: np.ndarray, n_tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace the largest weights by the expected order statistics of a fitted Pareto tail.

    Parameters
    ----------
    log_weights
        (series, draw): finite, **in ascending order**, the largest 0.
    n_tail
        (series): the number of largest weights to smooth, at least 5 and below the number of draws.

    Returns
    -------
    Smoothed log weights in the same order, not normalised, none above 0; and the Pareto shape k
    (series). Where no tail can be fitted, because most of its weights are equal or too small for
    float64, the weights are returned unchanged and k is infinite.
    """
    n = log_weights.shape[1]
    widest = int(n_tail.max())
    # Tails are aligned at their largest weight; values before a shorter one do not belong to it.
    place = np.arange(n - widest, n) - (n - n_tail[:, None])
    inside = place >= 0
    tail = log_weights[:, n - widest :]
    cutoff = np.exp(np.take_along_axis(log_weights, n - n_tail[:, None] - 1, axis=1))
    excess = np.where(inside, np.exp(tail) - cutoff, 0.0)
    shape, scale = generalised_pareto(excess, n_tail)

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        probability = np.where(inside, (place + 0.5) / n_tail[:, None], 0.0)
        k = shape[:, None]
        exponential = -np.log1p(-probability)
        stretch = np.where(k == 0.0, exponential, np.expm1(k * exponential) / k)
        quantile = np.log(cutoff + scale[:, None] * stretch)
    fitted = np.isfinite(shape) & (scale > 0.0)
    fitted &= np.isfinite(np.where(inside, quantile, 0.0)).all(axis=1)
    smoothed = log_weights.copy()
    smoothed[:, n - widest :] = np.where(inside & fitted[:, None], np.minimum(quantile, 0.0), tail)
    return smoothed, np.where(fitted, shape, np.inf)


def generalised_pareto(excess: np.ndarray, n_tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit generalised Pareto distributions (Zhang and Stephens 2009, Technometrics 51, 316-325).

    Parameters
    ----------
    excess
        (series, draw): not negative, in ascending order, in front padded with zeros.
    n_tail
        (series): how many are data.

    Returns
    -------
    Shape k (positive: heavy tail), pulled towards 0.5 by a weak prior, and scale, each (series).
    NaN where a quarter of the data are 0.
    """
    width = excess.shape[1]
    n = n_tail[:, None]
    quarter = (n / 4 + 0.5).astype(np.intp) - 1
    quartile = np.take_along_axis(excess, width - n + quarter, axis=1)
    usable = quartile > 0.0
    n_grid = 30 + np.sqrt(n).astype(np.intp)
    j = np.arange(1, int(n_grid.max()) + 1)
    on_grid = j <= n_grid
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        b = (1.0 - np.sqrt(n_grid / (j - 0.5))) / (PRIOR_B * quartile) + 1.0 / excess[:, -1:]
        b = np.where(on_grid & usable, b, np.nan)
        # Padding adds log(1) = 0 to each sum, so that means over the data need no mask.
        k = np.log1p(-b[:, :, None] * excess[:, None, :]).sum(axis=2) / n
        profile = n * (np.log(-b / k) - k - 1.0)
        profile = np.where(on_grid, profile, -np.inf)
        weight = np.exp(profile - logsumexp(profile, axis=1, keepdims=True))
        weight = np.where(weight < NEGLIGIBLE, 0.0, weight)
        weight /= weight.sum(axis=1, keepdims=True)
        best = np.where(on_grid, b * weight, 0.0).sum(axis=1)
        shape = np.log1p(-best[:, None] * excess).sum(axis=1) / n_tail
        scale = -shape / best
    return (n_tail * shape + PRIOR_K * PRIOR_K_DRAWS) / (n_tail + PRIOR_K_DRAWS), scale
