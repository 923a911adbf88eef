"""The Gaussian likelihood behind a posterior under a uniform prior, from its mean and sd.

Such a posterior is a Gaussian truncated at the prior range. Its mean and sd are those of the member
of the exponential family exp(a t + b t^2) on that range that matches them, which Newton's method
finds (the problem is convex); the untruncated Gaussian has the precision -2 b.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

CLEAR = 6.0
"""A posterior this many sd from both ends of the range is not truncated at all."""

REACH = 12.0
"""The integral stops this many sd from the mean, or at the end of the prior range."""

LEAST = 0.05
"""A precision below this share of 1/sd^2 cannot be distinguished from a monotone posterior."""

STEPS = 30
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(80)
_CHUNK = 10_000


def untruncated(
    mean: Float[np.ndarray, " n"], sd: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return mean and precision of the Gaussian before truncation at 0 and 1.

    Parameters
    ----------
    mean, sd
        Of the posterior, as shares of the prior range; sd above 0.

    Returns
    -------
    location, precision, solved
        `solved` is False where no Gaussian fits: posteriors that rise all the way to an end of the
        range (as an exponential does) or are as wide as the prior.
    """
    location, precision = mean.copy(), 1.0 / sd**2
    solved = np.ones(mean.shape, bool)
    near = np.flatnonzero((mean < CLEAR * sd) | (1.0 - mean < CLEAR * sd))
    for start in range(0, near.size, _CHUNK):
        i = near[start : start + _CHUNK]
        a, b, converged = _match(mean[i], sd[i])
        good = converged & (-2.0 * b > LEAST)
        b = np.where(good, b, -0.5)
        location[i] = np.where(good, mean[i] - sd[i] * a / (2.0 * b), np.nan)
        precision[i] = np.where(good, -2.0 * b / sd[i] ** 2, np.nan)
        solved[i] = good
    return location, precision, solved


def _match(mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find a and b with E[t] = 0 and E[t^2] = 1 for t = (x - mean) / sd."""
    low = np.maximum(-mean / sd, -REACH)[:, None]
    high = np.minimum((1.0 - mean) / sd, REACH)[:, None]
    t = 0.5 * (high + low) + 0.5 * (high - low) * _NODES
    t2 = t**2
    a, b = np.zeros(mean.shape), np.full(mean.shape, -0.5)
    for _ in range(STEPS):
        exponent = a[:, None] * t + b[:, None] * t2
        p = _WEIGHTS * np.exp(exponent - exponent.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        m1, m2 = (p * t).sum(axis=1), (p * t2).sum(axis=1)
        off = np.maximum(np.abs(m1), np.abs(m2 - 1.0))
        if (off < 1e-6).all():
            break
        c11 = (p * t2).sum(axis=1) - m1**2
        c12 = (p * t * t2).sum(axis=1) - m1 * m2
        c22 = (p * t2**2).sum(axis=1) - m2**2
        det = np.maximum(c11 * c22 - c12**2, 1e-12)
        da = (c22 * -m1 - c12 * (1.0 - m2)) / det
        db = (c11 * (1.0 - m2) - c12 * -m1) / det
        damp = np.minimum(1.0, np.minimum(1.0 / (np.abs(da) + 1e-12), 0.5 / (np.abs(db) + 1e-12)))
        a, b = a + damp * da, b + damp * db
    return a, b, off < 1e-4
