"""Information gained: known distributions, exact laws, repeated draws."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from proda.errors import DiagnosticsError
from proda.inference.diagnostics.information import information_gain, spread_reduction

BOTH = (information_gain, spread_reduction)


def truncated(mean, sd):
    return stats.truncnorm(-mean / sd, (1 - mean) / sd, loc=mean, scale=sd)


@pytest.mark.parametrize(
    ("mean", "sd"), [(0.5, 0.3), (0.5, 0.1), (0.5, 0.01), (0.0, 0.2), (1.0, 0.03)]
)
def test_truncated_gaussians(mean, sd):
    posterior = truncated(mean, sd)
    draws = posterior.rvs((200, 3, 500, 1), random_state=np.random.default_rng(1))
    gain = information_gain(draws)[:, 0]
    # Bias as stated in the docstring (0.009 bits), and three standard errors
    assert gain.mean() == pytest.approx(-posterior.entropy() / np.log(2), abs=0.016)
    assert gain.std() < 0.035
    spread = spread_reduction(draws).mean()
    assert spread == pytest.approx(1 - posterior.std() * np.sqrt(12), abs=0.01)


def test_no_information():
    draws = np.random.default_rng(2).random((300, 3, 500, 1))
    gain = information_gain(draws)
    assert gain.mean() == pytest.approx(0.0, abs=0.001)
    assert gain.min() < 0.0 < gain.max()  # not clipped
    assert spread_reduction(draws).mean() == pytest.approx(0.0, abs=0.002)


def test_bimodal_posterior():
    """Mass in the outer tenths: log2(5) bits, although the spread grows."""
    rng = np.random.default_rng(3)
    draws = 0.1 * rng.random((50, 3, 500, 1)) + 0.9 * rng.integers(0, 2, (50, 3, 500, 1))
    assert (spread_reduction(draws) < -0.4).all()
    # The 38 windows across the gap are some 0.8 wide instead of 38/1500 of 0.2
    lost = 38 / 1500 * np.log2(0.8 / (38 / 1500 * 0.2))
    assert information_gain(draws).mean() == pytest.approx(np.log2(5) - lost, abs=0.015)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(5, 200))
def test_laws(seed, n):
    rng = np.random.default_rng(seed)
    draws = rng.beta(0.7, 2.0, (3, 2, n, 2))
    gain, spread = information_gain(draws), spread_reduction(draws)
    # A posterior half as wide tells one more bit, wherever it lies
    np.testing.assert_allclose(information_gain(draws / 2 + 0.3), gain + 1.0, atol=1e-9)
    np.testing.assert_allclose(spread_reduction(draws / 2 + 0.3), (1 + spread) / 2, atol=1e-9)
    for measure, value in ((information_gain, gain), (spread_reduction, spread)):
        np.testing.assert_allclose(measure(1 - draws), value, atol=1e-9)
        np.testing.assert_allclose(measure(rng.permuted(draws, axis=2)), value, atol=1e-12)
        order = rng.permutation(3)
        np.testing.assert_allclose(measure(draws[order]), value[order], atol=1e-12)


def test_repeated_draws():
    """Chains that repeat a draw four times out of five keep a moderate bias."""
    rng = np.random.default_rng(4)
    draws = truncated(0.5, 0.1).rvs((100, 3, 500, 1), random_state=rng)
    moved = rng.random(draws.shape) < 0.2
    moved[:, :, 0] = True
    last = np.maximum.accumulate(np.where(moved, np.arange(500)[:, None], 0), axis=2)
    repeated = np.take_along_axis(draws, last, axis=2)
    excess = information_gain(repeated) - information_gain(draws)
    assert excess.mean() == pytest.approx(0.17, abs=0.05)
    long_rest = draws.copy()
    long_rest[:, 0, 100:300] = draws[:, 0, 100:101]
    assert np.isfinite(information_gain(long_rest)).all()


def test_undefined():
    draws = np.random.default_rng(5).random((2, 3, 50, 3))
    draws[0, ..., 1] = 0.3
    draws[1, 2, 4, 0] = np.nan
    odd = np.array([[False, True, False], [True, False, False]])
    np.testing.assert_array_equal(np.isnan(information_gain(draws)), odd)
    assert spread_reduction(draws)[0, 1] == pytest.approx(1.0)
    assert np.isnan(spread_reduction(draws)[1, 0])
    assert np.isnan(information_gain(draws[:, :1, :3])).all()
    assert np.isnan(spread_reduction(draws[:, :1, :1])).all()


def test_draws_must_be_shares_of_the_range():
    for measure in BOTH:
        with pytest.raises(DiagnosticsError, match=r"\(0, 2, 0\).*1\.5"):
            measure(np.array([[[0.1], [0.2], [1.5]]]))
        with pytest.raises(DiagnosticsError, match="chain, draw, parameter"):
            measure(np.zeros((3, 500)))
