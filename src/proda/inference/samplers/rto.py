"""Randomize, then optimize: draws that are solved for, and chains that correct them.

Equations: docs/theory.md#randomize-then-optimize. Coordinates: z = Phi^-1(u), in which the uniform
prior is the standard normal. Where the misfit is a sum of squares, independent draws near the
posterior can be solved for (`anchors.py`; Bardsley et al. 2014; Wang et al. 2017), each for about
thirteen columns of the model. They are the proposals of Markov chains: a chain at a place goes to a
proposal with the ratio of their weights. Between these, each walker makes the moves of `smc`, by
which it comes to places that no proposal reaches; whether one would reach it is found out before it
is left.

The evidence is the ratio of the normalising constants of the posterior and of the proposals, whose
density is known, by the acceptance ratio method (Bennett 1976): from the weights of all proposals
and of all draws. What proposals do not reach has no density there, and an infinite weight.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from proda.inference.samplers.anchors import (
    Anchors,
    Judge,
    came_from,
    come_back,
    distances,
    log_density,
    normal,
    solve,
)
from proda.inference.samplers.bennett import log_ratio
from proda.inference.samplers.islands import Islands, keys_with, moments, resample
from proda.inference.samplers.modes import CLIMBERS, add_anchors, find_anchors
from proda.inference.samplers.smc import SMC, move, normals
from proda.inference.samplers.tempered import to_box
from proda.inference.target import Target

PRIOR_DRAWS = 40 * CLIMBERS
"""Draws of the prior from which climbs begin, and of which the share with a density is found."""
CLIMBED = 6000
"""About how many columns climbs take."""
EVEN = 0.25
"""Share of the proposals, over that of all others, that anchors of climbs get alike, as walkers may
not have come to where they are."""
LATER_SHARE = 2.0
"""How many times as many proposals anchors at walkers get, as few of theirs count."""
UNREACHED = 50.0
"""By how much more than the largest other log-weight a place counts that no proposal comes to."""
TURN = 4
"""Most proposals of a walker in a turn."""


class Proposals(eqx.Module):
    """Places that were solved for, one after the other for each walker."""

    z: Float[Array, "chain number walker parameter"]
    log_likelihood: Float[Array, "chain number walker"]
    log_weight: Float[Array, "chain number walker"]
    """-inf where the solver found none."""


class Places(eqx.Module):
    """Where walkers were after each proposal."""

    u: Float[Array, "chain walker number parameter"]
    """In the unit box of the priors."""
    log_likelihood: Float[Array, "chain walker number"]
    log_weight: Float[Array, "chain walker number"]
    """inf where no proposal comes to."""
    acceptance: Float[Array, " chain"]


class Search(eqx.Module):
    """All that continues the chains of one site. Leading axis of walkers: chain."""

    anchors: Anchors
    n_anchors: Int[Array, ""]
    share: Float[Array, " anchor"]
    """Of the proposals that come from each anchor."""
    possible: Float[Array, ""]
    """Share of the prior that has a density."""
    z: Float[Array, "chain walker parameter"]
    log_likelihood: Float[Array, "chain walker"]
    log_weight: Float[Array, "chain walker"]
    """Of their places; inf where no proposal reaches them."""
    came: Int[Array, "chain walker"]
    """From which anchor a proposal may reach them, -1 for none."""
    mean: Float[Array, " parameter"]
    """Of the Gaussian that moves are fitted to."""
    covariance: Float[Array, "parameter parameter"]
    n_columns: Int[Array, ""]
    """Evaluations of the model so far, by all chains."""


class RTO(Islands):
    """Proposals that are solved for, in chains; each turn adds draws until they are good."""

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
        solved = 13  # nine steps of the solver, and four for the derivative
        turns = max(2, per_walker // self.per_turn(per_walker))
        each = turns * self.per_turn(per_walker) * solved + (turns - 1) * (self.moves + 1 + solved)
        return n_chains * self.walkers * each + PRIOR_DRAWS + CLIMBED

    def begin(self, keys: Key[Array, " chain"], target: Target) -> Search:
        """Find anchors, none where no draw of the prior has a density; there are no walkers yet."""
        judge = functools.partial(judged, target)
        d = target.n_parameters
        z = normals(keys[0], (PRIOR_DRAWS, d))
        value, residuals = judge(z)
        there = jnp.isfinite(value)
        residuals = jnp.where(there[:, None], residuals, jnp.inf)
        anchors, n, columns = find_anchors(z, residuals, judge)
        no_value = jnp.full((len(keys), self.walkers), -jnp.inf)
        return Search(
            anchors=anchors,
            n_anchors=n,
            share=(jnp.arange(len(anchors.start)) < n).astype(float) / jnp.maximum(n, 1),
            possible=there.mean(dtype=jnp.float64),
            z=jnp.zeros((*no_value.shape, d)),
            log_likelihood=no_value,
            log_weight=no_value,
            came=jnp.full(no_value.shape, -1),
            mean=jnp.zeros(d),
            covariance=jnp.eye(d),
            n_columns=PRIOR_DRAWS + columns,
        )

    def propose(
        self, keys: Key[Array, " chain"], state: Search, target: Target, each: int
    ) -> tuple[Search, Proposals]:
        """Solve for so many places for each walker."""
        judge, anchors, n = functools.partial(judged, target), state.anchors, state.n_anchors
        number, k = each * self.walkers, anchors.mix.shape[2]
        d = target.n_parameters
        log_share = jnp.log(state.share)
        index = jax.vmap(lambda key: jax.random.categorical(key, log_share, shape=(number,)))(
            keys_with(keys, 0)
        ).reshape(-1)
        xi = jax.vmap(lambda key: normals(key, (number, d + k)))(keys_with(keys, 1))
        xi = xi.reshape(-1, d + k)
        own = anchors.of(index)
        away = own.away(xi[:, :d])
        found = solve(own, away, xi[:, d:], judge, jnp.broadcast_to(n > 0, len(index)))
        z = jnp.where(found.solved[:, None], away + own.moved(found.a), 0.0)
        density = log_density(own, z, found.residuals, judge)
        there = found.solved & jnp.isfinite(density)
        passed, more = _passed_by(state, index, z, found.residuals, there, judge)
        log_weight = found.log_likelihood + normal(z) - density - log_share[index]
        log_weight = jnp.where(there & ~passed, log_weight, -jnp.inf)
        columns = state.n_columns + found.n_columns + k * len(index) + more
        shape = (len(keys), each, self.walkers)
        made = Proposals(
            z.reshape(*shape, d), found.log_likelihood.reshape(shape), log_weight.reshape(shape)
        )
        return eqx.tree_at(lambda s: s.n_columns, state, columns), made

    def start(self, keys: Key[Array, " chain"], state: Search, made: Proposals) -> Search:
        """Bring walkers to proposals.

        Where a chain has none with a weight, all log-likelihoods are -inf.
        """
        z = made.z.reshape(len(keys), -1, made.z.shape[-1])
        value, log_weight = (
            leaf.reshape(len(keys), -1) for leaf in (made.log_likelihood, made.log_weight)
        )
        total = jax.nn.logsumexp(log_weight, axis=1)
        begun = jnp.isfinite(total).all()
        weight = jnp.where(begun, jnp.exp(log_weight - total[:, None]), 1.0 / value.shape[1])
        mean, covariance = moments(z, weight / len(keys))
        z, value = resample(keys, z, value, weight, self.walkers)
        return eqx.tree_at(
            lambda s: (s.z, s.log_likelihood, s.mean, s.covariance),
            state,
            (z, jnp.where(begun, value, -jnp.inf), mean, covariance),
        )

    def make_moves(
        self,
        keys: Key[Array, " chain"],
        state: Search,
        target: Target,
        n_moves: Int[Array, ""],
    ) -> Search:
        """Let each walker make so many moves, and find the weights of where they come to."""
        judge = functools.partial(judged, target)
        precision = jnp.linalg.inv(state.covariance)

        def one(i: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            own = keys_with(keys, i)
            z, value, _ = move(own, *at, jnp.ones(()), state.mean, precision, target)
            return z, value

        z, value = jax.lax.fori_loop(0, n_moves, one, (state.z, state.log_likelihood))
        held, came, columns = _log_weights(z, value, state, judge)
        return eqx.tree_at(
            lambda s: (s.z, s.log_likelihood, s.log_weight, s.came, s.n_columns),
            state,
            (z, value, held, came, state.n_columns + columns + n_moves * value.size),
        )

    def choose_anchors(self, state: Search, target: Target) -> Search:
        """Add anchors where walkers are that no proposal reaches, and find the shares of all.

        Weights are those of before; moves, also none, bring them up to date.
        """
        z = state.z.reshape(-1, state.z.shape[-1])
        anchors, n, came, columns = add_anchors(
            state.anchors,
            state.n_anchors,
            state.came.reshape(-1),
            z,
            functools.partial(judged, target),
        )
        number = jnp.arange(len(state.share))
        counts = (came[:, None] == number).sum(axis=0) * jnp.where(anchors.later, LATER_SHARE, 1.0)
        climbed = number < state.n_anchors
        counts += EVEN * len(z) * climbed / jnp.maximum(state.n_anchors, 1)
        counts = jnp.where(number < n, counts, 0.0)
        return eqx.tree_at(
            lambda s: (s.anchors, s.n_anchors, s.share, s.n_columns),
            state,
            (anchors, n, counts / jnp.maximum(counts.sum(), 1.0), state.n_columns + columns),
        )

    def settle(self, keys: Key[Array, " chain"], state: Search, target: Target) -> Search:
        """Bring walkers from the prior to the posterior by few moves of `smc`.

        Where proposals do not reach everything, walkers that start there would be slow to come to
        the rest by moves.
        """
        smc = SMC(walkers=self.walkers, steps=self.moves)
        walkers, _ = smc.begin(keys, target, jnp.zeros((), jnp.int32))
        columns = walkers.n_moves * walkers.log_likelihood.size
        return eqx.tree_at(
            lambda s: (s.z, s.log_likelihood, s.mean, s.covariance, s.n_columns),
            state,
            (
                walkers.z,
                walkers.log_likelihood,
                walkers.mean,
                walkers.covariance,
                state.n_columns + columns,
            ),
        )

    def through(
        self, keys: Key[Array, " chain"], state: Search, made: Proposals
    ) -> tuple[Search, Places]:
        """Let each walker go through its proposals."""
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
            return at, (*at, accept.mean(axis=1))

        proposals = (jnp.log(uniform), made.z, made.log_likelihood, made.log_weight)
        by_number = tuple(jnp.moveaxis(leaf, 1, 0) for leaf in proposals)
        at: tuple[Array, ...] = (state.z, state.log_likelihood, state.log_weight)
        at, (*new, accepted) = jax.lax.scan(one, at, by_number)
        state = eqx.tree_at(lambda s: (s.z, s.log_likelihood, s.log_weight), state, at)
        z, value, log_weight = (jnp.moveaxis(leaf, 0, 2) for leaf in new)
        return state, Places(to_box(z), value, log_weight, accepted.mean(axis=0))


def log_evidence(
    proposals: Float[Array, " proposal"], draws: Float[Array, " draw"], effective: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the log of the mean likelihood over the prior that has a density, and its variance.

    Parameters
    ----------
    proposals
        Log-weights; -inf where there is none, NaN at the end to fill up.
    draws
        Log-weights; inf where no proposal comes to, NaN at the end to fill up.
    effective
        How many independent draws these are worth.
    """
    made, drawn = ~jnp.isnan(proposals), ~jnp.isnan(draws)
    found = jnp.isfinite(proposals)
    first = jnp.where(found, proposals, -jnp.inf)
    top = jnp.maximum(first.max(), jnp.where(jnp.isfinite(draws), draws, -jnp.inf).max())
    second = jnp.where(drawn, jnp.minimum(draws, top + UNREACHED), -jnp.inf)
    emphasis = jnp.minimum(1.0, effective / drawn.sum())
    ratio = log_ratio(first, second, emphasis)
    # the terms of Bennett's two sums, whose relative variances add up
    shift = jnp.log(emphasis * drawn.sum() / found.sum()) - ratio
    of_first = jnp.where(found, jax.nn.sigmoid(first + shift), 0.0)
    of_second = jnp.where(drawn, jax.nn.sigmoid(-second - shift), 0.0)

    def variance(terms: Array, counted: Array) -> Array:
        mean = terms.sum() / counted.sum()
        return jnp.where(counted, (terms / mean - 1.0) ** 2, 0.0).sum() / counted.sum()

    error = variance(of_first, made) / made.sum() + variance(of_second, drawn) / effective
    return ratio + jnp.log(found.sum() / made.sum()), error


def judged(
    target: Target, z: Float[Array, "place parameter"]
) -> tuple[Float[Array, " place"], Float[Array, "place residual"]]:
    """Return log-likelihoods and residuals; -inf where a place is outside of the box."""
    u = to_box(z)
    inside = ((u > 0.0) & (u < 1.0)).all(axis=1)
    value, residuals = target.residuals(jnp.where(inside[:, None], u, 0.5))
    return jnp.where(inside, value, -jnp.inf), residuals


def _passed_by(
    state: Search,
    index: Int[Array, " place"],
    z: Float[Array, "place parameter"],
    residuals: Float[Array, "place residual"],
    there: Bool[Array, " place"],
    judge: Judge,
) -> tuple[Bool[Array, " place"], Int[Array, ""]]:
    """Return which places nearer anchors come back to than their own, and the columns."""
    far = distances(state.anchors, state.n_anchors, z)
    nearer = far < jnp.take_along_axis(far, index[:, None], axis=1)
    asked = (nearer & there[:, None]).reshape(-1)
    most = far.shape[1]
    place, other = jnp.divmod(jnp.arange(asked.size), most)
    back, columns = come_back(state.anchors, other, z[place], residuals[place], judge, asked)
    return back.reshape(-1, most).any(axis=1), columns


def _log_weights(
    z: Float[Array, "chain walker parameter"],
    value: Float[Array, "chain walker"],
    state: Search,
    judge: Judge,
) -> tuple[Float[Array, "chain walker"], Int[Array, "chain walker"], Int[Array, ""]]:
    """Return the log-weights of places, where proposals come to them from, and the columns."""
    flat, possible = z.reshape(-1, z.shape[-1]), jnp.isfinite(value).reshape(-1)
    _, residuals = judge(flat)
    came, columns = came_from(state.anchors, state.n_anchors, flat, residuals, judge, possible)
    index = jnp.maximum(came, 0)
    density = log_density(state.anchors.of(index), flat, residuals, judge)
    came = jnp.where(jnp.isfinite(density), came, -1)
    weight = value.reshape(-1) + normal(flat) - density - jnp.log(state.share)[index]
    weight = jnp.where(came < 0, jnp.inf, weight)
    weight = jnp.where(possible, weight, -jnp.inf)
    columns += len(flat) * (1 + state.anchors.start.shape[1])
    return weight.reshape(value.shape), came.reshape(value.shape), columns
