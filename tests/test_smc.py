"""Sequential Monte Carlo on known targets: moments, modes, walls and evidence."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float
from scipy.stats import chi2

from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.diagnostics.convergence import ess_bulk
from proda.inference.problem import expected_evaluations
from proda.inference.samplers.bennett import TOLERANCE, log_ratio
from proda.inference.samplers.smc import SMC
from proda.inference.sampling import Limits
from proda.inference.target import Target
from proda.inference.walking import good
from tests.test_samplers import D, Gaussian, TwoHills, gaussian, uniform

N_CHAINS = 3


begin = eqx.filter_jit(lambda smc, keys, target: smc.begin(keys, target, jnp.zeros((), jnp.int32)))
go_on = eqx.filter_jit(lambda smc, keys, state, target: smc.go_on(keys, state, target, 2))
go_back = eqx.filter_jit(
    lambda smc, keys, ladder, made, target, number: smc.go_back(
        keys, ladder, made.u, made.log_likelihood, target, number
    )
)


solve = jax.jit(log_ratio)


def walk(smc: SMC, target: Target, seed: int, n_rounds: int) -> tuple[np.ndarray, ...]:
    """Return draws and log-likelihoods of the last round, evidence, and moves of a walker."""
    u, value, evidence, moves = walk_back(smc, target, seed, n_rounds, 1)
    return u, value, evidence[-1], moves


def walk_back(
    smc: SMC, target: Target, seed: int, n_rounds: int, n_descents: int
) -> tuple[np.ndarray, ...]:
    """Return the same with the evidences of the way up and of each way down."""
    keys = jax.random.split(jax.random.key(seed), N_CHAINS)
    state, ladder = begin(smc, keys, target)
    for _ in range(n_rounds):
        state, made = go_on(smc, keys, state, target)
    evidence = [ladder.log_evidence]
    for i in range(n_descents):
        mine = jax.random.split(jax.random.key(1000 + 10 * seed + i), N_CHAINS)
        ladder = go_back(smc, mine, ladder, made, target, jnp.asarray(i))
        evidence.append(ladder.log_evidence)
    return tuple(np.asarray(x) for x in (made.u, made.log_likelihood, evidence, state.n_moves))


def line() -> Gaussian:
    """Return a target that measures one parameter: of the others the width of the prior is left."""
    precision = np.zeros((D, D))
    precision[0, 0] = 1.0 / 0.01**2
    return Gaussian(jnp.asarray(np.full(D, 0.3)), jnp.asarray(precision), jnp.asarray(3.0))


class HillsOrShell(Target):
    """One of two densities of ten parameters, for which one program then serves."""

    shell: Bool[Array, ""]

    @property
    def n_parameters(self) -> int:
        return 10

    def log_likelihood(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Two hills in four of the parameters, or a thin curved shell.

        One draw of the prior in 5,000 lies in the shell.
        """
        z = jax.scipy.special.ndtri(u)
        shell = -0.5 * (((z * z).sum() - 32.0) / 0.3) ** 2
        return jnp.where(self.shell, shell, TwoHills().log_likelihood(u[:4]))


def test_correlated_truncated_gaussian() -> None:
    target, truth = gaussian()
    found = np.concatenate(
        [walk_back(SMC(), target, seed, 2, 0)[0].reshape(-1, D) for seed in range(6)]
    )
    sd = truth.std(axis=0)
    # 7,200 draws, each worth at least a sixth
    error = np.sqrt(6.0 / len(found))
    assert np.abs((found.mean(axis=0) - truth.mean(axis=0)) / sd).max() < 4.0 * error
    assert np.abs(found.std(axis=0) / sd - 1.0).max() < 4.0 * error / np.sqrt(2.0)


def test_two_hills_and_their_evidence() -> None:
    runs = [walk(SMC(), HillsOrShell(jnp.asarray(False)), seed, 1) for seed in range(8)]
    share = np.array([(u[..., 0] < 0.5).mean() for u, *_ in runs])
    assert abs(share.mean() - 0.7) < 4.0 * share.std(ddof=1) / np.sqrt(8)
    assert share.std(ddof=1) < 0.1
    evidence = np.array([e.mean() for _, _, e, _ in runs])
    exact = 4 * np.log(0.03 * np.sqrt(2 * np.pi))
    assert abs(evidence.mean() - exact) < 0.1


def test_evidence_and_moments_where_most_is_as_wide_as_the_prior() -> None:
    u, _, evidence, _ = walk(SMC(), line(), 1, 1)
    assert abs(evidence.mean() - np.log(0.01 * np.sqrt(2 * np.pi))) < 0.1
    assert abs(u[..., 0].mean() - 0.3) < 0.002
    assert u[..., 0].std() == pytest.approx(0.01, rel=0.15)
    assert np.abs(u[..., 1:].mean(axis=(0, 1)) - 0.5).max() < 0.06
    assert np.abs(u[..., 1:].std(axis=(0, 1)) - np.sqrt(1 / 12)).max() < 0.03
    assert good(u[None], Limits())[0].all()


@pytest.mark.parametrize(("smc", "error_once"), [(SMC(), 0.25), (SMC(walkers=200, steps=8), 0.12)])
def test_evidence_of_a_curved_shell(smc: SMC, error_once: float) -> None:
    """One way down is less exact with fewer walkers; the second makes up for it."""
    square = np.linspace(28.0, 36.0, 100_001)
    weighted = np.exp(-0.5 * ((square - 32.0) / 0.3) ** 2) * chi2.pdf(square, 10)
    exact = np.log(np.trapezoid(weighted, square))
    shell = HillsOrShell(jnp.asarray(True))
    found = np.array([walk_back(smc, shell, seed, 1, 2)[2].mean(axis=1) for seed in range(6)])
    _, once, twice = np.sqrt(((found - exact) ** 2).mean(axis=0))
    assert once < error_once
    assert twice < 0.1


def test_acceptance_ratio_of_two_normals() -> None:
    """exp(-x^2 / 2) and 3 exp(-2 (x - 1)^2): the ratio of their integrals is 3 / 2."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=40_000), 1.0 + 0.5 * rng.normal(size=10_000)
    x = np.concatenate([first, second])
    change = np.log(3.0) - 2.0 * (x - 1.0) ** 2 + 0.5 * x**2
    padded = np.concatenate([change, np.full(7, -np.inf)])
    for emphasis in (1.0, 8.0):
        found = float(solve(jnp.asarray(padded[:40_000]), jnp.asarray(padded[40_000:]), emphasis))
        assert found == pytest.approx(np.log(1.5), abs=0.02)
        # the equation that it solves
        share = 1.0 / (1.0 + 4.0 / emphasis * np.exp(found - change))
        share[40_000:] *= emphasis
        assert share.sum() == pytest.approx(emphasis * 10_000, rel=1e-9)


def test_impossible_part_is_never_entered_and_not_counted() -> None:
    u, value, evidence, moves = walk(SMC(), uniform(0.5), 2, 1)
    assert ((u > 0) & (u < 1)).all()
    assert (u[..., 0] + u[..., 1] < 0.5).all()
    assert (value == 0.0).all()
    # the prior is uniform on the possible part, where the likelihood is 1
    np.testing.assert_allclose(evidence, 0.0, atol=10.0 * TOLERANCE)
    # straight from the prior: no temperature in between
    assert int(moves) == 32 * 4 + 2 * 32


def test_walkers_give_draws_from_which_the_kept_ones_are_taken_evenly() -> None:
    assert [SMC().draws_per_walker(n) for n in (4, 40, 80, 100, 400, 1000)] == [2, 4, 8, 2, 8, 20]
    with pytest.raises(ValueError, match="near 401"):
        SMC().draws_per_walker(401)


def test_a_site_without_a_start_says_so() -> None:
    state, _ = begin(SMC(), jax.random.split(jax.random.key(0), N_CHAINS), uniform(0.0))
    assert (np.asarray(state.log_likelihood) == -np.inf).all()


def test_draws_that_share_ancestors_are_seen_as_such() -> None:
    """Copies lie side by side, as after a resampling, and count as autocorrelated."""
    rng = np.random.default_rng(0)
    independent = rng.random((1, N_CHAINS, 400, 3))
    copies = np.repeat(independent[:, :, ::10], 10, axis=2)
    assert good(independent, Limits())[0].all()
    assert ess_bulk(copies).min() < 200.0
    assert not good(copies, Limits())[0].any()
    # a chain of its own does not pass however many draws it has
    apart = independent + np.array([0.0, 0.0, 1.0])[:, None, None]
    assert not good(apart, Limits())[0].any()


def test_rounds_double_and_are_counted() -> None:
    _, _, _, once = walk(SMC(), uniform(0.5), 3, 1)
    _, _, _, twice = walk(SMC(), uniform(0.5), 3, 2)
    assert int(twice) - int(once) == 2 * 64
    assert SMC().evaluations(3, n_between=0, n_rounds=2) == 3 * 50 * int(twice)


def test_predicted_evaluations_depend_on_the_model() -> None:
    """The mean at real sites: hard ones need more than a typical one, and COMPAS has more."""
    typical = SMC().evaluations(3, per_walker=8)
    clm5, compas, other = (
        expected_evaluations(AssimilationSettings(model=model, sampler="smc"))
        for model in ("clm5", "compas", "rothc")
    )
    assert typical < clm5 < compas
    assert other == compas
    options = {"walkers": 50, "steps": 64}
    doubled = AssimilationSettings(model="clm5", sampler="smc", options=options)
    assert expected_evaluations(doubled) == 2 * clm5
    once = AssimilationSettings(model="compas", sampler="smc", options={"restarts": 0})
    assert typical < expected_evaluations(once) < compas
    assert expected_evaluations(AssimilationSettings(sampler="tempered")) == 216_000
