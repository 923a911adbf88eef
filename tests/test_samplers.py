"""Samplers on known targets: the right ones hit them, the published one must not."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from proda.inference.samplers.adaptive_metropolis import AdaptiveMetropolis
from proda.inference.samplers.nuts import NUTS
from proda.inference.samplers.published import Published
from proda.inference.samplers.tempered import Tempered
from proda.inference.target import Target

D = 21


class Gaussian(Target):
    """A correlated normal, cut off at the walls of the box and where two parameters are large."""

    mean: jax.Array
    precision: jax.Array
    most: jax.Array
    """Sum of the first two parameters from which on the density is 0."""

    @property
    def n_parameters(self) -> int:
        return D

    def log_likelihood(self, u):
        away = u - self.mean
        value = -0.5 * away @ self.precision @ away
        return jnp.where(u[0] + u[1] < self.most, value, -jnp.inf)


class TwoHills(Target):
    """Two narrow hills far apart, of weights 0.7 and 0.3."""

    n: int = eqx.field(static=True, default=4)

    @property
    def n_parameters(self) -> int:
        return self.n

    def log_likelihood(self, u):
        first = jnp.log(0.7) - 0.5 * (((u - 0.2) / 0.03) ** 2).sum()
        second = jnp.log(0.3) - 0.5 * (((u - 0.8) / 0.03) ** 2).sum()
        return jnp.logaddexp(first, second)


@cache
def gaussian() -> tuple[Gaussian, np.ndarray]:
    """Return a target that is possible in the whole box, and draws from it by rejection."""
    rng = np.random.default_rng(3)
    mean = np.full(D, 0.5)
    mean[:3] = (0.02, 0.95, 0.3)  # cut in half, nearly so, and a little
    sd = np.full(D, 0.2)
    sd[5:9] = 0.05
    correlation = 0.6 * np.ones((D, D)) + 0.4 * np.eye(D)
    sign = np.where(np.arange(D) % 2, -1.0, 1.0)
    covariance = correlation * np.outer(sd * sign, sd * sign)
    found = rng.multivariate_normal(mean, covariance, 400_000)
    found = found[((found > 0) & (found < 1)).all(axis=1)]
    assert len(found) > 10_000
    precision = np.linalg.inv(covariance)
    return Gaussian(jnp.asarray(mean), jnp.asarray(precision), jnp.asarray(3.0)), found


def uniform(most: float) -> Gaussian:
    """Return the target that is uniform where the first two parameters add up to less than that."""
    return Gaussian(jnp.zeros(D), jnp.zeros((D, D)), jnp.asarray(most))


def sample(sampler, targets, n_chains, segment, seed=0):
    """Return where chains are at the ends of segments (segment, chain, ...), and the last states.

    Of each of some targets of one kind, in one program, so many chains: all of the first, then all
    of the second.
    """
    repeated = [t for t, n in zip(targets, n_chains, strict=True) for _ in range(n)]
    target = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *repeated)
    keys = jax.random.split(jax.random.key(seed), len(repeated))

    @eqx.filter_jit
    def begin(target):
        state = jax.vmap(lambda k, t: sampler.init(jax.random.fold_in(k, 0), t))(keys, target)
        # Without JAX's "weak type" of new constants, for which `go_on` would be compiled again.
        return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)

    @eqx.filter_jit
    def go_on(state, target, adapting):
        def one(s, k, t):
            return sampler.step(jax.random.fold_in(k, s.n_steps + 1), s, t)

        state, info = jax.lax.scan(
            lambda state, _: jax.vmap(one)(state, keys, target), state, length=segment
        )
        u, _ = jax.vmap(sampler.draw)(state)
        adapt = jax.vmap(sampler.adapt, in_axes=(0, 1))
        return jax.lax.cond(adapting, adapt, lambda state, _: state, state, info), u

    state, draws = begin(target), []
    n_warm_up, n_kept = sampler.n_warm_up // segment, sampler.n_kept // segment
    for i in range(n_warm_up + n_kept):
        adapting = i < n_warm_up or sampler.always_adapts
        state, u = go_on(state, target, jnp.asarray(adapting))
        draws.append(np.asarray(u))
    return np.array(draws), state


SAMPLERS = {
    "tempered": Tempered(warm_up=1500, kept=500, replicas=5),
    "metropolis": AdaptiveMetropolis(test=2000, formal=8000),
    "metropolis on a torus": AdaptiveMetropolis(test=2000, formal=6000, periodic=True),
    "nuts": NUTS(warm_up=150, kept=20),
    "published": Published(test=1000, formal=4000),
}
N, N_CORNER = 300, 20
"""Chains of the truncated normal, and of the target that is possible in a corner of the box."""


def compare(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Kolmogorov-Smirnov p-values by parameter, and errors of mean and sd in units of sd."""
    _, truth = gaussian()
    p = np.array([kstest(found[:, i], truth[:, i]).pvalue for i in range(D)])
    sd = truth.std(axis=0)
    return p, (found.mean(axis=0) - truth.mean(axis=0)) / sd, found.std(axis=0) / sd


def sample_both(name: str) -> tuple[np.ndarray, Any]:
    """Return the last draws of the truncated normal and its last states.

    Other chains of the same program check that the impossible part of the box is never entered, in
    the warm-up neither.
    """
    u, state = sample(SAMPLERS[name], [gaussian()[0], uniform(0.5)], (N, N_CORNER), 50)
    in_corner = u[:, N:]
    in_corner = in_corner[~np.isnan(in_corner).any(axis=-1)]
    assert len(in_corner) > 0
    assert ((in_corner > 0) & (in_corner < 1)).all()
    assert (in_corner[:, 0] + in_corner[:, 1] < 0.5).all()
    return u[-1, :N], jax.tree.map(lambda leaf: leaf[:N], state)


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "published"])
def test_sampler_hits_correlated_truncated_gaussian(name):
    if name == "nuts":  # alone: in the corner its trajectories are long
        u = sample(SAMPLERS[name], [gaussian()[0]], [N], 10)[0][-1]
    else:
        u, _ = sample_both(name)
    p, mean, spread = compare(u)
    assert p.min() > 0.01 / D, p
    assert np.abs(mean).max() < 4.0 / np.sqrt(N)
    assert np.abs(spread - 1.0).max() < 4.0 / np.sqrt(2 * N)


def test_published_sampler_fails_where_the_others_pass():
    # The annealed chain rarely accepts, and gives no draw where it does not: look where it stands.
    _, state = sample_both("published")
    p, _, spread = compare(np.asarray(state.u))
    assert p.min() < 1e-6
    assert spread.mean() < 0.75


def test_tempered_weighs_two_hills_rightly():
    sampler = Tempered(warm_up=1000, kept=2000, replicas=6)
    u, state = sample(sampler, [TwoHills()], [64], 50)
    share = (u[21::2, :, 0] < 0.5).mean(axis=0)  # after the warm-up
    assert abs(share.mean() - 0.7) < 4 * share.std() / np.sqrt(64)
    assert 0.02 < share.std() < 0.25  # every chain sees both
    # The mean likelihood over the box is the integral of both hills.
    log_evidence = np.asarray(jax.vmap(Tempered().log_evidence)(state))
    exact = 4 * np.log(0.03 * np.sqrt(2 * np.pi))
    assert abs(log_evidence.mean() - exact) < 0.1
    assert log_evidence.std() < 0.5


def test_site_without_a_possible_place_says_so():
    for sampler in (Tempered(), AdaptiveMetropolis(), Published()):
        state = eqx.filter_jit(sampler.init)(jax.random.key(0), uniform(0.0))
        _, value = sampler.draw(state)
        if sampler.name == "published":  # no proposal accepted yet
            value = state.log_likelihood
        assert value == -jnp.inf
