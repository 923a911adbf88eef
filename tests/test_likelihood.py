"""The observation operator and the likelihoods, against SciPy and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator

from proda.grid import CLM5_GRID
from proda.inference.likelihood import LogNormal, Measured, PublishedCLM5, PublishedCOMPAS
from proda.inference.operator import observe, pchip_slopes, weights

NODE = CLM5_GRID.node
profiles = st.lists(
    st.floats(1e-3, 1e5, allow_nan=False), min_size=len(NODE), max_size=len(NODE)
).map(np.array)


_slopes = jax.jit(lambda carbon: pchip_slopes(carbon, NODE))
_observe = jax.jit(lambda *given: observe(*given, CLM5_GRID))


def observed(carbon, upper, lower, operator, nbedrock=20):
    value, slope = weights(np.array(upper), np.array(lower), operator, CLM5_GRID)
    return np.asarray(_observe(carbon, value, slope, nbedrock))


@settings(deadline=None, max_examples=60)
@given(profiles)
def test_slopes_are_scipys(carbon):
    expected = PchipInterpolator(NODE, carbon).derivative()(NODE)
    np.testing.assert_allclose(_slopes(carbon), expected, rtol=1e-9, atol=1e-9 * carbon.max())


@settings(deadline=None, max_examples=60)
@given(profiles, st.floats(0.011, 8.0), st.floats(0.001, 1.0))
def test_mid_depth_is_scipys_interpolant(carbon, middle, half):
    expected = PchipInterpolator(NODE, carbon)(middle)
    found = observed(carbon, [middle - half], [middle + half], "mid_depth")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * carbon.max())


@settings(deadline=None, max_examples=60)
@given(profiles, st.floats(0.01, 8.02), st.floats(0.001, 3.0))
def test_layer_mean_is_the_integral_of_the_interpolant(carbon, upper, thickness):
    lower = min(upper + thickness, 8.03)
    expected = PchipInterpolator(NODE, carbon).integrate(upper, lower) / (lower - upper)
    found = observed(carbon, [upper], [lower], "layer_mean")
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8 * carbon.max())


@settings(deadline=None, max_examples=60)
@given(profiles)
def test_layers_that_share_a_column_add_up(carbon):
    bounds = np.array([0.0, 0.005, 0.1, 0.33, 1.0, 2.7, 8.5, 9.5])
    parts = observed(carbon, bounds[:-1], bounds[1:], "layer_mean")
    whole = observed(carbon, bounds[:1], bounds[-1:], "layer_mean")
    np.testing.assert_allclose((parts * np.diff(bounds)).sum() / 9.5, whole[0], rtol=1e-9)


@settings(deadline=None, max_examples=60)
@given(profiles, st.sampled_from(["layer_mean", "mid_depth"]))
def test_nothing_modelled_exceeds_the_layers_around(carbon, operator):
    upper = np.linspace(0.0, 7.0, 30)
    found = observed(carbon, upper, upper + 0.4, operator)
    assert (found <= carbon.max() * (1 + 1e-9)).all()
    assert (found >= carbon.min() - 1e-9 * carbon.max()).all()


@pytest.mark.parametrize("operator", ["layer_mean", "mid_depth"])
def test_bedrock_does_not_pull_the_soil_above_it_down(operator):
    carbon = np.where(np.arange(20) < 8, 1000.0, 0.0)  # soil to 0.92 m
    found = observed(carbon, [0.0, 0.7], [0.2, 0.92], operator, nbedrock=8)
    np.testing.assert_allclose(found, 1000.0)


def measured(carbon, middle, padding=0):
    n = len(carbon)
    return Measured(
        jnp.asarray(np.r_[carbon, np.ones(padding)]),
        jnp.asarray(np.r_[middle, np.zeros(padding)]),
        jnp.asarray(np.r_[np.ones(n, bool), np.zeros(padding, bool)]),
    )


def test_log_normal_is_a_density_of_the_stock():
    def density(o):
        data = measured(np.array([o]), np.array([0.1]))
        return float(jnp.exp(LogNormal(0.4).pointwise(jnp.array([7.0]), data, {})[0]))

    total, _ = quad(density, 1e-6, 100.0, limit=200)
    assert total == pytest.approx(1.0, abs=1e-6)
    estimated = LogNormal(None).pointwise(
        jnp.array([7.0]), measured(np.array([3.0]), np.array([0.1])), {"error_sd": jnp.array(0.4)}
    )
    assert float(jnp.exp(estimated[0])) == pytest.approx(density(3.0))


def test_published_cost_of_clm5_by_hand():
    o, z = np.array([10.0, 4.0, 1.0]), np.array([0.1, 0.5, 1.5])
    m = np.array([9.0, 5.0, 2.0])
    # |o - 5| = 5, 1, 4: ranks 1, 3, 2; |z - 0.7| = 0.6, 0.2, 0.8: ranks 2, 3, 1
    rank = np.array([1.5, 3.0, 1.5])
    weight = np.maximum(1.0, 10.0 * np.exp(-(rank - 1.0)))
    expected = -weight * (m - o) ** 2 / (2 * (0.6 * o) ** 2)
    found = PublishedCLM5().pointwise(jnp.asarray(m), measured(o, z), {})
    np.testing.assert_allclose(found, expected)


def test_published_cost_of_compas_by_hand():
    o, m = np.array([10.0, 4.0, 1.0]), np.array([9.0, 5.0, 2.0])
    found = PublishedCOMPAS().pointwise(jnp.asarray(m), measured(o, o), {})
    assert float(found.sum()) == pytest.approx(-5 * 3.0 / (25 + 1 + 16))


@pytest.mark.parametrize("likelihood", [LogNormal(), PublishedCLM5(), PublishedCOMPAS()])
def test_padding_has_no_influence(likelihood):
    o, z = np.array([10.0, 4.0, 1.0]), np.array([0.1, 0.5, 1.5])
    m = np.array([9.0, 5.0, 2.0])
    short = likelihood.pointwise(jnp.asarray(m), measured(o, z), {})
    long = likelihood.pointwise(jnp.asarray(np.r_[m, 77.0, 1.0]), measured(o, z, padding=2), {})
    np.testing.assert_allclose(long, np.r_[short, 0.0, 0.0])
