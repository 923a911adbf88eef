"""Which sites' posteriors are used for training, and why the others are not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

from proda.errors import DiagnosticsError
from proda.inference.filter_settings import (
    MAX_GELMAN_RUBIN,
    MIN_NASH_SUTCLIFFE,
    FilterSettings,
)


class SiteVerdict(IntEnum):
    """The first reason why a site is not kept, in the order of the checks."""

    KEPT = 0
    NO_POSTERIOR = 1
    """The site has no posterior; the sampler's reason code gives the cause."""
    NOT_CONVERGED = 2
    """Mean Gelman-Rubin statistic not below its limit, or undefined (a constant chain)."""
    NOT_CONVERGED_IN_RANK = 3
    """Largest rank-normalised R-hat not below its limit, or undefined."""
    TOO_FEW_DRAWS = 4
    """Smallest effective size below its limit, or undefined."""
    POOR_FIT = 5
    """Nash-Sutcliffe efficiency not above its limit, or undefined (fewer than two observations)."""

    @property
    def words(self) -> str:
        """The verdict in words."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Filter:
    """Limits for the posterior of a site; the defaults are the paper's (P-section 2.1).

    Parameters
    ----------
    max_gelman_rubin
        The mean Gelman-Rubin statistic over parameters must be below.
    min_nash_sutcliffe
        The Nash-Sutcliffe efficiency must be above.
    max_rank_rhat
        The largest rank-normalised split R-hat over parameters must be below; None: no limit.
    min_ess
        The smallest effective size over parameters must be at least this; None: no limit.

    Raises
    ------
    DiagnosticsError
        If a limit is NaN, which no site would pass.
    """

    max_gelman_rubin: float = MAX_GELMAN_RUBIN
    min_nash_sutcliffe: float = MIN_NASH_SUTCLIFFE
    max_rank_rhat: float | None = None
    min_ess: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and math.isnan(limit):
                raise DiagnosticsError(f"{name} is NaN, so no site would pass; give a number")

    @classmethod
    def of(cls, settings: FilterSettings) -> Filter:
        """Return the filter of some settings."""
        return cls(settings.max_gelman_rubin, settings.min_nse, settings.max_rhat, settings.min_ess)

    def apply(
        self,
        gelman_rubin: ArrayLike,
        nash_sutcliffe: ArrayLike,
        *,
        rank_rhat: ArrayLike | None = None,
        ess: ArrayLike | None = None,
        reason: ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Apply the limits to every site; NaN passes no limit.

        Parameters
        ----------
        gelman_rubin
            Mean over parameters, one per site, any shape.
        nash_sutcliffe
            One per site, same shape; likewise the others.
        rank_rhat
            Largest over parameters.
        ess
            Smallest over parameters (and over bulk and tail).
        reason
            The sampler's reason code; 0 where there is a posterior. None: there is one everywhere.

        Returns
        -------
        Whether to keep each site (bool), and its :class:`Verdict` as a number (int8).

        Raises
        ------
        DiagnosticsError
            If shapes differ, or a statistic with a limit is missing.
        """
        shape = np.shape(gelman_rubin)
        failed = []
        if reason is not None:
            failed.append((SiteVerdict.NO_POSTERIOR, _same(reason, shape, "reason") != 0))
        # "not below" instead of "above": NaN fails
        values = _same(gelman_rubin, shape, "gelman_rubin")
        failed.append((SiteVerdict.NOT_CONVERGED, ~(values < self.max_gelman_rubin)))
        if self.max_rank_rhat is not None:
            values = _same(rank_rhat, shape, "rank_rhat")
            failed.append((SiteVerdict.NOT_CONVERGED_IN_RANK, ~(values < self.max_rank_rhat)))
        if self.min_ess is not None:
            values = _same(ess, shape, "ess")
            failed.append((SiteVerdict.TOO_FEW_DRAWS, ~(values >= self.min_ess)))
        fit = _same(nash_sutcliffe, shape, "nash_sutcliffe")
        failed.append((SiteVerdict.POOR_FIT, ~(fit > self.min_nash_sutcliffe)))

        verdict = np.full(shape, SiteVerdict.KEPT, dtype=np.int8)
        for name, failure in reversed(failed):
            verdict = np.where(failure, np.int8(name), verdict)
        return verdict == SiteVerdict.KEPT, verdict


def _same(values: ArrayLike | None, shape: tuple[int, ...], name: str) -> np.ndarray:
    if values is None:
        raise DiagnosticsError(f"the filter has a limit for {name}: pass {name}, one per site")
    array = np.asarray(values)
    if array.shape != shape:
        raise DiagnosticsError(
            f"{name} has the shape {array.shape}, gelman_rubin {shape}; give one value per site"
        )
    return array
