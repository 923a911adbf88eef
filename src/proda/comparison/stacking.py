"""Weights of the models in the mixture of predictions with the highest log score.

Stacking of predictive distributions (Yao, Vehtari, Simpson and Gelman 2018, Bayesian Analysis 13,
917-1007): of all mixtures of the models' predictive densities, the one with the highest log score
for data that were held out from all models. Unlike a choice of the best model, it gives weight to a
model that is worse overall but better in some places; unlike model probabilities, it does not
assume that one of the models is true.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from proda.errors import ComparisonError

TOLERANCE = 1e-8
"""Maximum difference of the mean log score of the weights from the optimum."""
_FIRST, _MOST = 20, 5000
"""Steps of expectation-maximisation before the solver, and maximum number after it."""
_NOTHING = 1e-6
"""Weights below this are set to 0."""
GROUPS = 10
"""Groups of blocks that are left out in turn for the standard error."""


def stacking_weights(
    log_density: Float[np.ndarray, "point model"],
    weight: Float[np.ndarray, " point"] | None = None,
) -> Float[np.ndarray, " model"]:
    """Return the weights of the mixture with the highest log score.

    The score is concave in the weights. Sequential quadratic programming finds the maximum;
    expectation-maximisation, which always converges but may be slow, is run before and after it,
    until the duality gap, max_k mean_i p_ik / sum_j w_j p_ij - 1, shows that no weights are better.

    Parameters
    ----------
    log_density
        Log density of each datum by each model, held out from training. -inf is allowed, but not
        for all models of one datum.
    weight
        Weight of each datum; None: equal weights.

    Returns
    -------
    At least 0, with the sum 1. Models that predict the same share their weight equally.

    Raises
    ------
    ComparisonError
        If there are no data, a number is NaN, or a datum has no density by any model.

    Examples
    --------
    >>> stacking_weights(np.log([[0.5, 0.5], [0.1, 0.1]])).tolist()
    [0.5, 0.5]
    """
    best = np.max(log_density, axis=1, keepdims=True) if np.size(log_density) else np.zeros(0)
    if not np.size(log_density) or not np.isfinite(best).all() or np.isnan(log_density).any():
        raise ComparisonError("Stacking needs data, each of which some model gives a density.")
    p = np.exp(log_density - best)  # a factor common to all models changes nothing
    share = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=np.float64)
    share = share / share.sum()
    w = np.full(p.shape[1], 1.0 / p.shape[1])
    for _ in range(_FIRST):
        w = w * _gain(p, share, w)
    w = max((w, _solved(p, share, w)), key=lambda each: _score(p, share, each))
    for _ in range(_MOST):
        gain = _gain(p, share, w)
        if gain.max() - 1.0 <= TOLERANCE:
            break
        # A weight of 0 would stay 0, even if the model improved the score.
        w = np.maximum(w, 1e-12) * gain
        w = w / w.sum()
    w = np.where(w < _NOTHING, 0.0, w)
    return np.asarray(w / w.sum())


def _gain(p: np.ndarray, share: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the gradient of the score: 1 where a weight is optimal, at most 1 where it is 0."""
    return np.asarray((share / (p @ w)) @ p)


def _score(p: np.ndarray, share: np.ndarray, w: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(share @ np.log(p @ w))


def _solved(p: np.ndarray, share: np.ndarray, start: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize  # slow to import

    floor = 1e-300

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(p @ w, floor)
        return -float(share @ np.log(mixed)), -((share / mixed) @ p)

    optimum = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(start),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 200},
    )
    w = np.clip(optimum.x, 0.0, None)
    return np.asarray(w / w.sum()) if np.isfinite(w).all() and w.sum() > 0 else start


def groups_of_blocks(block: Int[np.ndarray, " point"], seed: int = 0) -> Int[np.ndarray, " point"]:
    """Return the group of each datum: blocks in random order are dealt to :data:`GROUPS` groups."""
    _, own = np.unique(block, return_inverse=True)
    n = int(own.max()) + 1
    dealt = np.empty(n, dtype=int)
    dealt[np.random.default_rng([seed, 5]).permutation(n)] = np.arange(n) % GROUPS
    return np.asarray(dealt[own])


def jackknife_error(
    statistic: Callable[[np.ndarray], np.ndarray], group: Int[np.ndarray, " point"]
) -> np.ndarray:
    """Return the standard error of a statistic, each group of data left out in turn.

    Parameters
    ----------
    statistic
        Takes a mask of the data to use, (point,) of bool, and returns an array.
    group
        Of each datum.

    Returns
    -------
    As `statistic` returns; NaN where there are fewer than three groups.
    """
    replicates = np.stack([statistic(group != g) for g in np.unique(group)]) if len(group) else None
    if replicates is None or len(replicates) < 3:
        return np.full_like(statistic(np.ones(len(group), bool)), np.nan)
    n = len(replicates)
    return np.asarray(
        np.sqrt((n - 1.0) / n * ((replicates - replicates.mean(axis=0)) ** 2).sum(axis=0))
    )
