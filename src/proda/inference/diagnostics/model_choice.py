"""Which model better predicts new observations.

All measures use the log-likelihood of each observation under each posterior draw. In all functions,
`mask` marks which entries of (..., observation) are observations; the others have no influence. All
results are sums over the observations of a site, on the log scale (nats); higher is better.

To compare two models take the difference of their `pointwise`, which pairs the observations: its
standard error is far smaller than that of either sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from proda.errors import DiagnosticsError
from proda.inference.diagnostics.pareto import smooth, tail_size

BLOCK = 1 << 19
"""Log-likelihoods processed at a time (4 MB)."""
MIN_SAMPLES = 25
"""Fewer samples give less than five weights in the tail, too few for a Pareto distribution."""


@dataclass(frozen=True)
class Waic:
    """Widely applicable information criterion; NaN as described in :func:`waic`."""

    elpd: np.ndarray
    """Expected log predictive density of new observations, (...)."""
    p_waic: np.ndarray
    """Effective number of parameters, (...)."""
    se: np.ndarray
    """Standard error of `elpd` over observations, (...); NaN for fewer than two."""
    pointwise: np.ndarray
    """Each observation's part of `elpd`, (..., observation); NaN at padding."""


@dataclass(frozen=True)
class Loo:
    """Leave-one-out cross-validation; NaN as described in :func:`psis_loo`."""

    elpd: np.ndarray
    """Expected log predictive density of held-out observations, (...)."""
    p_loo: np.ndarray
    """Effective number of parameters, (...)."""
    se: np.ndarray
    """Standard error of `elpd` over observations, (...); NaN for fewer than two."""
    pareto_k: np.ndarray
    """Largest Pareto k over observations, (...): above 0.7 `elpd` is unreliable."""
    pointwise: np.ndarray
    """Each observation's part of `elpd`, (..., observation); NaN at padding."""


def waic(log_likelihood: ArrayLike, mask: ArrayLike) -> Waic:
    """Return the widely applicable information criterion per site (Watanabe 2010).

    elpd = sum over observations of log(mean likelihood) - variance(log-likelihood), the latter
    being p_waic (Gelman, Hwang and Vehtari 2014, Eq 11 and 13). se = sqrt(n variance(pointwise)),
    the variance with divisor n, as in ArviZ.

    Parameters
    ----------
    log_likelihood
        (..., sample, observation): chains and draws as one dimension.
    mask
        (..., observation).

    Returns
    -------
    Per site; NaN without observations, or where a log-likelihood is not finite.

    Raises
    ------
    DiagnosticsError
        If shapes do not match, or there are fewer than 2 samples.
    """
    series, used = _series(log_likelihood, mask, minimum=2)
    density, p = (np.full(len(series), np.nan) for _ in range(2))
    for rows in _sound_parts(series):
        density[rows] = _log_mean(series[rows])
        p[rows] = series[rows].var(axis=1, ddof=1)
    pointwise, per_observation = _unfold(density - p, used), _unfold(p, used)
    elpd, se = _total(pointwise, used)
    return Waic(elpd, _total(per_observation, used)[0], se, pointwise)


def psis_loo(
    log_likelihood: ArrayLike, mask: ArrayLike, relative_efficiency: ArrayLike = 1.0
) -> Loo:
    """Return leave-one-out cross-validation per site by Pareto-smoothed importance sampling.

    Vehtari, Gelman and Gabry (2017, Statistics and Computing 27, 1413-1432), with the smoothing of
    Vehtari et al. (2024). Standard error as in :func:`waic`.

    Parameters
    ----------
    log_likelihood
        (..., sample, observation): chains and draws as one dimension.
    mask
        (..., observation).
    relative_efficiency
        Effective over actual number of samples, one number or one per site (...): autocorrelated
        samples get a longer tail. Must be above 0.

    Returns
    -------
    Per site; NaN without observations, or where a log-likelihood is not finite. `pareto_k` is
    infinite, and the weights are not smoothed, where no tail can be fitted because its weights are
    equal (a constant chain) or too small for float64.

    Raises
    ------
    DiagnosticsError
        If shapes do not match, there are fewer than 25 samples, or an efficiency is not above 0.
    """
    series, used = _series(log_likelihood, mask, minimum=MIN_SAMPLES)
    efficiency = np.asarray(relative_efficiency, dtype=float)
    if efficiency.shape not in ((), used.shape[:-1]):
        raise DiagnosticsError(
            f"relative_efficiency has the shape {efficiency.shape}; give one number, or one per "
            f"site {used.shape[:-1]}"
        )
    if not (efficiency > 0.0).all():
        raise DiagnosticsError(
            "relative_efficiency must be above 0 at every site; it is the effective over the "
            "actual number of samples. Where it is unknown use 1, or leave the site out"
        )
    per_row = np.broadcast_to(efficiency[..., None], used.shape)[used]
    n_tail = tail_size(series.shape[1], per_row)

    density, elpd_i, k = (np.full(len(series), np.nan) for _ in range(3))
    for rows in _sound_parts(series):
        # The weights are 1/likelihood, so that sorting orders both and there is no need to know
        # which draw is which.
        ordered = -np.sort(series[rows], axis=1)[:, ::-1]
        smoothed, k[rows] = smooth(ordered - ordered[:, -1:], n_tail[rows])
        elpd_i[rows] = logsumexp(smoothed - ordered, axis=1) - logsumexp(smoothed, axis=1)
        density[rows] = _log_mean(series[rows])
    pointwise, per_observation = _unfold(elpd_i, used), _unfold(density - elpd_i, used)
    elpd, se = _total(pointwise, used)
    worst = np.max(np.where(used, _unfold(k, used), -np.inf), axis=-1, initial=-np.inf)
    largest = np.where(np.isnan(elpd), np.nan, worst)
    return Loo(elpd, _total(per_observation, used)[0], se, largest, pointwise)


def _series(
    log_likelihood: ArrayLike, mask: ArrayLike, minimum: int
) -> tuple[np.ndarray, np.ndarray]:
    """Check shapes and return the observations' log-likelihoods, (observed, sample), and mask."""
    values, used = np.asarray(log_likelihood, dtype=float), np.asarray(mask, dtype=bool)
    if values.ndim < 2 or used.shape != (*values.shape[:-2], values.shape[-1]):
        raise DiagnosticsError(
            f"log_likelihood has the shape {values.shape} and mask {used.shape}; they must be "
            "(..., sample, observation) and (..., observation)"
        )
    if values.shape[-2] < minimum:
        raise DiagnosticsError(
            f"log_likelihood has {values.shape[-2]} samples; at least {minimum} are needed"
        )
    return np.moveaxis(values, -2, -1)[used], used


def _sound_parts(series: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the row numbers of finite series, block by block."""
    step = max(1, BLOCK // series.shape[1])
    for start in range(0, len(series), step):
        rows = start + np.flatnonzero(np.isfinite(series[start : start + step]).all(axis=1))
        if rows.size:
            yield rows


def _log_mean(series: np.ndarray) -> np.ndarray:
    return np.asarray(logsumexp(series, axis=1)) - np.log(series.shape[1])


def _unfold(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    out = np.full(used.shape, np.nan)
    out[used] = values
    return out


def _total(pointwise: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum over a site's observations, and its standard error."""
    n = used.sum(axis=-1)
    total = np.where(n > 0, np.where(used, pointwise, 0.0).sum(axis=-1), np.nan)
    mean = total / np.maximum(n, 1)
    squares = np.where(used, (pointwise - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    return total, np.where(n > 1, np.sqrt(squares), np.nan)
