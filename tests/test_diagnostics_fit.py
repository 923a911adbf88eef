"""Measures of fit against hand calculation, and indifference to padding."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from proda.errors import DiagnosticsError
from proda.inference.diagnostics.fit import (
    bias,
    interval_coverage,
    log_r2,
    nash_sutcliffe,
    rmse,
)

PER_SITE = (nash_sutcliffe, rmse, bias)
OBSERVED = np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 9.0], [5.0, 1.0, 1.0], [2.0, 3.0, 4.0]])
MODELLED = np.array([[2.0, 2.0, 4.0], [4.0, 3.0, 0.0], [5.0, 0.0, 0.0], [2.0, 3.0, 4.0]])
MASK = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)


def test_by_hand():
    # Site 0: mean 3, squares 4 + 1 + 9 = 14, errors 1 + 0 + 4 = 5
    nan = np.nan
    np.testing.assert_allclose(
        nash_sutcliffe(MODELLED, OBSERVED, MASK), [1 - 5 / 14, nan, nan, nan]
    )
    np.testing.assert_allclose(
        rmse(MODELLED, OBSERVED, MASK), [np.sqrt(5 / 3), np.sqrt(1 / 2), 0.0, nan]
    )
    np.testing.assert_allclose(bias(MODELLED, OBSERVED, MASK), [-1 / 3, -1 / 2, 0.0, nan])


def test_variance_is_that_of_the_observations():
    observed, used = np.array([1.0, 2.0, 3.0]), np.ones(3, dtype=bool)
    assert nash_sutcliffe(np.full(3, 2.0), observed, used) == pytest.approx(0.0)
    assert nash_sutcliffe(np.array([3.0, 2.0, 1.0]), observed, used) == pytest.approx(-3.0)
    assert np.isnan(nash_sutcliffe(observed, np.full(3, 0.1), used))


def test_log_r2_pools_all_layers():
    log_o, log_m = np.log(OBSERVED[MASK]), np.array([0.1, 0.7, 1.5, 1.4, 1.2, 1.7])
    modelled = np.full(MASK.shape, -1.0)
    modelled[MASK] = np.exp(log_m)
    expected = 1 - ((log_o - log_m) ** 2).sum() / ((log_o - log_o.mean()) ** 2).sum()
    assert log_r2(modelled, OBSERVED, MASK) == pytest.approx(expected)
    # Equal relative errors weigh the same whatever the stock
    assert log_r2(1000 * modelled, 1000 * OBSERVED, MASK) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_no_logarithm(value):
    modelled = OBSERVED.copy()
    modelled[1, 1] = value
    with pytest.raises(DiagnosticsError, match=r"modelled.*\(1, 1\).*mask"):
        log_r2(modelled, OBSERVED, MASK)


def test_coverage_of_a_known_distribution():
    rng = np.random.default_rng(1)
    observed = rng.standard_normal((400, 6))
    mask = rng.random((400, 6)) < 0.7
    draws = rng.standard_normal((400, 300, 6))
    for level in (0.5, 0.9):
        share = interval_coverage(draws, observed, mask, level)
        overall = np.nansum(share * mask.sum(axis=1)) / mask.sum()
        assert overall == pytest.approx(level, abs=0.03)
    narrow = interval_coverage(0.2 * draws, observed, mask, 0.9)
    assert np.nanmean(narrow) < 0.4


def test_coverage_by_hand():
    draws = np.linspace(0.0, 100.0, 101)[:, None] * np.ones(3)
    observed = np.array([5.0, 4.0, 95.5])
    used = np.array([True, True, True])
    assert interval_coverage(draws, observed, used, 0.9) == pytest.approx(1 / 3)
    assert interval_coverage(draws, observed, [True, False, False], 0.9) == 1.0
    assert np.isnan(interval_coverage(draws, observed, [False] * 3, 0.9))
    draws[3, 0] = np.inf
    assert np.isnan(interval_coverage(draws, observed, used, 0.9))
    with pytest.raises(DiagnosticsError, match="probability"):
        interval_coverage(draws, observed, used, 90)


def test_shapes_must_match():
    for measure in PER_SITE:
        with pytest.raises(DiagnosticsError, match="the same shape"):
            measure(MODELLED, OBSERVED[:2], MASK)
    with pytest.raises(DiagnosticsError, match="sample"):
        interval_coverage(np.zeros(3), np.zeros(3), np.ones(3, dtype=bool), 0.9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    junk=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 0.0]),
    extra=st.integers(0, 4),
)
def test_padding_and_order_of_sites(seed, junk, extra):
    rng = np.random.default_rng(seed)
    observed, modelled = np.exp(rng.standard_normal((2, 6, 5)))
    mask = rng.random((6, 5)) < 0.6
    mask[0] = True
    draws = modelled[:, None, :] * np.exp(0.3 * rng.standard_normal((6, 40, 5)))
    order = rng.permutation(6)

    def padded(values):
        spare = np.broadcast_to(mask if values.ndim == 2 else mask[:, None], values.shape)
        filled = np.where(spare, values, junk)
        tail = np.full((*values.shape[:-1], extra), junk)
        return np.concatenate((filled, tail), axis=-1)[order]

    wide = np.concatenate((mask, np.zeros((6, extra), dtype=bool)), axis=1)[order]
    for measure in PER_SITE:
        np.testing.assert_allclose(
            measure(padded(modelled), padded(observed), wide),
            measure(modelled, observed, mask)[order],
            rtol=1e-12,
            atol=1e-14,
        )
    assert log_r2(padded(modelled), padded(observed), wide) == pytest.approx(
        log_r2(modelled, observed, mask), rel=1e-12
    )
    np.testing.assert_array_equal(
        interval_coverage(padded(draws), padded(observed), wide, 0.8),
        interval_coverage(draws, observed, mask, 0.8)[order],
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_stays_at_its_site(value):
    used = np.ones(OBSERVED.shape, dtype=bool)
    modelled = MODELLED.copy()
    modelled[2, 1] = value
    for measure in PER_SITE:
        result = measure(modelled, OBSERVED, used)
        assert np.isnan(result[2])
        assert np.isfinite(np.delete(result, 2)).all()
