"""Joint draws are narrowed where they hold more than they should, and never widened."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtr

from proda.learning import spread
from proda.learning.spread import LEVEL, Spread
from proda.learning.validation import NETWORK


@pytest.fixture
def narrowed(monkeypatch):
    """Narrow residuals of one size; the draws' width stands for what they cover."""

    def coverage(validation, layers, draws, seed):
        width = float(np.abs(np.stack(list(draws)) - 0.5).max())
        return Spread(LEVEL, min(1.0, 2.2 * width), width)

    monkeypatch.setattr(spread, "carbon_coverage", coverage)
    validation = SimpleNamespace(predicted={NETWORK: np.full((3, 2), 0.5)})
    return lambda size: spread._narrowed(validation, None, np.full((4, 2), size), 0)


def test_too_wide_draws_are_narrowed_to_the_level(narrowed):
    found = narrowed(3.0)
    assert LEVEL <= found.coverage < 0.95
    assert found.width == pytest.approx(ndtr(3.0 * found.factor) - 0.5)
    # The right factor is where 2.2 (Phi(3 f) - 0.5) = 0.9; it is found to a step of the halving.
    assert 0.0 <= found.factor - 0.446 < 0.9 / 2**spread.STEPS + 1e-3


def test_too_narrow_draws_stay_as_posteriors_made_them(narrowed):
    found = narrowed(0.5)
    assert found.factor == 1.0
    assert found.coverage < LEVEL
