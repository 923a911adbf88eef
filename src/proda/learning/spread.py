"""Coverage of carbon by draws of parameters, measured at layers of held-out sites.

Calibration treats one parameter at a time (`learning/calibration.py`). Errors of several parameters
affect carbon together, so that independent draws of each parameter may give a wrong spread of
carbon; joint draws (`learning/residuals.py`) use the joint posteriors. For both kinds, this module
measures the share of measured layers of held-out sites inside the central interval of the draws'
carbon, including measurement error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from proda.inference.likelihood import LogNormal
from proda.learning.calibration import LEVEL, Calibration
from proda.learning.carbon import held_out_carbon
from proda.learning.layers import SiteLayers
from proda.learning.residuals import add_residuals
from proda.learning.validation import NETWORK, CrossValidation

DRAWS = 40
EACH, JOINT = "each parameter by itself", "joint"
LEAST = 0.1
"""Smallest factor on joint residuals that is tried."""
STEPS = 5
"""Halvings of the range from `LEAST` to 1."""


@dataclass(frozen=True)
class Spread:
    """Share of measured layers inside the interval, and its median width (natural logarithms).

    `factor` is that on the residuals of joint draws.
    """

    level: float
    coverage: float
    width: float
    factor: float = 1.0


def spread_of_carbon(
    validation: CrossValidation,
    layers: SiteLayers,
    calibration: Calibration,
    residuals: Float[np.ndarray, "member parameter"] | None = None,
    seed: int = 0,
) -> dict[str, Spread]:
    """Measure the spread of both kinds of draws at held-out sites.

    Parameters
    ----------
    validation
        Its predictions for held-out sites.
    layers
        Their measured layers, sites in the same order.
    calibration
        For draws of each parameter by itself.
    residuals
        For joint draws (:func:`proda.learning.residuals.joint_residuals`); None: not looked at.
    seed
        Of draws and errors.

    Returns
    -------
    Kind of draws -> what was found.
    """
    spreads = {
        EACH: carbon_coverage(validation, layers, _each(validation, calibration, seed), seed)
    }
    if residuals is not None:
        spreads[JOINT] = _narrowed(validation, layers, residuals, seed)
    return spreads


def _narrowed(
    validation: CrossValidation,
    layers: SiteLayers,
    residuals: Float[np.ndarray, "member parameter"],
    seed: int,
) -> Spread:
    """Find the largest factor, at most 1, with which joint draws cover at most the nominal share.

    The residuals include the width of a posterior in addition to the network's error, so that they
    can be too wide for carbon; they are never made wider than posteriors.
    """

    def at(factor: float) -> Spread:
        draws = iter(add_residuals(validation.predicted[NETWORK], factor * residuals))
        return replace(carbon_coverage(validation, layers, draws, seed), factor=factor)

    narrowest = at(1.0)
    if narrowest.coverage <= LEVEL:
        return narrowest
    low, high = LEAST, 1.0
    for _ in range(STEPS):
        tried = at(0.5 * (low + high))
        if tried.coverage >= LEVEL:
            narrowest, high = tried, tried.factor
        else:
            low = tried.factor
    return narrowest


def carbon_coverage(
    validation: CrossValidation,
    layers: SiteLayers,
    draws: Iterable[Float[np.ndarray, "site parameter"]],
    seed: int = 0,
) -> Spread:
    """Measure the spread of draws, each in shares of the prior range at all sites.

    Draws without a steady state are ignored; a site where most have none counts as not covered.
    """
    goal = validation.sites.targets
    rng = np.random.default_rng([seed, 8])
    error = layers.likelihood.sd if isinstance(layers.likelihood, LogNormal) else None
    logs = []
    for share in draws:
        # the ends of a range may not be permitted values (a turnover time of 0 years)
        inside = goal.physical(np.clip(share, 1e-6, 1.0 - 1e-6))
        carbon = held_out_carbon(layers, inside).carbon
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(np.log(carbon) + (error or 0.0) * rng.standard_normal(carbon.shape))
    values = np.stack(logs)
    known = np.isfinite(values)
    use = layers.used
    usable = use & (known.sum(axis=0) > len(values) / 2)
    tail = (1.0 - LEVEL) / 2.0
    ordered = np.where(known, values, np.nan)[:, usable]
    lower, upper = np.nanquantile(ordered, [tail, 1.0 - tail], axis=0)
    seen = np.log(layers.profiles.carbon[usable] / 1000.0)
    hit = int(((lower <= seen) & (seen <= upper)).sum())
    return Spread(LEVEL, hit / int(use.sum()), float(np.median(upper - lower)))


def _each(
    validation: CrossValidation, calibration: Calibration, seed: int
) -> Iterator[Float[np.ndarray, "site parameter"]]:
    mean, sd = validation.predicted[NETWORK], calibration.sd(validation.spread)
    low, high = ndtr((0.0 - mean) / sd), ndtr((1.0 - mean) / sd)
    rng = np.random.default_rng([seed, 7])
    for _ in range(DRAWS):
        yield mean + sd * ndtri(low + rng.random(mean.shape) * (high - low))
