"""Proposals inside the prior range: the same for a chain alone and among others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from proda.inference.samplers.adaptive_metropolis import TEST_WIDTH
from proda.inference.samplers.inside import propose_inside
from proda.inference.samplers.sampler import MAX_TRIES

N_SITES, N_CHAINS, D = 9, 3, 6


def by_itself(key, u, factor, testing):
    """Draw again and again, in NumPy, with the keys that a chain has."""
    for i in range(MAX_TRIES):
        k_walk, k_test = jax.random.split(jax.random.fold_in(key, i))
        if testing:  # uniform in what box and range have in common, at once
            low, high = np.maximum(u - TEST_WIDTH / 2, 0), np.minimum(u + TEST_WIDTH / 2, 1)
            step = low + (high - low) * np.asarray(jax.random.uniform(k_test, (D,))) - u
        else:
            step = np.sqrt(2.4 / D) * (factor @ np.asarray(jax.random.normal(k_walk, (D,))))
        if ((u + step > 0.0) & (u + step < 1.0)).all():
            return u + step, i
    return u, MAX_TRIES


def test_chains_do_not_change_each_others_proposals():
    rng = np.random.default_rng(1)
    shape = (N_SITES, N_CHAINS)
    u = rng.uniform(0.02, 0.98, (*shape, D))
    u[0, 0] = 1e-9  # a corner that asks for many draws
    factor = np.sqrt(1 / 12) * np.eye(D) * rng.uniform(0.3, 1.0, (*shape, 1, 1))
    u[1, 1] = 1e-9
    factor[1, 1] = -np.eye(D) * 1e3  # no way out
    keys = jax.random.split(jax.random.key(3), shape)
    batched = jax.jit(jax.vmap(jax.vmap(propose_inside)))
    tries = []
    for testing in (False, True):
        which = np.full(shape, testing)
        found = np.asarray(batched(keys, jnp.asarray(u), jnp.asarray(factor), which))
        for place in ((0, 0), (1, 1), (4, 2), (8, 0)):
            alone, n = by_itself(keys[place], u[place], factor[place], testing)
            np.testing.assert_allclose(found[place], alone, rtol=1e-14, atol=1e-15)
            tries.append(n)
        assert ((found > 0.0) & (found < 1.0)).all()
    assert tries[0] > 20  # the corner
    assert tries[4:] == [0, 0, 0, 0]
    assert tries[1] == MAX_TRIES
    np.testing.assert_array_equal(
        np.asarray(batched(keys, jnp.asarray(u), jnp.asarray(factor), np.full(shape, False)))[1, 1],
        u[1, 1],
    )
    # Some chains may be in the test phase while others walk.
    mixed = np.zeros(shape, bool)
    mixed[4] = True
    both = np.asarray(batched(keys, jnp.asarray(u), jnp.asarray(factor), mixed))
    for place in ((4, 2), (8, 0)):
        alone, _ = by_itself(keys[place], u[place], factor[place], bool(mixed[place]))
        np.testing.assert_allclose(both[place], alone, rtol=1e-14, atol=1e-15)
