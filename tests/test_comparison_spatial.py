"""Correlations of maps: closed forms, and simulated fields on which the naive test fails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from proda.comparison.agreement import agreement, deming_slope
from proda.comparison.spatial import (
    correlation_test,
    difference_of_correlations,
    effective_size,
    interval,
    p_value,
)
from proda.errors import ComparisonError
from proda.places import EARTH_RADIUS_KM, great_circle_km, unit_vectors


def distances(lat, lon):
    return great_circle_km(unit_vectors(lat, lon), unit_vectors(lat, lon))


def places(n, rng):
    return np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)


def test_distances_on_the_sphere():
    lat, lon = np.array([0.0, 0.0, 90.0, 0.0]), np.array([0.0, 90.0, 13.0, 180.0])
    quarter = 0.5 * np.pi * EARTH_RADIUS_KM
    d = distances(lat, lon)
    np.testing.assert_allclose(d[0, 1:], [quarter, quarter, 2 * quarter])
    np.testing.assert_allclose(d, d.T)


@pytest.mark.parametrize("length_km", [1500.0, 3000.0])
def test_naive_test_rejects_independent_fields_far_too_often_and_ours_at_5_percent(length_km):
    rng = np.random.default_rng(1)
    lat, lon = places(250, rng)
    shape = np.linalg.cholesky(np.exp(-distances(lat, lon) / length_km))
    tests = [
        correlation_test(*(shape @ rng.standard_normal((250, 2))).T, lat, lon) for _ in range(300)
    ]
    naive, ours = (np.mean([getattr(t, p) < 0.05 for t in tests]) for p in ("p_naive", "p"))
    assert naive > 0.15
    # 300 tests at 5 %: 99.9 % of the time between 1.7 and 9.7 %
    assert 0.015 < ours < 0.097
    covered = np.mean([t.low <= 0 <= t.high for t in tests])
    assert 0.90 < covered < 0.99
    # The worth of the cells is what the correlations' own spread says.
    true = 1.0 + 1.0 / np.var([t.r for t in tests])
    assert 0.75 < np.median([t.n_effective for t in tests]) / true < 1.35


def test_without_autocorrelation_every_cell_counts():
    rng = np.random.default_rng(2)
    lat, lon = places(400, rng)
    found = [
        effective_size(*rng.standard_normal((2, 400)), lat, lon, class_km=500.0) for _ in range(20)
    ]
    assert 330 < np.median(found) <= 400


def test_a_sample_of_cells_finds_the_same_worth_as_all():
    rng = np.random.default_rng(3)
    lat, lon = places(1500, rng)
    shape = np.linalg.cholesky(np.exp(-distances(lat, lon) / 2000.0))
    x, y = (shape @ rng.standard_normal((1500, 2))).T
    whole = effective_size(x, y, lat, lon, points=1500)
    parts = [effective_size(x, y, lat, lon, points=700, seed=s) for s in range(5)]
    assert abs(np.mean(parts) / whole - 1) < 0.15


def test_weights_count_as_cells_do():
    rng = np.random.default_rng(4)
    lat, lon = places(300, rng)
    x, y = rng.standard_normal((2, 300))
    w = np.where(np.arange(300) < 200, 1.0, 0.0) + 1e-12
    some = correlation_test(x[:200], y[:200], lat[:200], lon[:200])
    weighted = correlation_test(x, y, lat, lon, w)
    np.testing.assert_allclose(weighted.r, some.r, atol=1e-9)
    np.testing.assert_allclose(weighted.n_effective, some.n_effective, rtol=1e-6)
    assert weighted.n == 300


def test_r_and_naive_p_are_scipys():
    rng = np.random.default_rng(5)
    lat, lon = places(60, rng)
    x = rng.standard_normal(60)
    y = 0.3 * x + rng.standard_normal(60)
    found, known = correlation_test(x, y, lat, lon), stats.pearsonr(x, y)
    np.testing.assert_allclose([found.r, found.p_naive], [known.statistic, known.pvalue])
    known_interval = known.confidence_interval(0.95)
    np.testing.assert_allclose(interval(known.statistic, 60), list(known_interval))


def test_too_few_or_constant():
    with pytest.raises(ComparisonError, match="3 places"):
        effective_size(*np.ones((4, 3)))
    rng = np.random.default_rng(0)
    with pytest.raises(ComparisonError, match="same everywhere"):
        effective_size(np.ones(9), rng.random(9), *places(9, rng))
    assert np.isnan(p_value(0.5, 2.0))
    assert np.isnan(interval(0.5, 3.0)).all()
    assert p_value(1.0, 10) == 0.0
    assert interval(1.0, 10) == (1.0, 1.0)


def test_change_of_a_correlation():
    # Zou (2007), section on independent correlations: r 0.49 (n 145), 0.36 (n 87).
    gain, low, high = difference_of_correlations((0.36, 87), (0.49, 145))
    np.testing.assert_allclose(gain, 0.13)
    ends = interval(0.36, 87), interval(0.49, 145)
    assert ends[1][0] - ends[0][1] < low < 0 < gain < high < ends[1][1] - ends[0][0]
    wide = difference_of_correlations((0.0, 50), (0.5, 50))
    assert wide[1] > 0
    assert difference_of_correlations((0.0, 10), (0.5, 10))[1] < 0


def test_one_to_one_statistics_by_hand():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    w = np.array([1.0, 1.0, 1.0, 1.0])
    found = agreement(x, 2 * x + 1, w)
    np.testing.assert_allclose([found["slope"], found["intercept"]], [2.0, 1.0])
    np.testing.assert_allclose(found["bias"], 3.5)
    np.testing.assert_allclose(found["rmse"], np.sqrt(np.mean((x + 1) ** 2)))
    # Lin: 2 sxy / (sxx + syy + (mean difference)^2), sxx = 1.25, sxy = 2.5, syy = 5
    np.testing.assert_allclose(found["concordance"], 5.0 / (6.25 + 3.5**2))
    assert found["share_above"] == 1.0
    same = agreement(x, x, np.array([1.0, 2.0, 0.5, 0.1]))
    np.testing.assert_allclose([same["concordance"], same["slope"], same["rmse"]], [1, 1, 0])
    assert same["share_above"] == 0.0
    assert np.isnan(deming_slope(1.0, 1.0, 0.0))
    # The major axis treats both alike: exchanging them inverts the slope.
    np.testing.assert_allclose(deming_slope(1.0, 3.0, 0.7), 1 / deming_slope(3.0, 1.0, 0.7))


def test_a_field_that_varies_in_few_cells_has_r_but_no_effective_number():
    """Such as an allocation of input that is the same wherever soil thaws."""
    rng = np.random.default_rng(2)
    n = 4000
    lat, lon = rng.uniform(-60, 80, n), rng.uniform(-180, 180, n)
    x = np.zeros(n)
    x[7] = 1.0
    weights = np.ones(n)
    weights[7] = 1e-12  # never drawn
    test = correlation_test(x, rng.standard_normal(n), lat, lon, weights)
    assert np.isfinite(test.r)
    assert np.isnan([test.n_effective, test.p, test.low, test.high]).all()
