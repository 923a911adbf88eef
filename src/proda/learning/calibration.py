"""Distance of the truth from the mean of the ensemble, estimated at held-out sites.

Members agree with each other more than with the truth, because they share sites, covariates and
structure. The error of the mean at a place is therefore assumed to be Gaussian with variance

    (a x spread)^2 + b^2

per parameter, in shares of the prior range. At a held-out site, the difference between the estimate
from its profile (error e, known) and the prediction then has the variance e^2 + (a x spread)^2 +
b^2; a and b are those that make the differences most likely. The known noise of the profiles is
thereby taken out: the interval is for the true parameter, not for another profile's estimate of it.

Weak priors decide where the sites do not: log a about 0 (sd 0.5), and for b a tenth of an imaginary
site whose difference is one prior sd. Without any information b becomes the sd of the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from proda.learning.targets import PRIOR_VARIANCE, Targets

LEVEL = 0.9
"""Probability of the intervals."""

IMAGINED = 0.1
"""Weight of the prior on b, in sites."""


@dataclass(frozen=True)
class Calibration:
    """Factor on the ensemble's spread and the error that all places share, per parameter."""

    factor: Float[np.ndarray, " parameter"]
    floor: Float[np.ndarray, " parameter"]

    def sd(self, spread: Float[np.ndarray, "... parameter"]) -> np.ndarray:
        """Sd of the truth about the ensemble's mean; shares of the prior range."""
        return np.sqrt((self.factor * spread) ** 2 + self.floor**2)


def fit_calibration(
    targets: Targets,
    predicted: Float[np.ndarray, "site parameter"],
    spread: Float[np.ndarray, "site parameter"],
) -> Calibration:
    """Fit a and b to predictions for sites left out; shares of the prior range."""
    pairs = []
    for k in range(len(targets.parameters)):
        use = targets.weight[:, k] > 0
        pairs.append(
            _fit(
                (targets.value[use, k] - predicted[use, k]) ** 2,
                targets.error[use, k] ** 2,
                spread[use, k] ** 2,
            )
        )
    return Calibration(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))


def _fit(square: np.ndarray, noise: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    def cost(x: np.ndarray) -> float:
        variance = noise + np.exp(2 * x[0]) * spread + np.exp(2 * x[1])
        data = 0.5 * np.sum(np.log(variance) + square / variance)
        floor = x[1] + 0.5 * PRIOR_VARIANCE * np.exp(-2 * x[1])
        prior = 0.5 * (x[0] / 0.5) ** 2 + IMAGINED * floor
        return float(data + prior)

    starts = [np.array([0.0, np.log(b)]) for b in (0.02, 0.1, np.sqrt(PRIOR_VARIANCE))]
    optimum = min((minimize(cost, x, method="Nelder-Mead") for x in starts), key=lambda r: r.fun)
    return float(np.exp(optimum.x[0])), float(np.exp(optimum.x[1]))


def interval(
    mean: Float[np.ndarray, "... parameter"], sd: Float[np.ndarray, "... parameter"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 90 % interval of the truth: Gaussian, cut to the prior range.

    The truth lies inside the prior range, so cutting leaves the coverage as it is.
    """
    half = ndtri(0.5 + LEVEL / 2) * sd
    return np.clip(mean - half, 0.0, 1.0), np.clip(mean + half, 0.0, 1.0)


def calibrated_members(
    members: Float[np.ndarray, "member site parameter"],
    calibration: Calibration,
    seed: int,
) -> Float[np.ndarray, "member site parameter"]:
    """Return members spread about their mean by the calibrated error, inside the prior range.

    A member's own deviation is widened by `factor`; `floor` enters as one offset per member and
    parameter, the same everywhere, so that errors do not average out over a map. The standardised
    deviation is then a quantile of a Gaussian cut off at the prior range.
    """
    n, _, k = members.shape
    mean, spread = members.mean(axis=0), members.std(axis=0, ddof=1)
    sd = calibration.sd(spread)
    offset = np.random.default_rng([seed, 4]).standard_normal((n, 1, k))
    offset = (offset - offset.mean(axis=0)) / offset.std(axis=0, ddof=1)
    score = (calibration.factor * (members - mean) + calibration.floor * offset) / sd
    low, high = ndtr((0.0 - mean) / sd), ndtr((1.0 - mean) / sd)
    drawn = mean + sd * ndtri(low + ndtr(score) * (high - low))
    return np.clip(drawn, 0.0, 1.0)  # rounding of the quantile only
