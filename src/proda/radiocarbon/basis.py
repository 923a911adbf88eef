"""Histories of the air as sums of terms that a column's response is known to.

A pool with turnover rate m that receives the history r(s) holds, per unit of its carbon,
m x integral of r(s) exp(-(m + lambda) s): what is asked of a fit is this number for every m, not
r(s) itself. So the coefficients are the least squares over m, from fast to slow; eight terms give
any pool to 1 permil, where fitting r(s) in time leaves 100 permil in fast pools.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

FAST_TERMS = 8
"""Terms of the bomb period (docs/theory.md#radiocarbon says what is left by how many)."""
SPEED = 0.281
"""p, yr-1: of the speeds that suit sampling years of 1955 to 2025, the best for eight terms."""
SLOW_TERMS = 5
"""Terms of the Holocene option; a constant atmosphere before 1850 needs one."""

RATES = np.geomspace(1e-5, 1e3, 300)
"""Turnover rates (yr-1) at which a fit is judged."""


@dataclass(frozen=True)
class Basis:
    """Terms of a history: see :mod:`proda.radiocarbon.tracer_response`."""

    half_life: float = 5730.0
    """Of 14C, yr; 5700 is the newer value."""
    n_slow: int = 1
    n_fast: int = FAST_TERMS
    speed: float = SPEED

    @property
    def decay(self) -> float:
        """Lambda, yr-1; 8267 yr is the mean life that goes with 5730, by convention."""
        return 1.0 / 8267.0 if self.half_life == 5730.0 else float(np.log(2.0) / self.half_life)

    @cached_property
    def of_pools(self) -> Float[np.ndarray, "rate term"]:
        """What a pool holds of each term, per unit of its carbon, by its turnover rate."""
        m = RATES[:, None]
        k = np.arange(self.n_slow)
        slow = m / (m + self.decay) * (self.decay / (m + self.decay)) ** k
        fast = m + self.decay + self.speed
        k = np.arange(self.n_fast)
        return np.concatenate([slow, m / fast * (self.speed / fast) ** k], axis=1)

    def coefficients(
        self, s: Float[np.ndarray, " knot"], r: Float[np.ndarray, " knot"], constant: float
    ) -> Float[np.ndarray, " term"]:
        """Return the coefficients of a history, slow terms first.

        Parameters
        ----------
        s
            Time before sampling, yr, rising from 0.
        r
            Ratio to the standard there, straight lines in between.
        constant
            Ratio before the first year of the history.
        """
        wanted = self.held(s, r - constant)
        given = self.of_pools
        if self.n_slow == 1:  # what is constant needs no fit
            fast, *_ = np.linalg.lstsq(given[:, 1:], wanted, rcond=None)
            return np.concatenate([[constant], fast])
        solution, *_ = np.linalg.lstsq(given, wanted, rcond=None)
        solution[0] += constant
        return solution

    def held(
        self, s: Float[np.ndarray, " knot"], r: Float[np.ndarray, " knot"]
    ) -> Float[np.ndarray, " rate"]:
        """Return what pools hold of a history that ends with its last knot, by turnover rate."""
        m = RATES[:, None] + self.decay
        length = np.diff(s)
        x = m * length
        small = x < 1e-3
        safe = np.where(small, 1.0, x)
        # Integrals over a straight piece of exp(-x u) and of u exp(-x u), u from 0 to 1.
        flat = np.where(small, 1.0 - x / 2.0 + x * x / 6.0, -np.expm1(-safe) / safe)
        first = (1.0 - np.exp(-safe) * (1.0 + safe)) / safe**2
        rising = np.where(small, 0.5 - x / 3.0 + x * x / 8.0, first)
        each = np.exp(-m * s[:-1]) * length * (r[:-1] * flat + np.diff(r) * rising)
        return np.asarray(RATES * each.sum(axis=1))
