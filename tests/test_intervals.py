"""Intervals of carbon by group, of stocks, and the residual: closed forms, and what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from proda.errors import FileError, LearningError
from proda.learning.archive import write_archive
from proda.learning.boosted_residual import (
    BoostedResidual,
    crossed_residual,
    read_residual,
    write_residual,
)
from proda.learning.carbon_baselines import fit_baseline
from proda.learning.conformal import MINIMUM, Intervals, fit_intervals, quantiles
from proda.learning.stock_intervals import fit_stock_intervals, mean_error, stock_scores

SCALE = np.array([0.5, 0.5, 0.5])


def test_quantiles_are_order_statistics():
    score = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert quantiles(score) == (5.0, 95.0)  # of 100 with the next one, 5 lie beyond each end
    assert quantiles(np.array([2.0, 1.0])) == (1.0, 2.0)
    assert np.isnan(quantiles(np.array([np.inf, np.nan]))).all()


def test_layers_without_carbon_are_beyond_the_upper_end():
    score = np.concatenate([np.arange(1.0, 97.0), np.full(3, np.inf)])
    low, high = quantiles(score)
    assert (low, high) == (5.0, 95.0)  # one finite layer beyond it, and three without carbon
    most = np.concatenate([np.arange(1.0, 51.0), np.full(50, np.inf)])
    assert quantiles(most)[1] == 50.0  # no interval can hold those: the largest finite one


def test_intervals_hold_by_depth_and_by_warm_and_cold_soil():
    rng = np.random.default_rng(0)
    depth = np.tile([0.1, 0.5, 1.5], 8000)
    cold = np.arange(24000) % 4 == 0
    spread = rng.uniform(0.1, 1.0, 24000)
    sd = np.array([0.3, 0.6, 1.2])[np.arange(24000) % 3] * np.where(cold, 2.0, 1.0)
    off = rng.standard_t(3, 24000) * np.sqrt(sd**2 + spread**2) + np.where(cold, 0.5, 0.0)
    half = rng.random(24000) < 0.5
    one = fit_intervals(off[half], spread[half], depth[half], cold[half], SCALE)
    low, high = one.bounds(np.zeros(24000), spread, depth, cold)
    inside = (off >= low) & (off <= high)
    for d in (0.1, 0.5, 1.5):
        for c in (False, True):
            assert 0.87 <= inside[~half & (depth == d) & (cold == c)].mean() <= 0.93
    assert (one.high[:, 1] > one.high[:, 0]).all()


def test_group_with_few_layers_takes_its_class_of_depth():
    rng = np.random.default_rng(1)
    n = 1000
    depth, off = np.full(n, 0.1), rng.normal(size=n)
    cold = np.arange(n) < MINIMUM - 1
    one = fit_intervals(off, np.zeros(n), depth, cold, SCALE)
    both = quantiles(off / 0.5)
    assert (one.low[0, 1], one.high[0, 1]) == both
    assert (one.low[0, 0], one.high[0, 0]) == quantiles(off[~cold] / 0.5)
    enough = fit_intervals(off, np.zeros(n), depth, np.arange(n) < MINIMUM, SCALE)
    assert (enough.low[0, 1], enough.high[0, 1]) == quantiles(off[:MINIMUM] / 0.5)
    # depths without a layer take the widest of those that have some
    np.testing.assert_array_equal(one.low[1:], one.low[0].min())
    np.testing.assert_array_equal(one.high[1:], one.high[0].max())


def test_intervals_come_back_from_plain_values_and_from_those_of_earlier_versions():
    one = fit_intervals(np.arange(30.0), np.zeros(30), np.full(30, 0.1), np.zeros(30, bool), SCALE)
    again = Intervals.from_dict(one.as_dict())
    for name in ("scale", "low", "high", "stock_low", "stock_high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    none = fit_intervals(np.full(3, np.nan), np.zeros(3), np.zeros(3), np.zeros(3, bool), SCALE)
    back = Intervals.from_dict(none.as_dict())
    assert np.isneginf(back.low).all()
    assert np.isposinf(back.high).all()
    old = Intervals.from_dict({"scale": [1, 1, 1], "low": [-1, -2, -3], "high": [1, 2, 3]})
    np.testing.assert_array_equal(old.high, [[1, 1], [2, 2], [3, 3]])
    assert np.isnan(old.stock_low).all()


def test_score_of_a_stock_by_hand():
    site = np.array([0, 0, 1, 2, 2, 3])
    upper = np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0])
    lower = np.array([0.1, 0.5, 0.2, 0.3, 0.3, 0.3])
    observed = np.array([4.0, 2.0, 9.0, 1.0, 1.0, 1.0])
    modelled = np.array([2.0, 1.0, 9.0, 1.0, 1.0, 0.0])
    error = np.array([0.4, 0.8, 1.0, 1.0, 1.0, 1.0])
    whole, score = stock_scores(0, site, upper, lower, observed, modelled, error, 4)
    # site 1 is measured to 20 cm only, the layers of site 2 are there twice, site 3 holds nothing
    np.testing.assert_array_equal(whole, [True, False, False, True])
    expected = (0.1 * 2.0 * 0.4 + 0.2 * 1.0 * 0.8) / (0.1 * 2.0 + 0.2 * 1.0)
    assert score[0] == pytest.approx(np.log(2.0) / expected)
    assert np.isnan(score[1:3]).all()
    assert score[3] == np.inf
    parts = np.array([[0.2, 0.2], [0.0, 0.0]])
    np.testing.assert_allclose(mean_error(parts, np.array([0.4, 0.8])), [0.6, np.nan])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_intervals_of_stocks_hold_whatever_the_correlation_between_layers(share):
    rng = np.random.default_rng(2)
    n = 4000
    site = np.repeat(np.arange(n), 4)
    upper, lower = np.tile([0.0, 0.1, 0.3, 0.6], n), np.tile([0.1, 0.3, 0.6, 1.0], n)
    modelled = np.tile([30.0, 20.0, 10.0, 5.0], n)
    common = rng.normal(size=n)[site]
    off = 0.5 * (np.sqrt(share) * common + np.sqrt(1 - share) * rng.normal(size=4 * n))
    observed, error = modelled * np.exp(off), np.full(4 * n, 0.5)
    cold = np.arange(n) % 5 == 0
    half = site % 2 == 0
    empty = fit_intervals(off, np.zeros(4 * n), 0.5 * (upper + lower), cold[site], SCALE)
    one = fit_stock_intervals(
        empty,
        site[half],
        upper[half],
        lower[half],
        observed[half],
        modelled[half],
        error[half],
        cold,
    )
    thick = lower - upper
    stock = np.bincount(site, observed * thick)
    mean = np.full(n, modelled[:4] @ thick[:4])
    low, high = one.stock_bounds(1, np.log(mean), np.full(n, 0.5), cold)
    inside = (np.log(stock) >= low) & (np.log(stock) <= high)
    other = np.arange(n) % 2 == 1
    assert 0.88 <= inside[other].mean() <= 0.92
    width = (high - low).mean()
    assert width < 1.2 if share == 0.0 else width > 1.5  # 2 x 1.645 x 0.5 if wholly correlated
    assert np.isnan(one.stock_low[2]).all()  # nothing is measured down to 2 m


def layers_of_folds():
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(300, 3)).astype(np.float32)
    site = np.repeat(np.arange(300), 3)
    depth = np.tile([0.05, 0.3, 1.0], 300)
    known = 2.0 - depth + 0.1 * rng.normal(size=900)
    observed = known + inputs[site, 0] + 0.1 * rng.normal(size=900)
    return inputs, site, depth, known, observed, np.arange(300) % 3


def test_residual_of_a_fold_has_seen_none_of_its_layers():
    _, site, _, known, observed, fold = layers_of_folds()
    expected = known + 0.4 * (observed - known)
    use = np.ones(900, bool)
    found = crossed_residual(known, expected, observed, site, fold[site], use)
    own = fold[site] == 1
    changed = np.where(own, observed[::-1] + 5.0, observed)
    other = crossed_residual(known, expected, changed, site, fold[site], use)
    np.testing.assert_array_equal(found[own], other[own])
    assert np.abs(found[~own] - other[~own]).max() > 0.01
    assert np.std(observed - known - found) < np.std(observed - known)


def test_residual_without_an_answer_is_none():
    _, site, _, known, observed, fold = layers_of_folds()
    lost = site < 5
    found = crossed_residual(
        np.where(lost, np.nan, known), observed, observed, site, fold[site], np.ones(900, bool)
    )
    np.testing.assert_array_equal(np.isnan(found), lost)


def test_residual_comes_back_from_its_file_or_is_refused(tmp_path):
    inputs, site, depth, known, observed, _ = layers_of_folds()
    assert read_residual(tmp_path) is None
    trees = fit_baseline("boosting", inputs, site, depth, 1000.0 * np.exp(observed))
    one = BoostedResidual(0.4, trees, inputs.shape[1])
    write_residual(tmp_path, one)
    again = read_residual(tmp_path)
    np.testing.assert_array_equal(
        again.predict(inputs, site, depth, known), one.predict(inputs, site, depth, known)
    )
    expected = trees.predict(inputs, site, depth) - np.log(1000.0)
    np.testing.assert_allclose(
        known + one.predict(inputs, site, depth, known), 0.6 * known + 0.4 * expected
    )
    with pytest.raises(LearningError, match="fitted for 3 inputs, the network has 2"):
        again.predict(inputs[:, :2], site, depth, known)
    header = {"kind": "share of boosting", "n_inputs": 3}
    write_archive(tmp_path / "residual.npz", header, trees.arrays)
    with pytest.raises(FileError, match="contains no boosted residual"):
        read_residual(tmp_path)
    write_archive(tmp_path / "residual.npz", {"kind": "baselines"}, one.arrays)
    with pytest.raises(FileError, match="contains no boosted residual"):
        read_residual(tmp_path)
    (tmp_path / "residual.npz").write_bytes(b"PK")
    with pytest.raises(FileError, match=r"residual\.npz"):
        read_residual(tmp_path)
