"""Convergence statistics against ArviZ, closed forms and their invariances."""

from __future__ import annotations

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.signal import lfilter

from proda.errors import DiagnosticsError
from proda.inference.diagnostics import convergence
from proda.inference.diagnostics.convergence import ess_bulk, ess_tail, gelman_rubin, rank_rhat

STATISTICS = (gelman_rubin, rank_rhat, ess_bulk, ess_tail)
# chains and draws: usual, one chain, odd numbers, the shortest that are defined
SHAPES = [(3, 500), (4, 100), (1, 51), (2, 9), (3, 8), (2, 5), (2, 4)]


def chains(seed, rho, shape):
    """Return stationary AR(1) chains (site, chain, draw, parameter) of unit variance."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    noise[:, :, 1:] *= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=2)


def arviz(statistic, draws):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ's own imports and divisions
        from arviz_stats.base import array_stats

        series = np.moveaxis(draws, -1, 1)
        options = {
            gelman_rubin: (array_stats.rhat, {"method": "identity"}),
            rank_rhat: (array_stats.rhat, {"method": "rank"}),
            ess_bulk: (array_stats.ess, {"method": "bulk"}),
            ess_tail: (array_stats.ess, {"method": "tail", "prob": (0.05, 0.95)}),
        }
        function, keywords = options[statistic]
        return function(series, chain_axis=-2, draw_axis=-1, **keywords)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rho", [0.0, 0.9, -0.6])
def test_equals_arviz(statistic, shape, rho):
    normal = chains(1, rho, (3, *shape, 2))
    shifted = normal + np.arange(shape[0])[:, None, None]
    for draws in (normal, shifted, np.exp(4 * normal), np.round(2 * normal)):
        ours = statistic(draws)
        assert ours.shape == (3, 2)
        np.testing.assert_allclose(ours, arviz(statistic, draws), rtol=1e-10)
    if shape[0] > 1:
        assert np.isfinite(statistic(normal)).all()


@pytest.mark.parametrize("shape", [(3, 500), (1, 51), (2, 4), (2, 3)])
def test_all_at_once_are_the_same(shape):
    draws = np.round(4 * chains(2, 0.5, (3, *shape, 2)))  # with ties
    draws[0, ..., 1] = 7.0
    together = convergence.convergence(draws)
    for name, number in together._asdict().items():
        np.testing.assert_array_equal(number, getattr(convergence, name)(draws), err_msg=name)


@pytest.mark.parametrize("n_draws", [6, 9, 12, 17])
def test_short_chains_equal_arviz(n_draws):
    """So short that the sum of autocorrelations runs to its last term at some sites."""
    draws = chains(7, -0.3, (400, 2, n_draws, 1))
    for statistic in (ess_bulk, ess_tail):
        np.testing.assert_allclose(statistic(draws), arviz(statistic, draws), rtol=1e-10)


def test_gelman_rubin_by_hand():
    # Means 2 and 5, variances 1 and 4: B/n = 4.5, W = 2.5, n = 3
    draws = np.array([[1.0, 2.0, 3.0], [3.0, 5.0, 7.0]])[..., None]
    np.testing.assert_allclose(gelman_rubin(draws), [np.sqrt((2 / 3 * 2.5 + 4.5) / 2.5)])


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_size_of_ar1(rho):
    draws = chains(2, rho, (300, 3, 500, 1))
    expected = 1500 * (1 - rho) / (1 + rho)
    sizes = ess_bulk(draws)[:, 0]
    # The truncated sum is itself estimated: a few per cent of bias is known (Vehtari et al. 2021).
    assert sizes.mean() == pytest.approx(expected, rel=0.08)
    assert sizes.std() < 0.3 * expected


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_parameter_that_never_moves_has_no_number(statistic):
    draws = chains(3, 0.0, (2, 3, 40, 3))
    whole = statistic(draws)
    draws[1, ..., 2] = 0.1
    draws[0, 1, 7, 1] = np.nan
    broken = statistic(draws)
    odd = np.zeros((2, 3), dtype=bool)
    odd[1, 2] = odd[0, 1] = True
    assert np.isnan(broken[odd]).all()
    np.testing.assert_allclose(broken[~odd], whole[~odd], rtol=1e-12)


def test_chains_that_stand_still_apart():
    draws = np.broadcast_to(np.array([0.1, 0.2, 0.3])[:, None, None], (3, 40, 1))
    assert gelman_rubin(draws) == np.inf
    assert rank_rhat(draws) == np.inf
    assert ess_bulk(draws) < 10.0


def test_one_chain_that_stands_still_is_seen():
    draws = chains(4, 0.0, (1, 3, 200, 1))
    draws[:, 2] = 3.0
    assert gelman_rubin(draws) > 1.5
    assert rank_rhat(draws) > 1.2


def test_difference_in_spread_is_seen_by_rank_rhat_only():
    draws = chains(5, 0.0, (1, 3, 500, 1)) * np.array([1.0, 1.0, 4.0])[:, None, None]
    assert gelman_rubin(draws) < 1.02
    assert rank_rhat(draws) > 1.1


@pytest.mark.parametrize("shape", [(2, 3), (1, 40), (3, 1)])
def test_too_few_chains_or_draws(shape):
    assert np.isnan(rank_rhat(chains(6, 0.0, (2, *shape, 2)))).all()
    assert np.isnan(gelman_rubin(chains(6, 0.0, (2, *shape, 2)))).all() == (1 in shape)


def test_missing_dimension_is_named():
    with pytest.raises(DiagnosticsError, match="chain, draw, parameter"):
        ess_bulk(np.zeros((3, 500)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), rho=st.floats(-0.5, 0.95), n=st.integers(8, 60))
def test_monotone_transforms(seed, rho, n):
    draws = chains(seed, rho, (2, 3, n, 2))
    for statistic in (ess_bulk, ess_tail):
        np.testing.assert_allclose(statistic(np.exp(draws)), statistic(draws), rtol=1e-10)
    # Folding is about the median, so that the folded part knows straight lines only ...
    for line in (4.0 * draws, -0.5 * draws):
        np.testing.assert_allclose(rank_rhat(line), rank_rhat(draws), rtol=1e-10)
    # ... and the bulk part, which decides where chains lie apart, any increasing function.
    apart = draws[:, :2] + np.array([-10.0, 10.0])[:, None, None]
    np.testing.assert_allclose(rank_rhat(np.arctan(apart)), rank_rhat(apart), rtol=1e-10)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), block=st.integers(1, 9))
def test_sites_do_not_know_of_each_other(seed, block):
    draws = chains(seed, 0.5, (5, 2, 3, 20, 2)[1:])
    draws = np.stack([draws, chains(seed + 1, 0.8, draws.shape)])  # two leading dimensions
    order = np.random.default_rng(seed).permutation(2)
    for statistic in STATISTICS:
        whole = statistic(draws)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convergence, "SERIES", block)
            blocks = statistic(draws[:, order])
        np.testing.assert_allclose(blocks, whole[:, order], rtol=1e-12)
