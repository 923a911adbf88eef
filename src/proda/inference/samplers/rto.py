"""Randomize, then optimize: draws that are solved for, and chains that correct them.

Equations: docs/theory.md#randomize-then-optimize. Coordinates: z = Phi^-1(u), in which the uniform
prior is the standard normal. Where the misfit is a sum of squares, independent draws near the
posterior can be solved for (`anchors.py`; Bardsley et al. 2014; Wang et al. 2017), each for about
twenty columns of the model. They are the proposals of Markov chains: a chain at a place goes to a
proposal with the ratio of their weights. Between these, each walker makes the moves of `smc`, by
which it comes to places that no proposal reaches; whether one would reach it is found out before it
is left.

The mean weight of the proposals is the evidence times the share of the posterior that they reach,
which the chains estimate: so the evidence is known without a ladder of temperatures.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from proda.inference.samplers.anchors import Anchors, Judge, come_back, log_density, normal, solve
from proda.inference.samplers.islands import Islands, keys_with, moments, resample
from proda.inference.samplers.modes import CLIMBERS, find_anchors
from proda.inference.samplers.smc import move, normals
from proda.inference.samplers.tempered import to_box
from proda.inference.target import Target

PRIOR_DRAWS = 40 * CLIMBERS
"""Draws of the prior from which climbs begin, and of which the share with a density is found."""
CLIMBED = 6000
"""About how many columns climbs take."""
TURN = 4
"""Most proposals of a walker in a turn."""


class Proposals(eqx.Module):
    """Places that were solved for, one after the other for each walker."""

    z: Float[Array, "chain number walker parameter"]
    log_likelihood: Float[Array, "chain number walker"]
    log_weight: Float[Array, "chain number walker"]
    """-inf where the solver found none."""
    n_columns: Int[Array, ""]
    """Evaluations of the model that they took."""


class Places(eqx.Module):
    """Where walkers were after each proposal."""

    z: Float[Array, "chain walker number parameter"]
    log_likelihood: Float[Array, "chain walker number"]
    acceptance: Float[Array, " chain"]


class Search(eqx.Module):
    """All that continues the chains of one site. Leading axis of walkers and sums: chain."""

    anchors: Anchors
    n_anchors: Int[Array, ""]
    possible: Float[Array, ""]
    """Share of the prior that has a density."""
    z: Float[Array, "chain walker parameter"]
    log_likelihood: Float[Array, "chain walker"]
    mean: Float[Array, " parameter"]
    """Of the Gaussian that moves are fitted to."""
    covariance: Float[Array, "parameter parameter"]
    log_weights: Float[Array, " chain"]
    """Logarithm of the sum of the weights of all proposals."""
    log_squares: Float[Array, " chain"]
    """Logarithm of the sum of their squares."""
    n_proposals: Int[Array, ""]
    """Of each chain."""
    reached: Float[Array, " chain"]
    """Share of the places of walkers that proposals reach, the sum over turns."""
    n_turns: Int[Array, ""]
    n_columns: Int[Array, ""]
    """Evaluations of the model so far, by all chains."""

    def with_weights_of(self, made: Proposals) -> Search:
        """Return the same with more proposals in its sums."""
        weight = made.log_weight.reshape(len(self.log_weights), -1)
        return eqx.tree_at(
            lambda s: (s.log_weights, s.log_squares, s.n_proposals),
            self,
            (
                jnp.logaddexp(self.log_weights, jax.nn.logsumexp(weight, axis=1)),
                jnp.logaddexp(self.log_squares, jax.nn.logsumexp(2.0 * weight, axis=1)),
                self.n_proposals + weight.shape[1],
            ),
        )

    def log_evidence(self) -> Float[Array, " chain"]:
        """Return the log of the mean likelihood over the prior that has a density."""
        reached = self.reached / self.n_turns
        return self.log_weights - jnp.log(self.n_proposals * reached * self.possible)

    def evidence_error(self, ess: Float[Array, ""]) -> Float[Array, ""]:
        """Return the standard error of the mean of the log-evidence of the chains.

        That between chains, or that expected, whichever is larger.

        Parameters
        ----------
        ess
            Effective draws of the posterior, by which the share that proposals reach is known.
        """
        evidence, n_chains = self.log_evidence(), len(self.log_weights)
        between = evidence.var(ddof=1) / n_chains if n_chains > 1 else 0.0
        n = n_chains * self.n_proposals
        total = jax.nn.logsumexp(self.log_weights)
        weights = jnp.exp(jax.nn.logsumexp(self.log_squares) - 2.0 * total) - 1.0 / n
        reached = (self.reached / self.n_turns).mean()
        shares = (1.0 - reached) / (reached * ess)
        shares += (1.0 - self.possible) / (self.possible * PRIOR_DRAWS)
        return jnp.sqrt(jnp.maximum(between, weights + shares))


class RTO(Islands):
    """Proposals that are solved for, in chains; each round adds draws until they are good."""

    name: ClassVar[str] = "rto"

    walkers: int = eqx.field(static=True, default=50)
    """Of each chain."""
    moves: int = eqx.field(static=True, default=16)
    """Other moves of each walker in a turn."""
    rounds: int = eqx.field(static=True, default=8)
    """Most rounds; sites that are not good by then are sampled by `smc`."""

    def per_turn(self, per_walker: int) -> int:
        """Return how many proposals of a walker are in a turn, if a round has so many."""
        return math.gcd(per_walker, TURN)

    def evaluations(self, n_chains: int, per_walker: int = 2) -> int:
        """Return the model evaluations of a typical site, whose walkers give so many draws."""
        solved = 18  # of one anchor: the start, twelve steps, and five for the derivative
        turn = self.per_turn(per_walker)
        each = turn * solved + per_walker // turn * (self.moves + solved + turn * solved)
        return n_chains * self.walkers * each + PRIOR_DRAWS + CLIMBED

    def begin(
        self, keys: Key[Array, " chain"], target: Target
    ) -> tuple[Anchors, Int[Array, ""], Float[Array, ""], Int[Array, ""]]:
        """Find anchors.

        Returns
        -------
        Anchors, how many of them there are (none where no draw of the prior has a density), the
        share of the prior that has a density, and how many columns were solved.
        """
        judge = functools.partial(judged, target)
        z = normals(keys[0], (PRIOR_DRAWS, target.n_parameters))
        value, residuals = judge(z)
        there = jnp.isfinite(value)
        residuals = jnp.where(there[:, None], residuals, jnp.inf)
        anchors, n, columns = find_anchors(z, residuals, judge)
        return anchors, n, there.mean(dtype=jnp.float64), PRIOR_DRAWS + columns

    def propose(
        self,
        keys: Key[Array, " chain"],
        anchors: Anchors,
        n: Int[Array, ""],
        target: Target,
        each: int,
    ) -> Proposals:
        """Solve for so many places for each walker."""
        judge = functools.partial(judged, target)
        number, (_, d, k) = each * self.walkers, anchors.directions.shape
        index = jax.vmap(lambda key: jax.random.randint(key, (number,), 0, jnp.maximum(n, 1)))(
            keys_with(keys, 0)
        ).reshape(-1)
        xi = jax.vmap(lambda key: normals(key, (number, d + k)))(keys_with(keys, 1))
        xi = xi.reshape(-1, d + k)
        own = anchors.of(index)
        away = own.away(xi[:, :d])
        a, solved, columns = solve(own, away, xi[:, d:], judge)
        z = away + own.moved(a)
        density, value, _ = log_density(own, z, judge)
        density = jnp.where(solved, density, -jnp.inf)
        log_weight, more = _log_weights(z, value, density, index, (anchors, n), 1, judge)
        log_weight = jnp.where(jnp.isfinite(density) & (n > 0), log_weight, -jnp.inf)
        shape = (len(keys), each, self.walkers)
        return Proposals(
            z.reshape(*shape, d),
            value.reshape(shape),
            log_weight.reshape(shape),
            columns + more + len(z) * (1 + k),
        )

    def start(
        self,
        keys: Key[Array, " chain"],
        found: tuple[Anchors, Array, Array, Array],
        made: Proposals,
    ) -> Search:
        """Bring walkers to proposals.

        Where a chain has none with a weight, all log-likelihoods are -inf.
        """
        anchors, n, possible, columns = found
        z = made.z.reshape(len(keys), -1, made.z.shape[-1])
        value, log_weight = (
            leaf.reshape(len(keys), -1) for leaf in (made.log_likelihood, made.log_weight)
        )
        total = jax.nn.logsumexp(log_weight, axis=1)
        begun = jnp.isfinite(total).all()
        weight = jnp.where(begun, jnp.exp(log_weight - total[:, None]), 1.0 / value.shape[1])
        mean, covariance = moments(z, weight / len(keys))
        z, value = resample(keys, z, value, weight, self.walkers)
        zero, none = jnp.zeros((), jnp.int32), jnp.zeros(len(keys))
        start = Search(
            anchors=anchors,
            n_anchors=n,
            possible=possible,
            z=z,
            log_likelihood=jnp.where(begun, value, -jnp.inf),
            mean=mean,
            covariance=covariance,
            log_weights=none - jnp.inf,
            log_squares=none - jnp.inf,
            n_proposals=zero,
            reached=none,
            n_turns=zero,
            n_columns=columns + made.n_columns,
        )
        return start.with_weights_of(made)

    def turn(
        self, keys: Key[Array, " chain"], state: Search, made: Proposals, target: Target
    ) -> tuple[Search, Places]:
        """Let each walker make its moves and go through its proposals."""
        judge = functools.partial(judged, target)
        precision = jnp.linalg.inv(state.covariance)

        def one(i: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            own = keys_with(keys, i)
            z, value, _ = move(own, *at, jnp.ones(()), state.mean, precision, target)
            return z, value

        z, value = jax.lax.fori_loop(0, self.moves, one, (state.z, state.log_likelihood))
        flat = z.reshape(-1, z.shape[-1])
        none, first = jnp.full(len(flat), -jnp.inf), jnp.zeros(len(flat), jnp.int32)
        which = (state.anchors, state.n_anchors)
        held, columns = _log_weights(flat, value.reshape(-1), none, first, which, 0, judge)
        held = held.reshape(value.shape)
        (z, value, _), places = _through(keys_with(keys, self.moves), (z, value, held), made)
        state = eqx.tree_at(
            lambda s: (s.z, s.log_likelihood, s.reached, s.n_turns, s.n_columns),
            state.with_weights_of(made),
            (
                z,
                value,
                state.reached + (held < jnp.inf).mean(axis=1),
                state.n_turns + 1,
                state.n_columns + made.n_columns + columns + self.moves * value.size,
            ),
        )
        return state, places


def judged(
    target: Target, z: Float[Array, "place parameter"]
) -> tuple[Float[Array, " place"], Float[Array, "place residual"]]:
    """Return log-likelihoods and residuals; -inf where a place is outside of the box."""
    u = to_box(z)
    inside = ((u > 0.0) & (u < 1.0)).all(axis=1)
    value, residuals = target.residuals(jnp.where(inside[:, None], u, 0.5))
    return jnp.where(inside, value, -jnp.inf), residuals


def _log_weights(
    z: Float[Array, "place parameter"],
    value: Float[Array, " place"],
    density: Float[Array, " place"],
    index: Int[Array, " place"],
    anchors: tuple[Anchors, Int[Array, ""]],
    first: int,
    judge: Judge,
) -> tuple[Float[Array, " place"], Int[Array, ""]]:
    """Return the posterior over the mean of the densities of all anchors' draws, as logarithms.

    Parameters
    ----------
    density
        Of what is known already.
    index, first
        Anchors are asked from the `first` one after `index` on.
    """
    every, n = anchors

    def add(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        density, columns = carry
        other, more = come_back(every.of((index + i) % n), z, judge)
        return jnp.logaddexp(density, other), columns + more

    zero = jnp.zeros((), jnp.int32)
    density, columns = jax.lax.fori_loop(first, n, add, (density, zero))
    return value + normal(z) - (density - jnp.log(jnp.maximum(n, 1))), columns


def _through(
    keys: Key[Array, " chain"], start: tuple[Array, ...], made: Proposals
) -> tuple[tuple[Array, ...], Places]:
    """Let each walker go through its proposals.

    Parameters
    ----------
    start
        Places, log-likelihoods and log-weights of walkers.

    Returns
    -------
    The same in the end, and where walkers were after each proposal.
    """
    shape = made.log_weight.shape
    uniform = jax.vmap(lambda key: jax.random.uniform(key, shape[1:]))(keys)

    def one(
        at: tuple[Array, ...], new: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        log_uniform, *there = new
        accept = log_uniform < there[2] - at[2]
        at = tuple(
            jnp.where(accept.reshape(accept.shape + (1,) * (a.ndim - 2)), b, a)
            for a, b in zip(at, there, strict=True)
        )
        return at, (at[0], at[1], accept.mean(axis=1))

    proposals = (jnp.log(uniform), made.z, made.log_likelihood, made.log_weight)
    by_number = tuple(jnp.moveaxis(leaf, 1, 0) for leaf in proposals)
    end, (z, value, accepted) = jax.lax.scan(one, start, by_number)
    return end, Places(jnp.moveaxis(z, 0, 2), jnp.moveaxis(value, 0, 2), accepted.mean(axis=0))
