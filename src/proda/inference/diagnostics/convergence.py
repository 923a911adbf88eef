"""Convergence of the chains, and their effective number of draws.

The rank-normalised statistics are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021,
Bayesian Analysis 16, 667-718), with the details (offsets, truncation, lower limit of the
autocorrelation time) of ArviZ, whose numbers they reproduce to rounding. ArviZ takes one series at
a time; here one call serves a block of sites. BlackJAX's functions also take many series, but they
are not used because their effective sizes differ (chains of 200 draws: bulk by up to 1 %, tails by
up to half where draws repeat, as in every Metropolis sampler), and for an odd number of draws they
drop the last one instead of the middle one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri

from proda.errors import DiagnosticsError
from proda.inference.diagnostics.ties import runs, tied

SERIES = 256
"""Series (one parameter at one site) processed at a time: a few MB, so that they stay in cache."""
MIN_DRAWS = 4
"""Draws per chain below which split statistics are undefined."""
TAILS = (0.05, 0.95)
"""Quantiles whose indicators `ess_tail` uses."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes varying, finite series (series, chain, draw) and returns one number per series, or several
of each: (number, series)."""


class Convergence(NamedTuple):
    """Statistics of parameters, (..., parameter)."""

    rank_rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def gelman_rubin(draws: ArrayLike) -> np.ndarray:
    """Return the potential scale reduction of Gelman and Rubin, from whole chains.

    sqrt(((n-1)/n W + B/n) / W), where n is the number of draws per chain, W the mean variance
    within chains and B/n the variance of the chains' means (Gelman et al. 2014, Bayesian Data
    Analysis, 3rd ed., Eq 11.4, there from half chains); the statistic of P-section 2.1.

    Parameters
    ----------
    draws
        (..., chain, draw, parameter), any unit.

    Returns
    -------
    Unitless, (..., parameter). NaN where a draw is not finite or all draws are equal, and for
    fewer than 2 chains or 2 draws; infinite where every chain is constant at a different value.

    Raises
    ------
    DiagnosticsError
        If `draws` has fewer than three dimensions.
    """
    return _each_series(draws, _scale_reduction, min_chains=2, min_draws=2)


def rank_rhat(draws: ArrayLike) -> np.ndarray:
    """Return the rank-normalised split R-hat (Vehtari et al. 2021).

    The larger one of the bulk and the folded statistic: chains that differ in location raise the
    first, chains that differ in spread the second. Where the folded draws are all equal (two
    values, equally often) it is the bulk statistic alone.

    Parameters
    ----------
    draws
        (..., chain, draw, parameter), any unit.

    Returns
    -------
    Unitless, (..., parameter). NaN where a draw is not finite or all draws are equal, and for
    fewer than 2 chains or 4 draws; infinite where every half chain is constant.

    Raises
    ------
    DiagnosticsError
        If `draws` has fewer than three dimensions.
    """

    def larger(series: np.ndarray) -> np.ndarray:
        halves = _split(series)
        return _larger_reduction(halves, _normal_scores(halves))

    return _each_series(draws, larger, min_chains=2, min_draws=MIN_DRAWS)


def ess_bulk(draws: ArrayLike) -> np.ndarray:
    """Return the effective number of draws in the bulk (Vehtari et al. 2021).

    Parameters
    ----------
    draws
        (..., chain, draw, parameter), any unit.

    Returns
    -------
    Number of independent draws with the same information on the centre of the distribution,
    (..., parameter). NaN where a draw is not finite and for fewer than 4 draws per chain; also
    where all draws are equal (ArviZ then returns their number, but a parameter that never moved
    has not been sampled).

    Raises
    ------
    DiagnosticsError
        If `draws` has fewer than three dimensions.
    """

    def bulk(series: np.ndarray) -> np.ndarray:
        return _bulk_size(_normal_scores(_split(series)))

    return _each_series(draws, bulk, min_chains=1, min_draws=MIN_DRAWS)


def by_ranks(draws: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return `rank_rhat` and `ess_bulk`, for which the draws are ranked once."""
    if np.shape(draws)[-3] < 2:
        return rank_rhat(draws), ess_bulk(draws)

    def both(series: np.ndarray) -> np.ndarray:
        halves = _split(series)
        scores = _normal_scores(halves)
        return np.stack([_larger_reduction(halves, scores), _bulk_size(scores)])

    rhat, size = _each_series(draws, both, min_chains=2, min_draws=MIN_DRAWS, numbers=2)
    return rhat, size


def convergence(draws: ArrayLike) -> Convergence:
    """Return the three statistics at once."""
    return Convergence(*by_ranks(draws), ess_tail(draws))


def ess_tail(draws: ArrayLike) -> np.ndarray:
    """Return the effective number of draws in the tails (Vehtari et al. 2021).

    The smaller one of the effective sizes of the indicators "at most the 5 % quantile" and "at most
    the 95 % quantile". An indicator that is the same for all draws (more than 5 % of them lie on
    the maximum) has, as in ArviZ, the number of draws, so that the other tail decides.

    Parameters
    ----------
    draws
        (..., chain, draw, parameter), any unit.

    Returns
    -------
    Number of draws, (..., parameter); NaN as in :func:`ess_bulk`.

    Raises
    ------
    DiagnosticsError
        If `draws` has fewer than three dimensions.
    """

    def tail(series: np.ndarray) -> np.ndarray:
        quantiles = np.quantile(series, TAILS, axis=(1, 2), keepdims=True)
        low, high = (_effective_size(_split((series <= q).astype(float))) for q in quantiles)
        return np.minimum(low, high)

    return _each_series(draws, tail, min_chains=1, min_draws=MIN_DRAWS)


def _each_series(
    draws: ArrayLike, statistic: Statistic, *, min_chains: int, min_draws: int, numbers: int = 0
) -> np.ndarray:
    """Apply a statistic to every series that is finite and varies, in blocks; NaN elsewhere.

    Of one with several `numbers`, these come first: (number, ..., parameter).
    """
    first = (numbers,) if numbers else ()
    values = np.asarray(draws)
    if values.ndim < 3:
        raise DiagnosticsError(
            f"draws have the shape {values.shape}; they need at least the three dimensions "
            "(chain, draw, parameter), in this order, last"
        )
    *leading, n_chains, n_draws, n_parameters = values.shape
    sites = values.reshape(-1, n_chains, n_draws, n_parameters)
    out = np.full((*first, len(sites), n_parameters), np.nan)
    if n_chains >= min_chains and n_draws >= min_draws:
        step = max(1, SERIES // max(1, n_parameters))
        for start in range(0, len(sites), step):
            block = np.moveaxis(sites[start : start + step], -1, 1)
            series = block.astype(float).reshape(-1, n_chains, n_draws)
            sound = np.isfinite(series).all(axis=(1, 2)) & ~_constant(series)
            found = np.full((*first, len(series)), np.nan)
            if sound.any():
                found[..., sound] = statistic(series[sound])
            out[..., start : start + step, :] = found.reshape(*first, -1, n_parameters)
    return out.reshape(*first, *leading, n_parameters)


def _constant(series: np.ndarray) -> np.ndarray:
    # By minimum and maximum: the variance of equal numbers may differ from 0 by rounding.
    return series.max(axis=(1, 2)) == series.min(axis=(1, 2))


def _split(series: np.ndarray) -> np.ndarray:
    """Halve every chain; the middle draw of an odd number is left out."""
    half = series.shape[-1] // 2
    return np.concatenate((series[..., :half], series[..., -half:]), axis=1)


def _normal_scores(series: np.ndarray) -> np.ndarray:
    """Replace draws by the normal quantiles of their ranks among all chains (Blom 1958)."""
    n = series[0].size
    flat = series.reshape(len(series), n)
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    # Average ranks are whole or half numbers: a table by twice the rank saves a quantile per draw.
    table = ndtri((np.arange(2 * n - 1) / 2 + 0.625) / (n + 0.25))
    by_rank = np.broadcast_to(table[::2], flat.shape)
    with_ties = tied(ordered)
    if with_ties.size:
        by_rank = by_rank.copy()
        by_rank[with_ties] = table[np.add(*runs(ordered[with_ties]))]
    scores = np.empty_like(flat)
    np.put_along_axis(scores, order, by_rank, axis=1)
    return scores.reshape(series.shape)


def _scale_reduction(series: np.ndarray) -> np.ndarray:
    n = series.shape[-1]
    still = series.max(axis=2) == series.min(axis=2)
    within = np.where(still, 0.0, series.var(axis=2, ddof=1)).mean(axis=1)
    between = series.mean(axis=2).var(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Also 0/0, of folded draws or halves that are all equal: NaN
        ratio = np.where(_constant(series), np.nan, between / within)
    return np.sqrt(ratio + (n - 1) / n)


def _larger_reduction(halves: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the larger scale reduction: that of the scores, or of those of the folded draws."""
    bulk = _scale_reduction(scores)
    centre = np.median(halves, axis=(1, 2), keepdims=True)
    folded = _scale_reduction(_normal_scores(np.abs(halves - centre)))
    return np.where(folded > bulk, folded, bulk)


def _bulk_size(scores: np.ndarray) -> np.ndarray:
    return np.where(_constant(scores), np.nan, _effective_size(scores))


def _autocovariance(series: np.ndarray) -> np.ndarray:
    """Return the autocovariance at each lag, averaged over chains (series, lag)."""
    n = series.shape[-1]
    length = next_fast_len(2 * n, real=True)
    spectrum = rfft(series - series.mean(axis=-1, keepdims=True), n=length, axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=1)
    return irfft(power, n=length, axis=-1)[:, :n] / n


def _effective_size(series: np.ndarray) -> np.ndarray:
    """Effective size by Geyer's initial monotone sequence; the full size of constant series."""
    n_chains, n = series.shape[1:]
    covariance = _autocovariance(series)
    variance = covariance[:, :1] * n / (n - 1)
    total = covariance[:, :1] + series.mean(axis=-1).var(axis=1, ddof=1)[:, None]
    constant = _constant(series)
    rho = 1.0 - (variance - covariance) / np.where(constant[:, None], 1.0, total)
    rho[:, 0] = 1.0

    # Sums of neighbours (lags 0+1, 2+3, ...) are positive in theory and end at the first that is
    # not; ArviZ stops at the last pair but one.
    last_pair = max(0, (n - 1) // 2 - 1)
    even = rho[:, 0 : 2 * last_pair + 1 : 2]
    pairs = even + rho[:, 1 : 2 * last_pair + 2 : 2]
    stops = pairs <= 0.0
    end = np.where(stops.any(axis=1), stops.argmax(axis=1), last_pair)
    before = np.arange(last_pair + 1) < end[:, None]
    initial = np.where(before, np.minimum.accumulate(pairs, axis=1), 0.0).sum(axis=1)
    rows = np.arange(len(series))
    edge = even[rows, end]
    edge = np.where((edge > 0.0) | (pairs[rows, end] >= 0.0), edge, 0.0)

    size = n_chains * n
    time = np.maximum(-1.0 + 2.0 * initial + edge, 1.0 / np.log10(size))
    return np.where(constant, float(size), size / time)
