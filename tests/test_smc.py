"""Sequential Monte Carlo on known targets: moments, modes, walls and evidence."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from proda.inference.batch import good
from proda.inference.diagnostics.convergence import ess_bulk
from proda.inference.samplers.smc import SMC
from proda.inference.sampling import Limits
from proda.inference.target import Target
from tests.test_samplers import Corner, D, TwoHills, gaussian

N_CHAINS = 3


begin = eqx.filter_jit(lambda smc, keys, target: smc.begin(keys, target))
go_on = eqx.filter_jit(lambda smc, keys, state, target: smc.go_on(keys, state, target, 2))


def walk(smc: SMC, target: Target, seed: int, n_rounds: int) -> tuple[np.ndarray, ...]:
    """Return draws and log-likelihoods of the last round, evidence, and moves of a walker."""
    keys = jax.random.split(jax.random.key(seed), N_CHAINS)
    state = begin(smc, keys, target)
    for _ in range(n_rounds):
        state, made = go_on(smc, keys, state, target)
    found = made.u, made.log_likelihood, state.log_evidence, state.n_moves
    return tuple(np.asarray(leaf) for leaf in found)


class Line(Target):
    """One parameter in ten is measured: what is left has the width of the prior."""

    @property
    def n_parameters(self) -> int:
        return 10

    def log_likelihood(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        return -0.5 * ((u[0] - 0.3) / 0.01) ** 2


def test_correlated_truncated_gaussian() -> None:
    target, truth = gaussian()
    found = np.concatenate([walk(SMC(), target, seed, 2)[0].reshape(-1, D) for seed in range(6)])
    sd = truth.std(axis=0)
    # 7,200 draws, each worth at least a sixth
    error = np.sqrt(6.0 / len(found))
    assert np.abs((found.mean(axis=0) - truth.mean(axis=0)) / sd).max() < 4.0 * error
    assert np.abs(found.std(axis=0) / sd - 1.0).max() < 4.0 * error / np.sqrt(2.0)


def test_two_hills_and_their_evidence() -> None:
    runs = [walk(SMC(), TwoHills(), seed, 1) for seed in range(8)]
    share = np.array([(u[..., 0] < 0.5).mean() for u, *_ in runs])
    assert abs(share.mean() - 0.7) < 4.0 * share.std(ddof=1) / np.sqrt(8)
    assert share.std(ddof=1) < 0.1
    evidence = np.array([e.mean() for _, _, e, _ in runs])
    exact = 4 * np.log(0.03 * np.sqrt(2 * np.pi))
    assert abs(evidence.mean() - exact) < 0.1


def test_evidence_and_moments_where_most_is_as_wide_as_the_prior() -> None:
    u, _, evidence, _ = walk(SMC(), Line(), 1, 1)
    assert abs(evidence.mean() - np.log(0.01 * np.sqrt(2 * np.pi))) < 0.1
    assert abs(u[..., 0].mean() - 0.3) < 0.002
    assert u[..., 0].std() == pytest.approx(0.01, rel=0.15)
    assert np.abs(u[..., 1:].mean(axis=(0, 1)) - 0.5).max() < 0.06
    assert np.abs(u[..., 1:].std(axis=(0, 1)) - np.sqrt(1 / 12)).max() < 0.03
    assert good(u[None], Limits()).all()


def test_impossible_part_is_never_entered_and_not_counted() -> None:
    u, value, evidence, moves = walk(SMC(), Corner(), 2, 1)
    assert ((u > 0) & (u < 1)).all()
    assert (u[..., 0] + u[..., 1] < 0.5).all()
    assert (value == 0.0).all()
    # the prior is uniform on the possible part, where the likelihood is 1
    np.testing.assert_allclose(evidence, 0.0, atol=1e-12)
    # straight from the prior: no temperature in between
    assert int(moves) == 8 * 4 + 2 * 8


def test_a_site_without_a_start_says_so() -> None:
    class Nowhere(Corner):
        def log_likelihood(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
            return jnp.asarray(-jnp.inf) + 0 * u[0]

    state = begin(SMC(), jax.random.split(jax.random.key(0), 2), Nowhere())
    assert (np.asarray(state.log_likelihood) == -np.inf).all()


def test_draws_that_share_ancestors_are_seen_as_such() -> None:
    """Copies lie side by side, as after a resampling, and count as autocorrelated."""
    rng = np.random.default_rng(0)
    independent = rng.random((1, N_CHAINS, 400, 3))
    copies = np.repeat(independent[:, :, ::10], 10, axis=2)
    assert good(independent, Limits()).all()
    assert ess_bulk(copies).min() < 200.0
    assert not good(copies, Limits()).any()
    # a chain of its own does not pass however many draws it has
    apart = independent + np.array([0.0, 0.0, 1.0])[:, None, None]
    assert not good(apart, Limits()).any()


def test_rounds_double_and_are_counted() -> None:
    _, _, _, once = walk(SMC(), Corner(), 3, 1)
    _, _, _, twice = walk(SMC(), Corner(), 3, 2)
    assert int(twice) - int(once) == 2 * 16
    assert SMC().evaluations(3, n_stages=0, n_rounds=2) == 3 * 200 * int(twice)
