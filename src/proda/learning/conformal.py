"""Intervals of carbon at unseen places that hold what they promise, by conformal prediction.

What was left out of training says how wrong predictions are: the quantiles of its errors in ln
carbon, over what the prediction's own spread lets expect, widen every other prediction (Vovk et
al. 2005; split conformal prediction, here over blocks of the map). One pair of quantiles for each
class of depth, because errors grow with depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from proda.learning.carbon_loss import DEPTH_CLASSES

LEVEL = 0.9
"""Probability of the intervals."""


def depth_classes(depth: Float[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    """Return the class of depth (`carbon_loss.DEPTH_CLASSES`) of each middle depth, m."""
    return np.asarray(np.digitize(depth, DEPTH_CLASSES[1:]))


@dataclass(frozen=True)
class Intervals:
    """Quantiles of (ln observed - ln modelled) / error, by class of depth.

    The error of a prediction is sqrt(scale^2 + spread^2): the estimated error of its class of
    depth, and the sd of ln carbon between the members.
    """

    scale: Float[np.ndarray, " depth_class"]
    low: Float[np.ndarray, " depth_class"]
    high: Float[np.ndarray, " depth_class"]

    def bounds(
        self, log_carbon: Float[np.ndarray, " row"], spread: Float[np.ndarray, " row"],
        depth: Float[np.ndarray, " row"],
    ) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:  # fmt: skip
        """Return the ends of the 90 % interval of ln carbon."""
        own = depth_classes(depth)
        error = np.sqrt(self.scale[own] ** 2 + spread**2)
        return log_carbon + self.low[own] * error, log_carbon + self.high[own] * error

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return {"scale": self.scale.tolist(), "low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Intervals:
        """Rebuild from plain values."""
        return cls(*(np.array(values[name], float) for name in ("scale", "low", "high")))


def fit_intervals(
    off: Float[np.ndarray, " row"], spread: Float[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"], scale: Float[np.ndarray, " depth_class"],
) -> Intervals:  # fmt: skip
    """Fit the quantiles to layers left out of training.

    Parameters
    ----------
    off
        ln observed minus ln modelled; NaN where nothing was modelled (these do not count).
    spread, depth
        Sd of ln carbon between members, and middle depth of each layer (m).
    scale
        Estimated error by class of depth.

    Notes
    -----
    A class without layers takes the widest quantiles of the others, all classes together.
    """
    own = depth_classes(depth)
    score = off / np.sqrt(scale[own] ** 2 + spread**2)
    low, high = np.full(len(scale), np.nan), np.full(len(scale), np.nan)
    for k in range(len(scale)):
        here = score[(own == k) & np.isfinite(score)]
        if here.size:
            # of n + 1 layers, the new one among them, at most this many lie beyond each end
            beyond = max(int((here.size + 1) * 0.5 * (1.0 - LEVEL)), 1)
            ordered = np.sort(here)
            low[k], high[k] = ordered[beyond - 1], ordered[-beyond]
    if not np.isfinite(low).any():
        return Intervals(scale, np.full(len(scale), -np.inf), np.full(len(scale), np.inf))
    return Intervals(
        scale, np.where(np.isnan(low), np.nanmin(low), low),
        np.where(np.isnan(high), np.nanmax(high), high),
    )  # fmt: skip
