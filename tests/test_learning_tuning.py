"""The gradient of carbon that reaches a network, and columns that have none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.inference.likelihood import LogNormal
from proda.inference.profiles import Profiles
from proda.learning.layers import MOST, SiteLayers
from proda.learning.tuning_loss import LOST, MARGIN, STEEPEST, column_loss, judge
from tests.conftest import rough_forcing

N = 48


@pytest.fixture(scope="module")
def judged():
    """COMPAS at rough sites, drawn over all of its prior: some have no steady state."""
    upper, lower = np.array([0.0, 0.1, 0.3]), np.array([0.1, 0.3, 0.8])
    profiles = Profiles(
        np.arange(N).astype(str),
        np.zeros(N),
        np.zeros(N),
        3 * np.arange(N + 1),
        np.tile(upper, N),
        np.tile(lower, N),
        np.full(3 * N, 20000.0),
    )
    model = proda.load_model("compas")
    layers = SiteLayers(model, LogNormal(), "layer_mean", profiles, rough_forcing(2, N))
    sites, likelihood = layers.for_training(), layers.likelihood
    u = jnp.asarray(np.random.default_rng(1).uniform(0.02, 0.98, (N, len(model.rows))))
    both = jax.jit(lambda u: judge(u, sites, model, likelihood))
    loss = jax.jit(jax.vmap(lambda u, s: column_loss(u, s, model, likelihood)[0]))
    return both(u), u, lambda u: loss(MARGIN + (1 - 2 * MARGIN) * u, sites)


def test_columns_without_a_steady_state_pass_no_gradient_and_a_set_loss(judged):
    found, _, _ = judged
    good = np.asarray(found.good)
    assert 0 < good.sum() < N
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.gradient).all()
    assert (np.asarray(found.loss)[~good] == LOST).all()
    assert (np.asarray(found.gradient)[~good] == 0).all()
    assert (np.abs(found.gradient).sum(axis=1)[good] > 0).all()
    assert np.linalg.norm(found.gradient, axis=1).max() <= STEEPEST * (1 + 1e-12)


def test_gradient_is_that_of_the_loss_and_is_cut_in_length_only(judged):
    found, u, loss = judged
    good = np.asarray(found.good)
    length = np.linalg.norm(found.gradient, axis=1)
    along = found.gradient / np.maximum(length, 1e-30)[:, None]
    other = np.random.default_rng(2).standard_normal(u.shape)
    across = other - (other * along).sum(axis=1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=1, keepdims=True)

    def slope(way):
        step = 1e-6
        return np.asarray((loss(u + step * way) - loss(u - step * way)) / (2 * step))

    steep = slope(along)
    cut = length > STEEPEST * (1 - 1e-9)
    assert (good & cut).any()
    assert (good & ~cut).any()
    np.testing.assert_allclose(steep[good & ~cut], length[good & ~cut], rtol=1e-4)
    assert (steep[good & cut] >= STEEPEST * (1 - 1e-4)).all()
    assert (np.abs(slope(across))[good] < 1e-3 * steep[good]).all()


def test_fine_profiles_are_thinned_evenly_for_training_only():
    edges = np.linspace(0.0, 1.0, 101)
    profiles = Profiles(
        np.array(["a"]),
        np.zeros(1),
        np.zeros(1),
        np.array([0, 100]),
        edges[:-1],
        edges[1:],
        np.linspace(3e4, 1e4, 100),
    )
    columns = proda.Forcing.from_dataset(proda.example_columns()).select([2])
    layers = SiteLayers(proda.load_model("clm5"), LogNormal(), "layer_mean", profiles, columns)
    site = layers.for_training()
    assert site.measured.mask.shape == (1, MOST)
    assert bool(site.measured.mask.all())
    middle = np.asarray(site.measured.mid_depth[0])
    assert middle[0] == 0.005
    assert middle[-1] == 0.995
    assert np.diff(middle).max() < 0.05
    assert layers.observe(np.ones((1, 20))).shape == (100,)
