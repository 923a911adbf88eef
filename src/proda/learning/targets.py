"""Training targets: the parameters of sites as shares of the prior range, with weights.

A posterior mean under a uniform prior is pulled to the middle of the prior range, more strongly the
less informative the profile is. The target "likelihood" treats the posterior as a Gaussian
likelihood truncated at the prior range; it is that Gaussian's mean z and sd e, computed from the
posterior's mean m and sd s (`truncated.py`). Where no Gaussian fits (the posterior rises to an end
of the range), posterior and prior are treated as Gaussian (prior mean m0, sd s0 = range /
sqrt(12)), whose precisions add up:

    1/e^2 = 1/s^2 - 1/s0^2,    z = e^2 (m/s^2 - m0/s0^2)

The target "posterior_mean" keeps m, with this e. Either way the weight of a site is

    w = 1 / (e^2 + u^2),

u being the spread between sites that covariates cannot explain. Where s reaches s0, the profile
contains no information and w is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from jaxtyping import Float

from proda.errors import LearningError
from proda.learning.learning_settings import LearningSettings
from proda.learning.truncated import untruncated
from proda.models.outside import recorded

PRIOR_VARIANCE = 1.0 / 12.0
"""Variance of a uniform prior over its own range."""

LEAST_INFORMATION = 0.02
"""Below this share of the prior's precision, a profile counts as uninformative."""


@dataclass(frozen=True)
class Targets:
    """Targets of training; rows are sites, columns parameters, values shares of the prior range.

    `posterior` is the posterior mean, `value` what is fitted, `error` the sd of `value` about the
    truth (infinite where unconstrained), `weight` its weight in the loss.
    """

    sites: np.ndarray
    latitude: Float[np.ndarray, " site"]
    longitude: Float[np.ndarray, " site"]
    parameters: tuple[str, ...]
    lower: Float[np.ndarray, " parameter"]
    upper: Float[np.ndarray, " parameter"]
    model: str
    variant: str
    posterior: Float[np.ndarray, "site parameter"]
    value: Float[np.ndarray, "site parameter"]
    error: Float[np.ndarray, "site parameter"]
    weight: Float[np.ndarray, "site parameter"]
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where the class of a model from outside the package came from."""

    def physical(self, share: Float[np.ndarray, "... parameter"]) -> np.ndarray:
        """Shares of the prior range as physical values."""
        return self.lower + share * (self.upper - self.lower)

    def share(self, physical: Float[np.ndarray, "... parameter"]) -> np.ndarray:
        """Physical values as shares of the prior range."""
        return (physical - self.lower) / (self.upper - self.lower)

    def unconstrained(self) -> dict[str, int]:
        """Return the number of sites that do not constrain each parameter."""
        count = (self.weight == 0).sum(axis=0)
        return {name: int(n) for name, n in zip(self.parameters, count, strict=True)}

    def select(self, rows: np.ndarray) -> Targets:
        """Return the targets of some sites."""
        return Targets(
            self.sites[rows],
            self.latitude[rows],
            self.longitude[rows],
            self.parameters,
            self.lower,
            self.upper,
            self.model,
            self.variant,
            self.posterior[rows],
            self.value[rows],
            self.error[rows],
            self.weight[rows],
            self.origin,
        )


def targets(posterior: xr.Dataset, settings: LearningSettings) -> Targets:
    """Turn a summary of site posteriors into targets.

    Parameters
    ----------
    posterior
        `posterior_mean` and `posterior_sd` (site, parameter) in physical units; coordinates site,
        parameter, latitude, longitude (site), lower and upper (parameter): the prior range;
        attributes model and variant.
    settings
        `target`, `unexplained_sd` and `loss`, whose ratio is not defined at 0.

    Raises
    ------
    LearningError
        Naming what is missing, duplicated, not finite, or outside the prior range, and where.
    """
    _check_form(posterior)
    mean = posterior["posterior_mean"].transpose("site", "parameter").to_numpy().astype(float)
    sd = posterior["posterior_sd"].transpose("site", "parameter").to_numpy().astype(float)
    names = tuple(str(n) for n in posterior["parameter"].to_numpy())
    sites = posterior["site"].to_numpy().astype(str)
    lower = posterior["lower"].to_numpy().astype(float)
    upper = posterior["upper"].to_numpy().astype(float)
    if bad := [n for n, a, b in zip(names, lower, upper, strict=True) if not a < b]:
        raise LearningError(f"The prior range of {', '.join(bad)} is empty.")
    share, spread = (mean - lower) / (upper - lower), sd / (upper - lower)
    _check_values(share, spread, sites, names, settings)
    value, precision, constrained = _estimates(share, np.maximum(spread, 1e-6), settings)
    variance = 1.0 / np.where(constrained, precision, 1.0)
    error = np.where(constrained, np.sqrt(variance), np.inf)
    weight = np.where(constrained, 1.0 / (variance + settings.unexplained_sd**2), 0.0)
    return Targets(
        sites,
        posterior["latitude"].to_numpy().astype(float),
        posterior["longitude"].to_numpy().astype(float),
        names,
        lower,
        upper,
        str(posterior.attrs["model"]),
        str(posterior.attrs["variant"]),
        share,
        value,
        error,
        weight,
        recorded(posterior.attrs),
    )


def _estimates(
    share: np.ndarray, spread: np.ndarray, settings: LearningSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, precision and whether there is any information, all (site, parameter)."""
    gained = 1.0 / spread**2 - 1.0 / PRIOR_VARIANCE
    least = LEAST_INFORMATION / PRIOR_VARIANCE
    if settings.target == "posterior_mean":
        return share, gained, gained > least
    location, precision, usable = (
        x.reshape(share.shape) for x in untruncated(share.ravel(), spread.ravel())
    )
    usable &= gained > least
    added = ~usable & (gained > least)
    safe = np.where(added, gained, 1.0)
    by_sum = (share / spread**2 - 0.5 / PRIOR_VARIANCE) / safe
    value = np.where(usable, location, np.where(added, by_sum, share))
    precision = np.where(usable, precision, gained)
    return value, precision, (usable | added) & (precision > least)


def _check_form(posterior: xr.Dataset) -> None:
    needed = (
        "posterior_mean",
        "posterior_sd",
        "site",
        "parameter",
        "latitude",
        "longitude",
        "lower",
        "upper",
    )
    if missing := [n for n in needed if n not in posterior.variables]:
        raise LearningError(f"The posterior summary lacks {', '.join(missing)}.")
    if missing := [n for n in ("model", "variant") if n not in posterior.attrs]:
        raise LearningError(f"The posterior summary lacks the attribute {', '.join(missing)}.")
    for name in ("posterior_mean", "posterior_sd"):
        if set(posterior[name].dims) != {"site", "parameter"}:
            raise LearningError(
                f"{name} has the dimensions {posterior[name].dims}; expected (site, parameter)."
            )
    sites, count = np.unique(posterior["site"].to_numpy().astype(str), return_counts=True)
    if (count > 1).any():
        raise LearningError(
            f"The posterior summary contains site {sites[count > 1][0]} more than once."
        )


def _check_values(
    share: np.ndarray,
    spread: np.ndarray,
    sites: np.ndarray,
    names: tuple[str, ...],
    settings: LearningSettings,
) -> None:
    """Refuse values that a posterior inside its prior range cannot have."""
    ratio = settings.loss == "study"
    for what, bad in (
        ("posterior mean is not finite", ~np.isfinite(share)),
        ("posterior sd is negative or not finite", ~(np.isfinite(spread) & (spread >= 0))),
        ("posterior mean lies outside the prior range", (share < -1e-9) | (share > 1 + 1e-9)),
        (
            "posterior mean lies on the lower end of the prior range, where the study's ratio loss "
            "is not defined",
            ratio & (share <= 0),
        ),
    ):
        if bad.any():
            i, j = (int(x) for x in np.argwhere(bad)[0])
            raise LearningError(
                f"Site {sites[i]}, {names[j]}: the {what} ({int(bad.sum())} values in all)."
            )
