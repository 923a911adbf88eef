"""The fit of a model to the observations.

In all functions, `mask` marks which entries of (..., observation) are observations; the others are
padding and have no influence. A site with an observation or modelled value that is not finite gets
NaN. Units are those of the observations, unless a result is unitless.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from proda.errors import DiagnosticsError


def nash_sutcliffe(modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike) -> np.ndarray:
    """Return the modelling efficiency of Nash and Sutcliffe per site (P-Eq 1).

    1 - sum (observed - modelled)^2 / sum (observed - mean observed)^2: 1 is a perfect fit, 0 is the
    fit of the mean of the observations.

    Parameters
    ----------
    modelled, observed, mask
        (..., observation).

    Returns
    -------
    Unitless, (...). NaN at sites with fewer than 2 observations, or with equal ones.

    Raises
    ------
    DiagnosticsError
        If the shapes do not match.
    """
    m, o, used = _aligned(modelled, observed, mask)
    n = used.sum(axis=-1)
    mean = _divide(o.sum(axis=-1), n)
    squares = np.where(used, (o - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    # By minimum and maximum: squared differences of equal numbers from their mean may differ from
    # 0.
    lowest = np.min(o, axis=-1, where=used, initial=np.inf)
    highest = np.max(o, axis=-1, where=used, initial=-np.inf)
    varies = (n >= 2) & ~(highest <= lowest)
    return 1.0 - _divide(((o - m) ** 2).sum(axis=-1), np.where(varies, squares, 0.0))


def rmse(modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike) -> np.ndarray:
    """Return the root of the mean squared difference per site.

    Parameters
    ----------
    modelled, observed, mask
        (..., observation).

    Returns
    -------
    In the unit of the observations, (...); NaN at sites without observations.

    Raises
    ------
    DiagnosticsError
        If the shapes do not match.
    """
    m, o, used = _aligned(modelled, observed, mask)
    return np.sqrt(_divide(((m - o) ** 2).sum(axis=-1), used.sum(axis=-1)))


def bias(modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike) -> np.ndarray:
    """Return the mean of modelled minus observed per site: positive where the model has too much.

    Parameters
    ----------
    modelled, observed, mask
        (..., observation).

    Returns
    -------
    In the unit of the observations, (...); NaN at sites without observations.

    Raises
    ------
    DiagnosticsError
        If the shapes do not match.
    """
    m, o, used = _aligned(modelled, observed, mask)
    return _divide((m - o).sum(axis=-1), used.sum(axis=-1))


def log_r2(modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike) -> float:
    """Return the coefficient of determination of the logarithms, over all layers of all sites.

    1 - sum (log observed - log modelled)^2 / sum (log observed - mean)^2, with the mean over
    everything: unlike a squared correlation it also falls with bias. It is scale-free, so that
    peat does not outweigh all mineral soils.

    Parameters
    ----------
    modelled, observed, mask
        (..., observation).

    Returns
    -------
    Unitless; NaN for fewer than 2 observations, or equal ones.

    Raises
    ------
    DiagnosticsError
        If the shapes do not match, or a value is not above 0 (set the mask to False there).
    """
    m, o, used = _checked(modelled, observed, mask)
    for name, values in (("modelled", m), ("observed", o)):
        # "not above", so that NaN is caught too
        unfit = used & ~((values > 0.0) & np.isfinite(values))
        if unfit.any():
            first = tuple(int(i) for i in np.argwhere(unfit)[0])
            raise DiagnosticsError(
                f"{int(unfit.sum())} {name} values have no logarithm, the first at index {first} "
                f"({values[first]:g}); set mask to False where the model has no value"
            )
    log_m, log_o = np.log(m[used]), np.log(o[used])
    everything = np.ones(log_o.shape, dtype=bool)
    return float(nash_sutcliffe(log_m, log_o, everything))


def by_site(
    m: np.ndarray,
    o: np.ndarray,
    logs: tuple[np.ndarray, np.ndarray],
    own: np.ndarray,
    ok: np.ndarray,
    solved: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return NSE and RMSE of logarithms of each site, from one row per layer.

    Parameters
    ----------
    m, o, logs
        Modelled and measured carbon and their logarithms, (row,).
    own
        Position of each row's site.
    ok
        Rows with a modelled value; the others count as the worst.
    solved
        Sites with a modelled value, (site,).

    Returns
    -------
    nse
        Of the sites that can have one; -inf at a site without modelled values.
    rmse_log
        Of all sites; inf without modelled values.
    """
    n = len(solved)
    count = np.bincount(own, minlength=n)
    mean = np.bincount(own, o, n) / count
    about = np.bincount(own, (o - mean[own]) ** 2, n)
    lowest, highest = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(lowest, own, o)
    np.maximum.at(highest, own, o)
    varies = (count > 1) & (highest > lowest)
    off = np.bincount(own, np.where(ok, (o - m) ** 2, 0.0), n)
    nse = np.where(solved, 1.0 - off / np.where(varies, about, 1.0), -np.inf)[varies]
    squares = np.bincount(own, np.where(ok, (logs[0] - logs[1]) ** 2, 0.0), n)
    return nse, np.where(solved, np.sqrt(squares / count), np.inf)


def interval_coverage(
    modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike, level: float
) -> np.ndarray:
    """Return the share of a site's observations inside the central interval of the draws.

    With draws of the posterior predictive distribution (observation error included) the share
    over many sites, weighted by their numbers of observations, should be `level`. Draws of the
    modelled mean alone cover less.

    Parameters
    ----------
    modelled
        (..., sample, observation): chains and draws as one dimension.
    observed, mask
        (..., observation).
    level
        Probability of the interval, between 0 and 1.

    Returns
    -------
    Between 0 and 1, (...); NaN at sites without observations.

    Raises
    ------
    DiagnosticsError
        If the shapes do not match, or `level` is not a probability.
    """
    if not 0.0 < level < 1.0:
        raise DiagnosticsError(f"level is {level}; give a probability between 0 and 1, such as 0.9")
    draws = np.asarray(modelled, dtype=float)
    if draws.ndim < 2 or draws.shape[-2] == 0:
        raise DiagnosticsError(
            f"modelled draws have the shape {draws.shape}; they need (..., sample, observation)"
        )
    _, o, used = _aligned(draws[..., 0, :], observed, mask)
    draws = np.where(used[..., None, :], draws, 0.0)
    finite = np.isfinite(draws)
    draws = np.where(finite, draws, 0.0)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail], axis=-2)
    inside = used & (low <= o) & (o <= high)
    sound = (finite.all(axis=-2) & np.isfinite(o)).all(axis=-1)
    share = _divide(inside.sum(axis=-1), used.sum(axis=-1))
    return np.where(sound, share, np.nan)


def _aligned(
    modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Set padding to 0, and all values of a site to NaN where one is not finite."""
    m, o, used = _checked(modelled, observed, mask)
    unsound = (used & ~(np.isfinite(m) & np.isfinite(o))).any(axis=-1, keepdims=True)
    fill = np.where(unsound, np.nan, 0.0)
    # Such a site is NaN at its observations and in its padding.
    return np.where(used & ~unsound, m, fill), np.where(used & ~unsound, o, fill), used


def _checked(
    modelled: ArrayLike, observed: ArrayLike, mask: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m, o = np.asarray(modelled, dtype=float), np.asarray(observed, dtype=float)
    used = np.asarray(mask, dtype=bool)
    if not m.shape == o.shape == used.shape or o.ndim == 0:
        raise DiagnosticsError(
            f"modelled {m.shape}, observed {o.shape} and mask {used.shape} must have the same "
            "shape, (..., observation)"
        )
    return m, o, used


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0."""
    return numerator / np.where(denominator == 0, np.nan, denominator)
