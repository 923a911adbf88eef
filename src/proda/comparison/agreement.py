"""Statistics of the 1:1 line: agreement in magnitude, not only in pattern."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def agreement(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> dict[str, float]:
    """Compare y with x on the 1:1 line, with weights.

    Returns
    -------
    dict
        `slope`, `intercept`: of the major axis, Deming regression with equal errors of both
        (neither field is the truth); NaN where the points have no direction. `concordance`:
        Lin's (1989) coefficient, 1 only on the 1:1 line. `bias`: mean of y - x. `rmse`.
        `share_above`: share of the weight where y > x.
    """
    w = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    mean_x, mean_y = float((w * x).sum()), float((w * y).sum())
    dx, dy = x - mean_x, y - mean_y
    sxx, syy, sxy = float((w * dx**2).sum()), float((w * dy**2).sum()), float((w * dx * dy).sum())
    slope = deming_slope(sxx, syy, sxy)
    spread = sxx + syy + (mean_x - mean_y) ** 2
    return {
        "slope": slope,
        "intercept": mean_y - slope * mean_x,
        "concordance": 2.0 * sxy / spread if spread > 0 else float("nan"),
        "bias": mean_y - mean_x,
        "rmse": float(np.sqrt((w * (y - x) ** 2).sum())),
        "share_above": float(w[y > x].sum()),
    }


def deming_slope(sxx: float, syy: float, sxy: float, ratio: float = 1.0) -> float:
    """Return the slope of Deming regression; `ratio` is the error variance of y over that of x.

    NaN if the covariance is 0, because then the direction is undefined.
    """
    if sxy == 0.0:
        return float("nan")
    d = syy - ratio * sxx
    return float((d + np.sqrt(d**2 + 4.0 * ratio * sxy**2)) / (2.0 * sxy))
