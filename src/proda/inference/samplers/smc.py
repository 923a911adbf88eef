"""Sequential Monte Carlo from the prior to the posterior, without waste.

Equations: docs/theory.md#sequential-monte-carlo. Coordinates: z = Phi^-1(u), in which the uniform
prior is the standard normal, so that there are no bounds and a dimension that the data do not
constrain is a Gaussian.

A chain is an island of particles. It starts from many draws of the prior and goes through the
densities prior x likelihood^beta, 0 = beta_0 < beta_1 < ... = 1. Particles are weighted by
likelihood^(beta' - beta), walkers are resampled from them, and each walker makes a few moves that
leave the new density invariant; all places on the way are the next particles (Dau and Chopin 2022).
The product of the mean weights is the evidence; it is too small where walkers mix slowly
(docs/assimilation.md). At beta = 1 the walkers go on in rounds, each twice
as long as the one before, of which only the last is kept: so a site that is easy ends early.

A move redraws some of the coordinates from a Gaussian, fitted to the particles, given the other
coordinates, and is accepted with the ratio of the density to that Gaussian. Islands share the
temperatures, the Gaussian and which coordinates move, and nothing else.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from proda.inference.samplers.tempered import to_box
from proda.inference.target import Target

MOVES = ((1.0, 1.0), (1.0, 0.3), (0.5, 1.0), (0.25, 1.0), (0.3, 0.4), (0.1, 1.0))
"""Kinds of moves, equally often: the share of the coordinates that move, and how far.

1 draws afresh; s < 1 keeps sqrt(1 - s^2) of the distance from the mean (Crank-Nicolson).
"""
EFFECTIVE = 0.5
"""The next temperature is the highest at which the particles are worth this share of a stage's."""
MAX_STAGES = 60
RIDGE = 1e-5
"""Share of the prior's variance that is added, so that the covariance can be factored."""
BISECTIONS = 40


class Walkers(eqx.Module):
    """All that continues the walkers of one site; the leading axis is the chain."""

    z: Float[Array, "chain walker parameter"]
    log_likelihood: Float[Array, "chain walker"]
    mean: Float[Array, " parameter"]
    """Of the Gaussian that moves are fitted to."""
    covariance: Float[Array, "parameter parameter"]
    log_evidence: Float[Array, " chain"]
    """NaN where beta = 1 was not reached."""
    n_moves: Int[Array, ""]
    """Evaluations of each walker so far, draws from the prior included."""
    n_rounds: Int[Array, ""]


class Round(eqx.Module):
    """Draws of one round at the posterior, walker by walker."""

    u: Float[Array, "chain draw parameter"]
    """Place in the unit box of the priors."""
    log_likelihood: Float[Array, "chain draw"]
    acceptance: Float[Array, " chain"]


class SMC(eqx.Module):
    """Waste-free sequential Monte Carlo on islands, then rounds at the posterior.

    Unlike a `Sampler`, which is one chain, it sees all chains of a site at once.
    """

    name: ClassVar[str] = "smc"
    exact: ClassVar[bool] = True

    walkers: int = eqx.field(static=True, default=200)
    """Of each chain."""
    steps: int = eqx.field(static=True, default=8)
    """Moves of each walker from one temperature to the next."""
    pool: int = eqx.field(static=True, default=4)
    """Draws from the prior, as a multiple of the particles of a stage."""
    rounds: int = eqx.field(static=True, default=5)
    """Limit of the rounds at the posterior; each is twice as long as the one before."""

    ladders: int = eqx.field(static=True, default=4)
    """How often at most to go from the prior to the posterior, until the evidence is steady."""

    def draws_per_walker(self, draws: int) -> int:
        """Return how many draws of a round each walker gives, so that `draws` can be kept."""
        return max(2, -(-draws // self.walkers))

    def evaluations(self, n_chains: int, n_stages: int = 3, n_rounds: int = 1) -> int:
        """Return the model evaluations of a site, by default of a typical one."""
        ladder = self.steps * (self.pool + n_stages)
        return n_chains * self.walkers * (ladder + 2 * self.steps * (2**n_rounds - 1))

    def begin(self, keys: Key[Array, " chain"], target: Target) -> Walkers:
        """Go from the prior to the posterior.

        Where one of the chains draws nothing possible from the prior, all its log-likelihoods are
        -inf.
        """
        d, n_chains = target.n_parameters, len(keys)
        particles = self.walkers * self.steps

        def draw(i: Any) -> tuple[Any, Any]:
            # Single precision is enough: these are not the posterior's last digits.
            shape = (self.walkers, d)
            mine = _keys(_keys(keys, 0), i)
            z = jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(mine)
            z = z.astype(jnp.float64)
            return z, evaluate(target, z)

        z, value = jax.lax.map(draw, jnp.arange(self.pool * self.steps))
        z = jnp.swapaxes(z, 0, 1).reshape(n_chains, -1, d)
        value = jnp.swapaxes(value, 0, 1).reshape(n_chains, -1)
        possible = value > -jnp.inf
        startable = possible.any(axis=1).all()
        wanted = EFFECTIVE * jnp.minimum(1.0 * particles * n_chains, possible.sum())

        def colder(z: Any, value: Any, beta: Any, evidence: Any, stage: Any) -> tuple[Any, ...]:
            return _colder(_keys(keys, 2 * stage + 1), z, value, beta, evidence, wanted, self)

        def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            stage, z, value, mean, covariance, beta, evidence = carry
            moves = _keys(keys, 2 * stage)

            def one(at: tuple[Any, Any], i: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
                z, value, _ = move(_keys(moves, i), at[0], at[1], beta, mean, covariance, target)
                return (z, value), (z, value)

            # Every walker's places one after the other: neighbours in this order share ancestors,
            # so that the autocorrelation of draws in this order tells how much they still share.
            _, (z, value) = jax.lax.scan(one, (z, value), jnp.arange(self.steps))
            z = jnp.moveaxis(z, 0, 2).reshape(n_chains, particles, d)
            value = jnp.moveaxis(value, 0, 2).reshape(n_chains, particles)
            return stage + 1, *colder(z, value, beta, evidence, stage)

        def hot(carry: tuple[Any, ...]) -> Any:
            return startable & (carry[5] < 1.0) & (carry[0] <= MAX_STAGES)

        # The prior is the uniform one on the parameters that have a steady state.
        evidence = -jnp.log(possible.mean(axis=1, dtype=jnp.float64))
        first = colder(z, value, jnp.zeros(()), evidence, 0)
        stage, z, value, mean, covariance, beta, evidence = jax.lax.while_loop(
            hot, body, (jnp.ones((), jnp.int32), *first)
        )
        return Walkers(
            z=z,
            log_likelihood=jnp.where(startable, value, -jnp.inf),
            mean=mean,
            covariance=covariance,
            log_evidence=jnp.where(beta == 1.0, evidence, jnp.nan),
            n_moves=self.steps * (self.pool + stage - 1),
            n_rounds=jnp.zeros((), jnp.int32),
        )

    def go_on(
        self, keys: Key[Array, " chain"], state: Walkers, target: Target, per_walker: int
    ) -> tuple[Walkers, Round]:
        """Make one round at the posterior, twice as long as the one before.

        Parameters
        ----------
        keys, target
            As for `begin`.
        state
            Where the walkers are.
        per_walker
            Draws of each walker.
        """
        n_chains, _, d = state.z.shape
        apart = self.steps * 2**state.n_rounds
        mine = _keys(keys, 2 * MAX_STAGES + 2 + state.n_rounds)

        def one(i: Any, at: tuple[Any, ...]) -> tuple[Any, ...]:
            z, value, acceptance = move(
                _keys(mine, i), at[0], at[1], jnp.ones(()), state.mean, state.covariance, target
            )
            return z, value, at[2] + acceptance

        def some(at: tuple[Any, ...], slot: Any) -> tuple[Any, ...]:
            at = jax.lax.fori_loop(slot * apart, (slot + 1) * apart, one, at)
            return at, at[:2]

        at = (state.z, state.log_likelihood, jnp.zeros(n_chains))
        (z, value, accepted), (zs, values) = jax.lax.scan(some, at, jnp.arange(per_walker))
        zs = jnp.moveaxis(zs, 0, 2).reshape(n_chains, -1, d)
        mean, covariance = _moments(zs, jnp.full(zs.shape[:2], 1.0 / (zs.shape[0] * zs.shape[1])))
        state = Walkers(
            z=z,
            log_likelihood=value,
            mean=mean,
            covariance=covariance,
            log_evidence=state.log_evidence,
            n_moves=state.n_moves + per_walker * apart,
            n_rounds=state.n_rounds + 1,
        )
        values = jnp.moveaxis(values, 0, 2).reshape(n_chains, -1)
        return state, Round(to_box(zs), values, accepted / (per_walker * apart))


def evaluate(
    target: Target, z: Float[Array, "chain walker parameter"]
) -> Float[Array, "chain walker"]:
    """Return the log-likelihood of each place."""
    u = to_box(z)
    inside = ((u > 0.0) & (u < 1.0)).all(axis=-1)
    u = jnp.where(inside[..., None], u, 0.5).reshape(-1, z.shape[-1])
    return jnp.where(inside, target.log_likelihoods(u).reshape(inside.shape), -jnp.inf)


def move(
    keys: Key[Array, " chain"],
    z: Float[Array, "chain walker parameter"],
    value: Float[Array, "chain walker"],
    beta: Float[Array, ""],
    mean: Float[Array, " parameter"],
    covariance: Float[Array, "parameter parameter"],
    target: Target,
) -> tuple[Any, Any, Float[Array, " chain"]]:
    """Move every walker once; return places, log-likelihoods and the mean acceptance.

    Which coordinates move is the same for all walkers and does not depend on where they are.
    """
    n, d = z.shape[1:]
    k_kind, k_first, k_mask = jax.random.split(jax.random.fold_in(keys[0], 1), 3)
    share, s = jnp.asarray(MOVES)[jax.random.randint(k_kind, (), 0, len(MOVES))]
    moves = jax.random.uniform(k_mask, (d,)) < share
    moves = (moves | (jnp.arange(d) == jax.random.randint(k_first, (), 0, d))).astype(z.dtype)
    own = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, 2)))(keys)
    xi = jax.vmap(lambda k: jax.random.normal(k, (n, d), jnp.float32))(own[:, 0])
    tiny = np.finfo(np.float64).tiny
    uniform = jax.vmap(lambda k: jax.random.uniform(k, (n,), minval=tiny))(own[:, 1])

    # Of a Gaussian with precision P, the coordinates M that move have, given the others R, the
    # precision P_MM and the mean m_M - P_MM^-1 P_MR (z_R - m_R).
    precision = jnp.linalg.inv(covariance)
    among = precision * jnp.outer(moves, moves) + jnp.diag(1.0 - moves)
    root = jax.lax.linalg.cholesky(among, symmetrize_input=False)
    spread = jax.scipy.linalg.solve_triangular(root, jnp.eye(d), lower=True)  # root^-1
    given = (spread.T @ spread) @ (precision * jnp.outer(moves, 1.0 - moves))
    away = z - mean
    centre = -(away @ given.T)
    old = (away - centre) * moves
    new = jnp.sqrt(1.0 - s * s) * old + s * (xi.astype(z.dtype) @ spread) * moves
    z_new = jnp.where(moves > 0.0, mean + centre + new, z)
    value_new = evaluate(target, z_new)

    def squares(x: Any) -> Any:
        return (x * x).sum(axis=-1)

    log_ratio = beta * (value_new - value) + 0.5 * (
        squares(z) - squares(z_new) + squares(new @ root) - squares(old @ root)
    )
    log_ratio = jnp.where(value_new > -jnp.inf, log_ratio, -jnp.inf)
    accept = jnp.log(uniform) < log_ratio
    return (
        jnp.where(accept[..., None], z_new, z),
        jnp.where(accept, value_new, value),
        jnp.minimum(1.0, jnp.exp(log_ratio)).mean(axis=1),
    )


def _keys(keys: Key[Array, " chain"], data: Any) -> Key[Array, " chain"]:
    return jax.vmap(lambda key: jax.random.fold_in(key, data))(keys)


def _colder(
    keys: Key[Array, " chain"],
    z: Any,
    value: Any,
    beta: Any,
    evidence: Any,
    wanted: Any,
    sampler: SMC,
) -> tuple[Any, ...]:
    """Weight the particles for the next temperature and resample walkers in each chain.

    Returns
    -------
    Walkers, their log-likelihoods, mean and covariance of the weighted particles, temperature,
    log-evidence.
    """
    new = _next_beta(value, beta, wanted)
    log_weight = jnp.where(value > -jnp.inf, (new - beta) * value, -jnp.inf)
    total = jax.nn.logsumexp(log_weight, axis=1)
    weight = jnp.exp(log_weight - total[:, None])
    mean, covariance = _moments(z, weight / len(keys))
    start = jax.vmap(jax.random.uniform)(keys)

    def systematic(weight: Any, start: Any) -> Any:
        place = (jnp.arange(sampler.walkers) + start) / sampler.walkers
        sums = jnp.cumsum(weight)
        return jnp.minimum(jnp.searchsorted(sums / sums[-1], place), len(weight) - 1)

    index = jax.vmap(systematic)(weight, start)
    return (
        jnp.take_along_axis(z, index[..., None], axis=1),
        jnp.take_along_axis(value, index, axis=1),
        mean,
        covariance,
        new,
        evidence + total - np.log(value.shape[1]),
    )


def _next_beta(
    value: Float[Array, "chain particle"], beta: Float[Array, ""], wanted: Float[Array, ""]
) -> Float[Array, ""]:
    """Return the highest temperature at which the particles are worth at least `wanted`."""
    top = value.max()

    def size(b: Any) -> Any:
        weight = jnp.where(value > -jnp.inf, jnp.exp((b - beta) * (value - top)), 0.0)
        return weight.sum() ** 2 / (weight * weight).sum()

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = 0.5 * (low + high)
        enough = size(middle) >= wanted
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low, _ = jax.lax.fori_loop(0, BISECTIONS, halve, (beta, jnp.ones(())))
    return jnp.where(size(1.0) >= wanted, 1.0, low)


def _moments(
    z: Float[Array, "chain particle parameter"], weight: Float[Array, "chain particle"]
) -> tuple[Float[Array, " parameter"], Float[Array, "parameter parameter"]]:
    """Return the weighted mean and covariance of all chains' particles together."""
    d = z.shape[-1]
    z, weight = z.reshape(-1, d), weight.reshape(-1)
    mean = weight @ z
    away = z - mean
    return mean, (away * weight[:, None]).T @ away + RIDGE * jnp.eye(d)
