"""Calibrated intervals of carbon at held-out places, by conformal prediction.

Held-out layers give the errors of predictions: the quantiles of the errors in ln carbon, divided by
the expected error of the prediction, determine the intervals of all other predictions (Vovk et al.
2005; split conformal prediction, here over blocks of the map). There is one pair of quantiles for
each group of layers (Mondrian): class of depth, and cold or warm soil, because errors are larger
where the soil is cold. Both are known wherever there is forcing, so that measured layers and the
cells of a map have the same intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.forcing import Forcing
from proda.learning.carbon_loss import DEPTH_CLASSES

LEVEL = 0.9
"""Probability of the intervals."""

LEAST = 0.01
"""Modelled carbon below this counts as none, kg m-3: it lies outside any interval, and logarithms
use this value instead. The error of a model is the same whether its soil has 0 or 1e-30. It is a
third of the smallest carbon content of 20,084 real profiles (0.031 kg m-3)."""

WARM = 281.6
"""Mean temperature of the soil that separates cold from warm places, K."""

MINIMUM = 200
"""Minimum number of layers for quantiles of a group; smaller groups use those of their class of
depth."""

STOCK_DEPTHS = (0.3, 1.0, 2.0)
"""Depths down to which stocks have intervals, m. Hardly any profile is measured deeper."""

STOCK_MINIMUM = 50
"""Minimum number of profiles in cold or warm soil for quantiles of a stock; otherwise those of all
profiles are used."""

COVERED = 0.9
"""Share of a depth that must be measured for a profile to count as a measured stock."""


def depth_classes(depth: Float[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    """Return the class of depth (`carbon_loss.DEPTH_CLASSES`) of each middle depth, m."""
    return np.asarray(np.digitize(depth, DEPTH_CLASSES[1:]))


def cold_soil(forcing: Forcing) -> Bool[np.ndarray, " site"]:
    """Whether the soil is colder than :data:`WARM` on average over layers and months."""
    return np.asarray(forcing.soil_temperature.mean(axis=(1, 2)) < WARM)


@dataclass(frozen=True)
class Intervals:
    """Quantiles of (ln observed - ln modelled) / error, by class of depth and warm or cold soil.

    The error of a prediction is sqrt(scale^2 + spread^2): the estimated error of its class of
    depth, and the sd of ln carbon between the members. That of a stock is the mean of the errors of
    its layers, weighted by their carbon, as if they were fully correlated: its quantiles come from
    complete measured stocks, so they are valid for any correlation.
    """

    scale: Float[np.ndarray, " depth_class"]
    low: Float[np.ndarray, "depth_class 2"]
    high: Float[np.ndarray, "depth_class 2"]
    """Second axis: warm, cold."""
    stock_low: Float[np.ndarray, "stock 2"] = field(
        default_factory=lambda: np.full((len(STOCK_DEPTHS), 2), np.nan)
    )
    stock_high: Float[np.ndarray, "stock 2"] = field(
        default_factory=lambda: np.full((len(STOCK_DEPTHS), 2), np.nan)
    )
    """By :data:`STOCK_DEPTHS`; NaN where no profile is measured so far down."""

    def error(
        self, spread: Float[np.ndarray, "..."], depth: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """Return the expected error of ln carbon of layers, before calibration."""
        return np.asarray(np.sqrt(self.scale[depth_classes(depth)] ** 2 + spread**2))

    def bounds(
        self,
        log_carbon: Float[np.ndarray, "..."],
        spread: Float[np.ndarray, "..."],
        depth: Float[np.ndarray, "..."],
        cold: Bool[np.ndarray, "..."],
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Return the ends of the 90 % interval of ln carbon; NaN where `log_carbon` is."""
        group = depth_classes(depth), np.asarray(cold, int)
        error = self.error(spread, depth)
        return log_carbon + self.low[group] * error, log_carbon + self.high[group] * error

    def stock_bounds(
        self,
        stock: int,
        log_stock: Float[np.ndarray, " site"],
        error: Float[np.ndarray, " site"],
        cold: Bool[np.ndarray, " site"],
    ) -> tuple[Float[np.ndarray, " site"], Float[np.ndarray, " site"]]:
        """Return the ends of the 90 % interval of ln stock, by position in `STOCK_DEPTHS`.

        `error` is the mean of the layers' errors, weighted by their carbon (:func:`mean_error`).
        """
        own = np.asarray(cold, int)
        low, high = self.stock_low[stock, own], self.stock_high[stock, own]
        return log_stock + low * error, log_stock + high * error

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file; None means unknown or unbounded."""
        return {name: _plain(getattr(self, name)) for name in _NAMES}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Intervals:
        """Rebuild from plain values; those of earlier versions are by class of depth alone."""
        arrays = {name: np.array(values[name], float) for name in _NAMES if name in values}
        for name, empty in (("low", -np.inf), ("high", np.inf)):
            one = np.where(np.isnan(arrays[name]), empty, arrays[name])
            arrays[name] = one if one.ndim == 2 else np.repeat(one[:, None], 2, axis=1)
        return cls(**arrays)


_NAMES = ("scale", "low", "high", "stock_low", "stock_high")


def _plain(values: np.ndarray) -> list:
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(value) if np.isfinite(value) else None for value in values]


def fit_intervals(
    off: Float[np.ndarray, " row"],
    spread: Float[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"],
    cold: Bool[np.ndarray, " row"],
    scale: Float[np.ndarray, " depth_class"],
) -> Intervals:
    """Fit the quantiles to held-out layers.

    Parameters
    ----------
    off
        ln observed minus ln modelled; inf where the model has no carbon, which lies outside any
        interval, and NaN where there is no steady state (these do not count).
    spread, depth, cold
        Sd of ln carbon between members, middle depth of each layer (m), and whether its soil is
        cold.
    scale
        Estimated error by class of depth.

    Notes
    -----
    A group of fewer than :data:`MINIMUM` layers uses the quantiles of its class of depth; a class
    without layers uses the widest of the others. An end that would lie among layers without
    modelled carbon is the largest finite one, because no interval can contain those layers.
    """
    own, soil = depth_classes(depth), np.asarray(cold, int)
    score = off / np.sqrt(scale[own] ** 2 + spread**2)
    ends = np.full((2, len(scale), 2), np.nan)
    for k in range(len(scale)):
        here = (own == k) & ~np.isnan(score)
        for c in range(2):
            group = here & (soil == c)
            ends[:, k, c] = quantiles(score[group if group.sum() >= MINIMUM else here])
    if not np.isfinite(ends).any():
        return Intervals(scale, np.full(ends.shape[1:], -np.inf), np.full(ends.shape[1:], np.inf))
    return Intervals(
        scale,
        np.where(np.isnan(ends[0]), np.nanmin(ends[0]), ends[0]),
        np.where(np.isnan(ends[1]), np.nanmax(ends[1]), ends[1]),
    )


def quantiles(score: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the ends between which the next score lies with the probability `LEVEL`.

    Of n + 1 scores, including the new one, at most (n + 1) (1 - LEVEL) / 2 lie outside each end.
    NaN without a finite score.
    """
    finite = score[np.isfinite(score)]
    if not finite.size:
        return float("nan"), float("nan")
    beyond = max(int((score.size + 1) * 0.5 * (1.0 - LEVEL) + 1e-9), 1)
    ordered = np.sort(score)
    low = np.maximum(ordered[beyond - 1], finite.min())
    return float(low), float(np.minimum(ordered[-beyond], finite.max()))
