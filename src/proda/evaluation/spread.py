"""Spread that holds for carbon: calibrated draws of parameters, held against measured layers.

Calibration looks at one parameter at a time (`learning/calibration.py`). Tuned networks trade
parameters against each other, and errors of several parameters act on carbon together, so that
draws of the parameters need not spread the carbon as far as the truth lies from it. Here it is
measured: the share of layers of sites left out inside the central interval of the draws' carbon,
measurement error included, and the least factor on the sd of all parameters, from 1 up, with which
that share is what it should be. The factor is told, not applied: wide draws of parameters also move
the mean carbon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from proda.evaluation.carbon import held_out_carbon
from proda.inference.likelihood import LogNormal
from proda.learning.calibration import LEVEL, Calibration
from proda.learning.layers import SiteLayers
from proda.learning.validation import NETWORK, CrossValidation

DRAWS = 40
MOST = 2.0
"""Largest factor that is tried; draws are all but uniform over the prior then."""

STEPS = 3
"""Halvings of the range from 1 to `MOST`."""


@dataclass(frozen=True)
class Spread:
    """Factor on the sd of all parameters, and the coverage of measured layers with and without.

    A `coverage` below the interval's probability says that the largest factor did not suffice.
    """

    factor: float
    coverage: float
    coverage_before: float
    width: float
    """Median width of the interval, natural logarithms."""

    def apply(self, calibration: Calibration) -> Calibration:
        """Return the calibration, wider by the factor."""
        return Calibration(self.factor * calibration.factor, self.factor * calibration.floor)


def carbon_coverage(
    validation: CrossValidation, layers: SiteLayers, calibration: Calibration, seed: int = 0
) -> tuple[float, float]:
    """Share of measured layers inside the interval of the draws, and its median width.

    Sites in the order of the cross-validation. Draws without a steady state leave the others;
    a site where most have none counts as not covered.
    """
    goal = validation.sites.targets
    mean, sd = validation.predicted[NETWORK], calibration.sd(validation.spread)
    low, high = ndtr((0.0 - mean) / sd), ndtr((1.0 - mean) / sd)
    rng = np.random.default_rng([seed, 7])
    error = layers.likelihood.sd if isinstance(layers.likelihood, LogNormal) else None
    logs = []
    for _ in range(DRAWS):
        share = mean + sd * ndtri(low + rng.random(mean.shape) * (high - low))
        # the ends of a range need not be values of the model (a turnover time of 0 years)
        inside = goal.physical(np.clip(share, 1e-6, 1.0 - 1e-6))
        carbon = held_out_carbon(layers, inside).carbon
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(np.log(carbon) + (error or 0.0) * rng.standard_normal(carbon.shape))
    values = np.stack(logs)
    known = np.isfinite(values)
    use = layers.used
    told = use & (known.sum(axis=0) > DRAWS / 2)
    tail = (1.0 - LEVEL) / 2.0
    ordered = np.where(known, values, np.nan)[:, told]
    lower, upper = np.nanquantile(ordered, [tail, 1.0 - tail], axis=0)
    seen = np.log(layers.profiles.carbon[told] / 1000.0)
    hit = int(((lower <= seen) & (seen <= upper)).sum())
    return hit / int(use.sum()), float(np.median(upper - lower))


def fit_spread(
    validation: CrossValidation, layers: SiteLayers, calibration: Calibration, seed: int = 0
) -> Spread:
    """Find the factor by halving; the same random numbers throughout, so that coverage grows."""

    def at(factor: float) -> tuple[float, float]:
        wide = Calibration(factor * calibration.factor, factor * calibration.floor)
        return carbon_coverage(validation, layers, wide, seed)

    before, width = at(1.0)
    if before >= LEVEL:
        return Spread(1.0, before, before, width)
    low, high = 1.0, MOST
    covered, width = at(high)
    if covered >= LEVEL:
        for _ in range(STEPS):
            middle = 0.5 * (low + high)
            share, wide = at(middle)
            if share >= LEVEL:
                high, covered, width = middle, share, wide
            else:
                low = middle
    return Spread(high, covered, before, width)
