"""WAIC and leave-one-out cross-validation against ArviZ and exact answers."""

from __future__ import annotations

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from proda.errors import DiagnosticsError
from proda.inference.diagnostics import model_choice
from proda.inference.diagnostics.model_choice import psis_loo, waic
from proda.inference.diagnostics.pareto import generalised_pareto

FIELDS_LOO = ("elpd", "p_loo", "se", "pareto_k", "pointwise")
FIELDS_WAIC = ("elpd", "p_waic", "se", "pointwise")


def arviz_loo(log_likelihood, efficiency):
    """Return elpd, k and p of each (site, observation) by ArviZ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arviz_stats.base import array_stats

        results = [
            [array_stats._loo(column[None], r_eff=r) for column in site.T]
            for site, r in zip(log_likelihood, efficiency, strict=True)
        ]
    return np.moveaxis(np.array(results), -1, 0)


def arviz_smoothed(log_likelihood):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arviz_stats.base import array_stats

        return array_stats.psislw(log_likelihood, axis=-1)


def heavy(seed, n_samples, df, scale):
    """Return log-likelihoods whose importance weights have heavy tails (site, sample, obs)."""
    rng = np.random.default_rng(seed)
    return stats.t.logpdf(rng.standard_t(df, (3, n_samples, 4)) * scale, 30)


@pytest.mark.parametrize("n_samples", [25, 225, 226, 1500])
@pytest.mark.parametrize(("df", "scale"), [(100, 0.3), (5, 1.0), (2, 1.0), (1, 0.5)])
def test_loo_equals_arviz(n_samples, df, scale):
    log_likelihood = heavy(1, n_samples, df, scale)
    efficiency = np.array([1.0, 0.4, 0.05])
    elpd, k, p = arviz_loo(log_likelihood, efficiency)
    ours = psis_loo(log_likelihood, np.ones((3, 4), dtype=bool), efficiency)
    np.testing.assert_allclose(ours.pointwise, elpd, rtol=1e-10)
    np.testing.assert_allclose(ours.elpd, elpd.sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(ours.p_loo, p.sum(axis=1), rtol=1e-8)
    np.testing.assert_allclose(ours.se, np.sqrt(4 * elpd.var(axis=1)), rtol=1e-8)
    np.testing.assert_allclose(ours.pareto_k, k.max(axis=1), rtol=1e-9)


def test_smoothed_weights_equal_arviz():
    from proda.inference.diagnostics.pareto import smooth

    ordered = np.sort(-heavy(2, 400, 3, 2.0)[:, :, 0], axis=1)
    theirs, k = arviz_smoothed(-ordered)
    ours, shape = smooth(ordered - ordered[:, -1:], np.full(3, 60))
    ours = ours - np.log(np.exp(ours).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_allclose(shape, k, rtol=1e-10)
    assert (k > 0.3).any()


def test_examples_are_heavy_enough():
    mask = np.ones((3, 4), dtype=bool)
    assert (psis_loo(heavy(1, 1500, 100, 0.3), mask).pareto_k < 0.5).all()
    assert (psis_loo(heavy(1, 1500, 1, 0.5), mask).pareto_k > 1.0).all()


@pytest.mark.parametrize("shape", [0.1, 0.7, 1.2])
def test_pareto_fit_finds_the_shape(shape):
    rng = np.random.default_rng(3)
    n, repeats = 1000, 100
    excess = np.sort(stats.genpareto.rvs(shape, size=(repeats, n), random_state=rng), axis=1)
    k, scale = generalised_pareto(excess, np.full(repeats, n))
    # Asymptotic standard deviation (1 + k) / sqrt(n), and a mean over 100
    assert k.mean() == pytest.approx(shape, abs=0.02)
    assert k.std() == pytest.approx((1 + shape) / np.sqrt(n), rel=0.3)
    assert scale.mean() == pytest.approx(1.0, abs=0.02)


def test_normal_mean_model():
    """Observations N(mu, 1) with a flat prior: posterior, leave-one-out and WAIC are exact."""
    rng = np.random.default_rng(4)
    sites, n, samples = 40, 12, 4000
    y = rng.normal(2.0, 1.0, (sites, n))
    mean = y.mean(axis=1, keepdims=True)
    mu = mean + rng.standard_normal((sites, samples)) / np.sqrt(n)
    log_likelihood = stats.norm.logpdf(y[:, None, :], mu[:, :, None])
    mask = np.ones(y.shape, dtype=bool)

    without = (n * mean - y) / (n - 1)
    exact = stats.norm.logpdf(y, without, np.sqrt(1 + 1 / (n - 1)))
    loo = psis_loo(log_likelihood, mask)
    np.testing.assert_allclose(loo.pointwise, exact, atol=0.04)
    assert (loo.elpd - exact.sum(axis=1)).mean() == pytest.approx(0.0, abs=0.01)
    assert (loo.pareto_k < 0.7).all()

    density = stats.norm.logpdf(y, mean, np.sqrt(1 + 1 / n))
    p = 0.5 / n**2 + (y - mean) ** 2 / n
    criterion = waic(log_likelihood, mask)
    np.testing.assert_allclose(criterion.pointwise, density - p, atol=0.05)
    np.testing.assert_allclose(criterion.p_waic, p.sum(axis=1), rtol=0.1)
    np.testing.assert_allclose(
        criterion.se, np.sqrt(n) * criterion.pointwise.std(axis=1), rtol=1e-10
    )


def test_waic_by_hand():
    likelihood = np.array([[0.1, 0.5], [0.3, 0.5]])
    result = waic(np.log(likelihood), [True, True])
    p = np.log(3.0) ** 2 / 2
    assert result.p_waic == pytest.approx(p)
    np.testing.assert_allclose(result.pointwise, [np.log(0.2) - p, np.log(0.5)])
    assert result.elpd == pytest.approx(np.log(0.1) - p)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    junk=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 0.0]),
    extra=st.integers(0, 3),
    block=st.sampled_from([1, 200, 1 << 19]),
)
def test_padding_order_and_blocks(seed, junk, extra, block):
    rng = np.random.default_rng(seed)
    log_likelihood = rng.normal(-2.0, 1.0, (5, 60, 4))
    mask = rng.random((5, 4)) < 0.6
    mask[0], mask[1] = True, False
    efficiency = rng.uniform(0.05, 1.0, 5)
    order = rng.permutation(5)
    filled = np.where(mask[:, None, :], log_likelihood, junk)
    wide = np.concatenate((filled, np.full((5, 60, extra), junk)), axis=2)[order]
    wide_mask = np.concatenate((mask, np.zeros((5, extra), dtype=bool)), axis=1)[order]
    loo, criterion = psis_loo(log_likelihood, mask, efficiency), waic(log_likelihood, mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_choice, "BLOCK", block)
        loo_wide = psis_loo(wide, wide_mask, efficiency[order])
        criterion_wide = waic(wide, wide_mask)
    pairs = [(loo, loo_wide, f) for f in FIELDS_LOO]
    pairs += [(criterion, criterion_wide, f) for f in FIELDS_WAIC]
    for narrow, widened, field in pairs:
        ours = getattr(widened, field)
        if field == "pointwise":
            assert np.isnan(ours[~wide_mask]).all()
            ours = ours[:, :4]
        np.testing.assert_allclose(ours, getattr(narrow, field)[order], rtol=1e-9, atol=1e-12)
    assert np.isnan(loo.elpd[1])
    assert np.isnan(loo.pareto_k[1])


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_likelihood_that_is_not_finite_stays_at_its_site(value):
    log_likelihood = heavy(5, 100, 5, 1.0)
    log_likelihood[1, 7, 2] = value
    mask = np.ones((3, 4), dtype=bool)
    for result in (waic(log_likelihood, mask), psis_loo(log_likelihood, mask)):
        np.testing.assert_array_equal(np.isnan(result.elpd), [False, True, False])
        np.testing.assert_array_equal(np.isnan(result.se), [False, True, False])
        assert np.isnan(result.pointwise).sum() == 1


def test_tails_without_a_fit_are_flagged_and_not_smoothed():
    log_likelihood = heavy(6, 200, 5, 1.0)[0, :, :2]
    log_likelihood[50:120, 0] = log_likelihood[:, 0].min() - 1.0  # a chain that stood still
    log_likelihood[:, 1] *= 1000.0  # weights below what float64 can hold
    result = psis_loo(log_likelihood, [True, True])
    assert result.pareto_k == np.inf
    raw = np.log(200) - np.logaddexp.reduce(-log_likelihood, axis=0)
    np.testing.assert_allclose(result.pointwise, raw, rtol=1e-10)


def test_a_single_observation_has_no_standard_error():
    log_likelihood = heavy(7, 100, 5, 1.0)[:, :, :1]
    assert np.isnan(waic(log_likelihood, np.ones((3, 1), dtype=bool)).se).all()
    assert np.isfinite(waic(log_likelihood, np.ones((3, 1), dtype=bool)).elpd).all()


def test_what_is_refused():
    values, mask = np.zeros((3, 30, 4)), np.ones((3, 4), dtype=bool)
    with pytest.raises(DiagnosticsError, match="sample, observation"):
        waic(values, mask[:, :3])
    with pytest.raises(DiagnosticsError, match="at least 25"):
        psis_loo(values[:, :24], mask)
    with pytest.raises(DiagnosticsError, match="per site"):
        psis_loo(values, mask, np.ones(2))
    for efficiency in (0.0, np.nan):
        with pytest.raises(DiagnosticsError, match="above 0"):
            psis_loo(values, mask, efficiency)
