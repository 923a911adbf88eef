"""Proposals inside the prior range: their distribution, and the same alone and among others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from proda.inference.samplers import inside
from proda.inference.samplers.adaptive_metropolis import TEST_WIDTH
from proda.inference.samplers.inside import propose_inside
from proda.inference.samplers.truncated_normal import Shifts, draw, shifts

N_SITES, N_CHAINS, D = 9, 3, 6
N_DRAWS = 20_000

shifts_of = jax.jit(shifts)
draw_many = jax.jit(jax.vmap(draw, in_axes=(0, None, None, None)))
propose_alone = jax.jit(propose_inside)
propose_among = jax.jit(jax.vmap(jax.vmap(propose_inside)))
propose_many = jax.jit(jax.vmap(propose_inside, in_axes=(0, None, None, None)))


def correlated(d, seed, correlation=0.9):
    """Return a factor with scales of a tenth to twice the range and strong correlations."""
    rng = np.random.default_rng(seed)
    common = rng.choice([-1.0, 1.0], d)
    matrix = correlation * np.outer(common, common) + (1.0 - correlation) * np.eye(d)
    scale = np.geomspace(0.1, 2.0, d)
    return np.linalg.cholesky(matrix * np.outer(scale, scale))


def accepted_draws(place, factor, shifted, n=N_DRAWS):
    keys = jax.random.split(jax.random.key(5), n)
    drawn, log_accept = draw_many(keys, jnp.asarray(place), jnp.asarray(factor), shifted)
    assert float(log_accept.max()) < 1e-9  # else the bound would be none
    keep = np.log(np.random.default_rng(6).uniform(size=n)) < np.asarray(log_accept)
    return np.asarray(drawn)[keep]


def rejected_until_inside(place, factor, n, seed=7):
    rng, kept = np.random.default_rng(seed), []
    while sum(map(len, kept)) < n:
        drawn = place + rng.normal(size=(10 * n, len(place))) @ factor.T
        kept.append(drawn[((drawn > 0.0) & (drawn < 1.0)).all(axis=1)])
    return np.concatenate(kept)[:n]


@pytest.mark.parametrize("place", [np.full(4, 0.5), np.array([1e-3, 0.999, 0.5, 1e-6])])
def test_draws_have_the_distribution_of_draws_until_inside(place):
    factor = correlated(4, 2)
    shifted = shifts_of(jnp.asarray(place), jnp.asarray(factor))
    got = accepted_draws(place, factor, shifted)
    wanted = rejected_until_inside(place, factor, N_DRAWS)
    assert len(got) > 0.1 * N_DRAWS
    assert ((got > 0.0) & (got < 1.0)).all()
    rng = np.random.default_rng(8)
    # Every coordinate, and directions across, where correlations count.
    for direction in (*np.eye(4), *rng.normal(size=(4, 4))):
        assert stats.ks_2samp(got @ direction, wanted @ direction).pvalue > 1e-3


def test_one_coordinate_is_scipys_truncated_normal():
    place, factor = np.array([0.01]), np.array([[0.3]])
    shifted = shifts_of(jnp.asarray(place), jnp.asarray(factor))
    got = accepted_draws(place, factor, shifted)
    assert len(got) == N_DRAWS  # one coordinate is drawn from its own distribution
    known = stats.truncnorm(-0.01 / 0.3, 0.99 / 0.3, loc=0.01, scale=0.3)
    assert stats.kstest(got[:, 0], known.cdf).pvalue > 1e-3


def test_the_bound_is_the_largest_ratio_and_shifts_accept_more():
    d = 20
    place = np.where(np.arange(d) % 2 == 0, 1e-4, 0.9999)
    factor = correlated(d, 3, 0.3)
    shifted = shifts_of(jnp.asarray(place), jnp.asarray(factor))
    none = Shifts(jnp.zeros(d), jnp.zeros(()))
    with_shifts = len(accepted_draws(place, factor, shifted))
    without = len(accepted_draws(place, factor, none))
    assert with_shifts > 20 * max(without, 1)


def test_without_a_usable_bound_nothing_is_shifted():
    place, factor = jnp.full(3, 0.5), jnp.diag(jnp.array([0.1, 1e-320, 0.1]))
    shifted = shifts_of(place, factor)
    np.testing.assert_array_equal(shifted.shift, 0.0)
    assert float(shifted.log_bound) == 0.0


def chains():
    rng = np.random.default_rng(1)
    shape = (N_SITES, N_CHAINS)
    u = rng.uniform(0.02, 0.98, (*shape, D))
    factor = np.sqrt(1 / 12) * np.eye(D) * rng.uniform(0.3, 1.0, (*shape, 1, 1))
    u[0, 0] = 1e-9  # a corner
    factor[0, 0] = np.eye(D)
    u[1, 1] = 1e-9
    factor[1, 1] = -np.eye(D) * np.nan  # no way out
    return jax.random.split(jax.random.key(3), shape), jnp.asarray(u), jnp.asarray(factor)


@pytest.mark.parametrize("testing", [False, True, "some"])
def test_chains_do_not_change_each_others_proposals(testing):
    keys, u, factor = chains()
    which = np.full(u.shape[:2], testing is True)
    which[4] = testing in (True, "some")
    among = np.asarray(propose_among(keys, u, factor, which))
    assert ((among > 0.0) & (among < 1.0)).all()
    for place in ((0, 0), (1, 1), (4, 2), (8, 0)):
        alone = propose_alone(keys[place], u[place], factor[place], jnp.asarray(which[place]))
        np.testing.assert_allclose(among[place], alone, rtol=1e-13, atol=1e-15)
        moved = not np.array_equal(among[place], u[place])
        assert moved == (which[place] or place != (1, 1))


def test_few_draws_inside_are_as_many():
    """Both kinds of draw of a step have one distribution: that of all proposals."""
    place, factor = np.array([0.02, 0.5]), np.array([[0.6, 0.0], [-0.4, 0.5]])
    n = 12_000
    keys = jax.random.split(jax.random.key(11), n)
    got = np.asarray(
        propose_many(keys, jnp.asarray(place), jnp.asarray(factor), jnp.asarray(False))
    )
    wanted = rejected_until_inside(place, np.sqrt(2.4 / 2) * factor, n)
    for direction in (*np.eye(2), np.array([1.0, -1.0])):
        assert stats.ks_2samp(got @ direction, wanted @ direction).pvalue > 1e-3
    assert inside.FIRST > 1


def test_steps_of_the_test_run_are_uniform_in_box_and_range():
    place, n = np.array([0.03, 0.5]), 12_000
    keys = jax.random.split(jax.random.key(12), n)
    got = np.asarray(propose_many(keys, jnp.asarray(place), jnp.eye(2), jnp.asarray(True)))
    half = TEST_WIDTH / 2
    assert stats.kstest(got[:, 0], stats.uniform(0.0, 0.03 + half).cdf).pvalue > 1e-3
    assert stats.kstest(got[:, 1], stats.uniform(0.5 - half, 2 * half).cdf).pvalue > 1e-3
