"""Samplers on known targets: the right ones hit them, the published one must not."""

from __future__ import annotations

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
    """A correlated normal, cut off at the walls of the box."""

    mean: jax.Array
    precision: jax.Array

    @property
    def n_parameters(self) -> int:
        return D

    def log_likelihood(self, u):
        away = u - self.mean
        return -0.5 * away @ self.precision @ away


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


class Corner(Target):
    """Uniform on the part of the box where the first two parameters add up to less than 1/2."""

    @property
    def n_parameters(self) -> int:
        return 5

    def log_likelihood(self, u):
        return jnp.where(u[0] + u[1] < 0.5, 0.0, -jnp.inf)


def gaussian() -> tuple[Gaussian, np.ndarray]:
    """Return the target and draws from it by rejection."""
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
    return Gaussian(jnp.asarray(mean), jnp.asarray(np.linalg.inv(covariance))), found


def sample(sampler, target, n_chains, segment, n_draws, seed=0):
    """Return (draw, chain, parameter) from many chains, and their last states."""
    keys = jax.random.split(jax.random.key(seed), n_chains)

    @eqx.filter_jit
    def run(target):
        state = jax.vmap(lambda k: sampler.init(jax.random.fold_in(k, 0), target))(keys)

        def one(state, _):
            return jax.vmap(
                lambda s, k: sampler.step(jax.random.fold_in(k, s.n_steps + 1), s, target)
            )(state, keys)

        def some(adapting, state):
            state, info = jax.lax.scan(one, state, length=segment)
            u, _ = jax.vmap(sampler.draw)(state)
            if adapting:
                state = jax.vmap(sampler.adapt, in_axes=(0, 1))(state, info)
            return state, u

        state, _ = jax.lax.scan(
            lambda s, _: some(True, s), state, length=sampler.n_warm_up // segment
        )
        every = sampler.n_kept // segment // n_draws
        return jax.lax.scan(
            lambda s, _: some(sampler.always_adapts, s), state, length=every * n_draws
        )

    state, u = run(target)
    u = np.asarray(u)
    return u[:: len(u) // n_draws][:n_draws], state


SAMPLERS = {
    "tempered": (Tempered(warm_up=2000, kept=1000, replicas=5), 50),
    "metropolis": (AdaptiveMetropolis(test=2000, formal=12000), 50),
    "metropolis on a torus": (AdaptiveMetropolis(test=2000, formal=8000, periodic=True), 50),
    "nuts": (NUTS(warm_up=200, kept=40), 10),
    "published": (Published(test=2000, formal=8000), 50),
}


def p_values(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Kolmogorov-Smirnov p-values by parameter, and errors of mean and sd in units of sd."""
    target, truth = gaussian()
    sampler, segment = SAMPLERS[name]
    u, state = sample(sampler, target, 300, segment, 1)
    # The annealed chain rarely accepts, and gives no draw where it does not: look where it stands.
    found = np.asarray(state.u) if name == "published" else u.reshape(-1, D)
    p = np.array([kstest(found[:, i], truth[:, i]).pvalue for i in range(D)])
    sd = truth.std(axis=0)
    return p, (found.mean(axis=0) - truth.mean(axis=0)) / sd, found.std(axis=0) / sd


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "published"])
def test_sampler_hits_correlated_truncated_gaussian(name):
    p, mean, spread = p_values(name)
    assert p.min() > 0.01 / D, p
    assert np.abs(mean).max() < 4.0 / np.sqrt(300)
    assert np.abs(spread - 1.0).max() < 4.0 / np.sqrt(2 * 300)


def test_published_sampler_fails_where_the_others_pass():
    p, _, spread = p_values("published")
    assert p.min() < 1e-6
    assert spread.mean() < 0.75


def test_tempered_weighs_two_hills_rightly():
    u, state = sample(Tempered(warm_up=1000, kept=2000, replicas=6), TwoHills(), 64, 50, 20)
    share = (u[..., 0] < 0.5).mean(axis=0)
    assert abs(share.mean() - 0.7) < 4 * share.std() / np.sqrt(64)
    assert 0.02 < share.std() < 0.25  # every chain sees both
    # The mean likelihood over the box is the integral of both hills.
    log_evidence = np.asarray(jax.vmap(Tempered().log_evidence)(state))
    exact = 4 * np.log(0.03 * np.sqrt(2 * np.pi))
    assert abs(log_evidence.mean() - exact) < 0.1
    assert log_evidence.std() < 0.5


@pytest.mark.parametrize("name", ["tempered", "metropolis", "metropolis on a torus", "published"])
def test_impossible_part_of_the_box_is_never_entered(name):
    sampler, segment = SAMPLERS[name]
    u, _ = sample(sampler, Corner(), 50, segment, 10)
    u = u[~np.isnan(u).any(axis=-1)]
    assert ((u > 0) & (u < 1)).all()
    assert (u[:, 0] + u[:, 1] < 0.5).all()


def test_site_without_a_possible_place_says_so():
    class Nowhere(Corner):
        def log_likelihood(self, u):
            return jnp.asarray(-jnp.inf) + 0 * u[0]

    for sampler in (Tempered(), AdaptiveMetropolis(), Published()):
        _, value = sampler.draw(sampler.init(jax.random.key(0), Nowhere()))
        if sampler.name == "published":  # no proposal accepted yet
            value = sampler.init(jax.random.key(0), Nowhere()).log_likelihood
        assert value == -jnp.inf
