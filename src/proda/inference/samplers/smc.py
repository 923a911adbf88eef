"""Sequential Monte Carlo from the prior to the posterior, without waste.

Equations: docs/theory.md#sequential-monte-carlo. Coordinates: z = Phi^-1(u), in which the uniform
prior is the standard normal, so that there are no bounds and a dimension that the data do not
constrain is a Gaussian.

A chain is an island of particles. It starts from many draws of the prior and goes through the
densities prior x likelihood^beta, 0 = beta_0 < beta_1 < ... = 1. Particles are weighted by
likelihood^(beta' - beta), walkers are resampled from them, and each walker makes a few moves that
leave the new density invariant; all places on the way are the next particles (Dau and Chopin 2022).
At beta = 1 the walkers go on in rounds, each twice as long as the one before, of which only the
last is kept: so a site that is easy ends early.

The product of the mean weights is an estimate of the evidence that is nearly always too small where
the posterior lies in a part of the prior that few particles find. So draws of the posterior go back
down the ladder: at each temperature, walkers are resampled from those that came up and those that
come down, weighted by the mixture of the two densities, whose ratio of normalising constants is
that of the acceptance ratio (Bennett 1976); then they make a few moves. From their places, ratio by
ratio, comes the evidence.

A move redraws some of the coordinates from a Gaussian, fitted to the particles, given the other
coordinates, and is accepted with the ratio of the density to that Gaussian. Islands share the
temperatures, the Gaussian and which coordinates move, and nothing else.
"""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Int, Key

from proda.inference.samplers.bennett import log_ratio
from proda.inference.samplers.islands import Islands, keys_with, moments, resample
from proda.inference.samplers.tempered import to_box
from proda.inference.target import Target
from proda.one_kernel import one_kernel

MOVES = ((1.0, 1.0), (1.0, 0.3), (0.5, 1.0), (0.25, 1.0), (0.3, 0.4), (0.1, 1.0))
"""Kinds of moves, equally often: the share of the coordinates that move, and how far.

1 draws afresh; s < 1 keeps sqrt(1 - s^2) of the distance from the mean (Crank-Nicolson).
"""
EFFECTIVE = 0.5
"""The next temperature is the highest at which the particles are worth this share of a stage's."""
EMPHASIS = 8.0
"""By how much more a walker that comes down counts than one that came up.

With 1, a part of the posterior that no walker found on the way up loses half of its weight at every
stage on the way down; without end, the few walkers at small likelihoods would decide alone.
"""
MAX_STAGES = 60
BISECTIONS = 40


class TemperatureLadder(eqx.Module):
    """The temperatures, and what was found at each on the last way up or down.

    Stage 0 is the prior, stage `n` the posterior.
    """

    n: Int[Array, ""]
    beta: Float[Array, " stage"]
    mean: Float[Array, "stage parameter"]
    """Of the Gaussian that moves are fitted to."""
    covariance: Float[Array, "stage parameter parameter"]
    prior: Float[Array, "chain draw"]
    """Log-likelihoods of the draws from the prior."""
    z: Float[Array, "stage chain walker parameter"]
    """Where walkers were in the end, between prior and posterior."""
    log_likelihood: Float[Array, "stage chain walker place"]
    """At all their places."""
    log_evidence: Float[Array, " chain"]
    """NaN where beta = 1 was not reached."""


class Walkers(eqx.Module):
    """All that continues the walkers of one site; the leading axis is the chain."""

    z: Float[Array, "chain walker parameter"]
    log_likelihood: Float[Array, "chain walker"]
    mean: Float[Array, " parameter"]
    """Of the Gaussian that moves are fitted to."""
    covariance: Float[Array, "parameter parameter"]
    n_moves: Int[Array, ""]
    """Evaluations of each walker so far, draws from the prior included."""
    doublings: Int[Array, ""]
    """How often the moves between two places have been doubled: by rounds and restarts."""


class Round(eqx.Module):
    """Draws of one round at the posterior, walker by walker."""

    u: Float[Array, "chain draw parameter"]
    """Place in the unit box of the priors."""
    log_likelihood: Float[Array, "chain draw"]
    acceptance: Float[Array, " chain"]


class SMC(Islands):
    """Waste-free sequential Monte Carlo on islands, then rounds at the posterior.

    Unlike a `Sampler`, which is one chain, it sees all chains of a site at once.
    """

    name: ClassVar[str] = "smc"

    walkers: int = eqx.field(static=True, default=50)
    """Of each chain. Few walkers that move often come nearer to the density of a temperature than
    many that move seldom."""
    steps: int = eqx.field(static=True, default=32)
    """Moves of each walker from one temperature to the next."""
    pool: int = eqx.field(static=True, default=4)
    """Draws from the prior, as a multiple of the particles of a stage."""
    rounds: int = eqx.field(static=True, default=5)
    """Limit of the rounds at the posterior; each is twice as long as the one before."""

    descents: int = eqx.field(static=True, default=2)
    """How often at most to go back from the posterior to the prior, each time with twice the
    moves, until the evidence is steady. With 0 the evidence is that of the way up, which is too
    small at difficult sites, and its error is not estimated; the draws are the same."""
    restarts: int = eqx.field(static=True, default=1)
    """How often at most to begin again at the prior, each time with four times the moves, where
    the evidence is still not steady: then walkers have missed a part of the posterior, which the
    limits of R-hat and effective size do not always show."""

    def evaluations(
        self, n_chains: int, per_walker: int = 2, n_between: int = 4, n_rounds: int = 1
    ) -> int:
        """Return the model evaluations of a site, by default of a typical one.

        Parameters
        ----------
        n_chains
            Chains of the site.
        per_walker
            Draws of each walker in a round (`draws_per_walker`).
        n_between
            Temperatures between prior and posterior, once on the way up and, if there is a way
            down, once down.
        n_rounds
            Rounds at the posterior.
        """
        ways = 2 if self.descents else 1
        rounds = per_walker * (2**n_rounds - 1)
        return n_chains * self.walkers * self.steps * (self.pool + ways * n_between + rounds)

    def begin(
        self, keys: Key[Array, " chain"], target: Target, doublings: Int[Array, ""]
    ) -> tuple[Walkers, TemperatureLadder]:
        """Go from the prior to the posterior.

        Where one of the chains draws nothing possible from the prior, all its log-likelihoods are
        -inf.

        Parameters
        ----------
        keys, target
            Random keys of the chains, and what is sampled.
        doublings
            How often the moves are doubled, here and in the rounds that follow.
        """
        z, prior = self._draw_prior(keys, target)
        possible = prior > -jnp.inf
        startable = possible.any(axis=1).all()
        particles = self.walkers * self.steps
        wanted = EFFECTIVE * jnp.minimum(1.0 * particles * len(keys), possible.sum())

        def body(carry: tuple[Walkers, TemperatureLadder]) -> tuple[Walkers, TemperatureLadder]:
            at, ladder = carry
            end, (z, value) = _walk(
                keys_with(keys, 2 * ladder.n),
                (at.z, at.log_likelihood),
                (ladder.beta[ladder.n], at.mean, at.covariance),
                target,
                self.steps,
                2**doublings,
            )
            ladder = self._remember(ladder, ladder.n, end[0], value)
            return _colder(
                keys_with(keys, 2 * ladder.n + 1), z, value, ladder, wanted, self.walkers
            )

        def hot(carry: tuple[Walkers, TemperatureLadder]) -> Any:
            ladder = carry[1]
            return startable & (ladder.beta[ladder.n] < 1.0) & (ladder.n <= MAX_STAGES)

        ladder = self._no_ladder(prior, target.n_parameters)
        first = _colder(keys_with(keys, 1), z, prior, ladder, wanted, self.walkers)
        at, ladder = jax.lax.while_loop(hot, body, first)
        arrived = ladder.beta[ladder.n] == 1.0
        walkers = Walkers(
            z=at.z,
            log_likelihood=jnp.where(startable, at.log_likelihood, -jnp.inf),
            mean=at.mean,
            covariance=at.covariance,
            n_moves=self.steps * (self.pool + 2**doublings * (ladder.n - 1)),
            doublings=doublings,
        )
        evidence = jnp.where(arrived, ladder.log_evidence, jnp.nan)
        return walkers, eqx.tree_at(lambda ladder: ladder.log_evidence, ladder, evidence)

    def _draw_prior(self, keys: Key[Array, " chain"], target: Target) -> tuple[Any, Any]:
        """Return draws of the prior, (chain, draw, parameter), and their log-likelihoods."""

        def draw(i: Any) -> tuple[Any, Any]:
            shape = (self.walkers, target.n_parameters)
            z = jax.vmap(lambda k: normals(k, shape))(keys_with(keys_with(keys, 0), i))
            return z, evaluate(target, z)

        z, value = jax.lax.map(draw, jnp.arange(self.pool * self.steps))
        z = jnp.swapaxes(z, 0, 1).reshape(len(keys), -1, target.n_parameters)
        return z, jnp.swapaxes(value, 0, 1).reshape(len(keys), -1)

    def _no_ladder(self, prior: Float[Array, "chain draw"], d: int) -> TemperatureLadder:
        """Return the ladder that has only the prior."""
        n_chains, stages = len(prior), MAX_STAGES + 2
        return TemperatureLadder(
            n=jnp.zeros((), jnp.int32),
            beta=jnp.zeros(stages),
            mean=jnp.zeros((stages, d)),
            covariance=jnp.zeros((stages, d, d)),
            prior=prior,
            z=jnp.zeros((stages, n_chains, self.walkers, d)),
            log_likelihood=jnp.zeros((stages, n_chains, self.walkers, self.steps)),
            # The prior is the uniform one on the parameters that have a steady state.
            log_evidence=-jnp.log((prior > -jnp.inf).mean(axis=1, dtype=jnp.float64)),
        )

    def _remember(
        self, ladder: TemperatureLadder, stage: Any, z: Any, value: Any
    ) -> TemperatureLadder:
        """Return the ladder with the walkers and all their log-likelihoods at one stage."""
        value = value.reshape(len(z), self.walkers, self.steps)
        return eqx.tree_at(
            lambda ladder: (ladder.z, ladder.log_likelihood),
            ladder,
            (ladder.z.at[stage].set(z), ladder.log_likelihood.at[stage].set(value)),
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
        apart = self.steps * 2**state.doublings
        (z, value, accepted), (zs, values) = _walk(
            keys_with(keys, 2 * MAX_STAGES + 2 + state.doublings),
            (state.z, state.log_likelihood),
            (jnp.ones(()), state.mean, state.covariance),
            target,
            per_walker,
            apart,
        )
        mean, covariance = moments(zs, jnp.full(zs.shape[:2], 1.0 / (zs.shape[0] * zs.shape[1])))
        state = Walkers(
            z=z,
            log_likelihood=value,
            mean=mean,
            covariance=covariance,
            n_moves=state.n_moves + per_walker * apart,
            doublings=state.doublings + 1,
        )
        return state, Round(to_box(zs), values, accepted / (per_walker * apart))

    def go_back(
        self,
        keys: Key[Array, " chain"],
        ladder: TemperatureLadder,
        u: Float[Array, "chain draw parameter"],
        value: Float[Array, "chain draw"],
        target: Target,
        doublings: Int[Array, ""],
    ) -> TemperatureLadder:
        """Go from the posterior back to the prior; return what is found on the way.

        Parameters
        ----------
        keys
            Not those of `begin`, and others for each way down.
        ladder
            Temperatures, and what was found on the last way.
        u, value
            Draws of the posterior, in the unit box, and their log-likelihoods, walker by walker.
        target
            As for `begin`.
        doublings
            How often the moves are doubled: once more for each way down.
        """

        def warmer(stage: Any, z: Any, value: Any) -> tuple[Any, ...]:
            """Go on from all places at a stage, and the last of each walker, to the next lower."""
            change = ladder.beta[stage] - ladder.beta[stage - 1]
            other = ladder.log_likelihood[stage - 1]
            ratio = _ratio(other.reshape(len(keys), -1), value, change, EMPHASIS)
            last = value.reshape(len(keys), self.walkers, -1)[..., -1]
            last = jnp.concatenate([other[..., -1], last], axis=1)
            counts = jnp.repeat(jnp.array([1.0, EMPHASIS]), self.walkers)
            weight = counts / (1.0 + EMPHASIS * jnp.exp(change * last - ratio[:, None]))
            weight = weight / weight.sum(axis=1, keepdims=True)
            z = jnp.concatenate([ladder.z[stage - 1], z], axis=1)
            mine = keys_with(keys, 2 * stage + 1)
            return stage - 1, *resample(mine, z, last, weight, self.walkers)

        def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            stage, z, value, descent = carry
            # The Gaussian is that of the way up: one fitted to the particles of a colder
            # temperature would be too narrow, and walkers would stay where they are.
            end, (_, values) = _walk(
                keys_with(keys, 2 * stage),
                (z, value),
                (ladder.beta[stage], ladder.mean[stage], ladder.covariance[stage]),
                target,
                self.steps,
                2**doublings,
            )
            descent = self._remember(descent, stage, end[0], values)
            return *warmer(stage, end[0], values), descent

        z = ndtri(u).reshape(len(keys), self.walkers, -1, u.shape[-1])[:, :, -1]
        start = (*warmer(ladder.n, z, value), ladder)
        descent = jax.lax.while_loop(lambda carry: carry[0] > 0, body, start)[-1]
        return eqx.tree_at(lambda f: f.log_evidence, descent, _evidence(descent, value))


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
    precision: Float[Array, "parameter parameter"],
    target: Target,
) -> tuple[Any, Any, Float[Array, " chain"]]:
    """Move every walker once; return places, log-likelihoods and the mean acceptance.

    Which coordinates move is the same for all walkers and does not depend on where they are.
    """
    n, d = z.shape[1:]
    chance = one_kernel(functools.partial(_chance, n=n, d=d))(keys)
    share, s = jnp.asarray(MOVES)[chance.kind]
    moves = ((chance.place < share) | (jnp.arange(d) == chance.first)).astype(z.dtype)
    xi = _normal(chance.bits).reshape(z.shape)

    # Of a Gaussian with precision P, the coordinates M that move have, given the others R, the
    # precision P_MM = L L' and the mean c = m_M - P_MM^-1 P_MR (z_R - m_R); L'(z_M - c) is white.
    among = precision * jnp.outer(moves, moves) + jnp.diag(1.0 - moves)
    root = jax.lax.linalg.cholesky(among, symmetrize_input=False)
    spread = jax.scipy.linalg.solve_triangular(root, jnp.eye(d), lower=True)  # root^-1
    given = (spread.T @ spread) @ (precision * jnp.outer(moves, 1.0 - moves))
    whiten = ((jnp.eye(d) + given.T) * moves) @ root
    away = (z - mean) @ jnp.concatenate([whiten, given.T], axis=1)
    old, centre = away[..., :d], mean - away[..., d:]
    new = jnp.sqrt(1.0 - s * s) * old + s * moves * xi
    z_new = jnp.where(moves > 0.0, centre + new @ spread, z)
    value_new = evaluate(target, z_new)

    def squares(x: Any) -> Any:
        return (x * x).sum(axis=-1)

    log_ratio = beta * (value_new - value) + 0.5 * (
        squares(z) - squares(z_new) + squares(new) - squares(old)
    )
    log_ratio = jnp.where(value_new > -jnp.inf, log_ratio, -jnp.inf)
    accept = jnp.log(chance.uniform) < log_ratio
    return (
        jnp.where(accept[..., None], z_new, z),
        jnp.where(accept, value_new, value),
        jnp.minimum(1.0, jnp.exp(log_ratio)).mean(axis=1),
    )


class Chance(NamedTuple):
    """The random numbers of one move."""

    kind: Int[Array, ""]
    """Of `MOVES`."""
    first: Int[Array, ""]
    """The coordinate that moves in any case."""
    place: Float[Array, " parameter"]
    """In [0, 1): those below the share of the kind move."""
    bits: Int[Array, "chain number"]
    """Of the normals, 32 for each walker and parameter."""
    uniform: Float[Array, "chain walker"]
    """In (0, 1), compared with the ratio of acceptance."""


def _chance(keys: Key[Array, " chain"], n: int, d: int) -> Chance:
    k_kind, k_first, k_place = jax.random.split(jax.random.fold_in(keys[0], 1), 3)
    own = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, 2)))(keys)
    tiny = np.finfo(np.float64).tiny
    return Chance(
        kind=jax.random.randint(k_kind, (), 0, len(MOVES)),
        first=jax.random.randint(k_first, (), 0, d),
        place=jax.random.uniform(k_place, (d,)),
        bits=jax.vmap(lambda k: _bits(k, n * d))(own[:, 0]),
        uniform=jax.vmap(lambda k: jax.random.uniform(k, (n,), minval=tiny))(own[:, 1]),
    )


def normals(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Return standard normal draws with the digits of single precision.

    These are enough for proposals and draws of the prior. `jax.random.normal` computes two words
    of random bits for each number; here each word makes one, in a third of the time.
    """
    bits = one_kernel(functools.partial(_bits, n=math.prod(shape)))(key)
    return _normal(bits).reshape(shape)


def _bits(key: Key[Array, ""], n: int) -> Int[Array, " n"]:
    return threefry_2x32(jax.random.key_data(key), jnp.arange(n + n % 2, dtype=jnp.uint32))[:n]


def _normal(bits: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
    # 23 random bits behind the leading one of the numbers in [1, 2), then odd multiples of 2^-23
    # in (-1, 1).
    ones = np.float32(1.0).view(np.uint32)
    uniform = jax.lax.bitcast_convert_type((bits >> 9) | ones, jnp.float32)
    uniform = 2.0 * ((uniform - np.float32(1.5)) + np.float32(2.0**-24))
    normal = np.float32(np.sqrt(2.0)) * jax.lax.erf_inv(uniform)
    return normal.astype(jnp.float64)


def _ratio(
    first: Float[Array, "chain draw"],
    second: Float[Array, "chain other"],
    change: Float[Array, ""],
    emphasis: float = 1.0,
) -> Float[Array, " chain"]:
    """Return the log ratio of the normalising constants of two temperatures, second over first.

    Parameters
    ----------
    first, second
        Log-likelihoods of draws at each; -inf where there is no draw.
    change
        By how much beta differs.
    emphasis
        By how much more a draw counts at the second than at the first.
    """
    return jax.vmap(functools.partial(log_ratio, emphasis=emphasis))(
        change * first, change * second
    )


def _evidence(
    ladder: TemperatureLadder, posterior: Float[Array, "chain draw"]
) -> Float[Array, " chain"]:
    """Return the log of the mean likelihood over the prior, NaN where beta = 1 was not reached.

    Parameters
    ----------
    ladder
        As a way down left it.
    posterior
        Log-likelihoods of draws of the posterior.
    """
    between = ladder.log_likelihood.reshape(*ladder.log_likelihood.shape[:2], -1)
    size = max(posterior.shape[1], between.shape[2])

    def filled(value: Any) -> Any:
        short = size - value.shape[-1]
        return jnp.pad(value, ((0, 0), (0, short)), constant_values=-jnp.inf)

    def at(stage: Any) -> Any:
        return jnp.where(stage == ladder.n, filled(posterior), filled(between[stage]))

    def add(stage: Any, total: Any) -> Any:
        change = ladder.beta[stage + 1] - ladder.beta[stage]
        return total + _ratio(at(stage), at(stage + 1), change)

    # Of the prior there are several times as many draws, which the others need not be padded to.
    first = _ratio(ladder.prior, at(1), ladder.beta[1])
    total = jax.lax.fori_loop(1, ladder.n, add, first)
    return jnp.where(jnp.isnan(ladder.log_evidence), jnp.nan, total)


def _walk(
    keys: Key[Array, " chain"],
    start: tuple[Float[Array, "chain walker parameter"], Float[Array, "chain walker"]],
    density: tuple[Any, Any, Any],
    target: Target,
    n_places: int,
    apart: Any,
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any]]:
    """Move walkers, and keep some places of each.

    Parameters
    ----------
    start
        Walkers and their log-likelihoods.
    density
        Temperature, and mean and covariance of the Gaussian that moves are fitted to.
    n_places, apart
        How many places of each walker are kept, and how many moves apart.

    Returns
    -------
    Where walkers are in the end, their log-likelihoods, and the sum of the mean acceptances; places
    and log-likelihoods (chain, particle). Every walker's places come one after the other:
    neighbours in this order share ancestors, so that the autocorrelation of draws in this order
    tells how much they still share.
    """
    n_chains, _, d = start[0].shape
    beta, mean, covariance = density
    precision = jnp.linalg.inv(covariance)

    def one(i: Any, at: tuple[Any, ...]) -> tuple[Any, ...]:
        z, value, acceptance = move(keys_with(keys, i), at[0], at[1], beta, mean, precision, target)
        return z, value, at[2] + acceptance

    def some(at: tuple[Any, ...], slot: Any) -> tuple[Any, ...]:
        at = jax.lax.fori_loop(slot * apart, (slot + 1) * apart, one, at)
        return at, at[:2]

    end, (z, value) = jax.lax.scan(some, (*start, jnp.zeros(n_chains)), jnp.arange(n_places))
    z = jnp.moveaxis(z, 0, 2).reshape(n_chains, -1, d)
    return end, (z, jnp.moveaxis(value, 0, 2).reshape(n_chains, -1))


def _colder(
    keys: Key[Array, " chain"],
    z: Float[Array, "chain particle parameter"],
    value: Float[Array, "chain particle"],
    ladder: TemperatureLadder,
    wanted: Float[Array, ""],
    n_walkers: int,
) -> tuple[Walkers, TemperatureLadder]:
    """Weight the particles for the next temperature and resample walkers in each chain."""
    beta = ladder.beta[ladder.n]
    new = _next_beta(value, beta, wanted)
    weight, total = _weights(value, new - beta)
    mean, covariance = moments(z, weight / len(keys))
    z, value_of_walkers = resample(keys, z, value, weight, n_walkers)
    zero, n = jnp.zeros((), jnp.int32), ladder.n + 1
    return Walkers(z, value_of_walkers, mean, covariance, zero, zero), TemperatureLadder(
        n=n,
        beta=ladder.beta.at[n].set(new),
        mean=ladder.mean.at[n].set(mean),
        covariance=ladder.covariance.at[n].set(covariance),
        prior=ladder.prior,
        z=ladder.z,
        log_likelihood=ladder.log_likelihood,
        log_evidence=ladder.log_evidence + total - np.log(value.shape[1]),
    )


def _weights(
    value: Float[Array, "chain particle"], change: Float[Array, ""]
) -> tuple[Float[Array, "chain particle"], Float[Array, " chain"]]:
    """Return weights for another temperature, of each chain 1 in sum, and the logs of the sums."""
    log_weight = jnp.where(value > -jnp.inf, change * value, -jnp.inf)
    total = jax.nn.logsumexp(log_weight, axis=1)
    return jnp.exp(log_weight - total[:, None]), total


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
