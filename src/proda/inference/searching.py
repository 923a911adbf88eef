"""Sites sampled from anchors, and by sequential Monte Carlo where that is not good enough."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from proda.inference.samplers.rto import (
    PRIOR_DRAWS,
    RTO,
    Places,
    Proposals,
    Search,
    log_evidence,
)
from proda.inference.samplers.smc import SMC
from proda.inference.sampling import (
    SamplingProblem,
    choose_anchors,
    find_anchors,
    fold,
    go_through,
    move_walkers,
    propose,
    settle,
    start_search,
)
from proda.inference.target import Site
from proda.inference.walking import Walked, between_chains, good, sample_again, sample_walkers

SEARCH, TURNS = 3000, 4000
"""Random keys of the search for anchors, and of the turns of `rto`, are folded with these."""
LATE = 5
"""Turn from which walkers make more moves, as they do from the first where many are not reached."""
FEW_UNREACHED = 0.03
"""Share of the walkers that may be where no proposal reaches, before they make more moves."""
MANY = 8
"""How many times as many these are."""
FEW_TURNS = 4
"""Evidence after more turns than these, which most sites do not need, has another program."""
OTHERWISE = 2000
"""Random keys of `smc` where `rto` is not good enough are folded with this."""


def sample_islands(problem: SamplingProblem, keys: Any, sites: Site, n: int) -> Walked:
    """Sample the first `n` of some sites by the islands of the problem."""
    sample = sample_by_search if isinstance(problem.sampler, RTO) else sample_walkers
    return sample(problem, keys, sites, n)


def sample_by_search(problem: SamplingProblem, keys: Any, sites: Site, n: int) -> Walked:
    """Sample the first `n` of some sites from anchors, and by `smc` where that is not good enough.

    Parameters
    ----------
    problem, keys, sites
        As for `find_anchors`; sites are padded to the width of the program.
    n
        How many sites there are.
    """
    rto = problem.sampler
    assert isinstance(rto, RTO)
    state, made, unreached = _begun(problem, sites, fold(keys, SEARCH))
    begun = np.asarray(state.log_likelihood).max(axis=(1, 2))[:n] > -np.inf
    places: list[Places] = []
    weights: list[np.ndarray] = []
    found: Walked | None = None
    going = np.ones(n, bool)
    for number in range(most_turns(problem)):
        own = fold(keys, TURNS + number)
        if number > 0:
            state, made = propose(problem, sites, fold(own, 0), state)
            times = np.where(unreached | (number >= LATE), MANY, int(number > 1))
            state = _moved(problem, sites, fold(own, 1), state, times)
        state, new = go_through(problem, fold(own, 2), state, made)
        places.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:n], new))
        weights.append(np.asarray(made.log_weight)[:n])
        if number == 0 or len(places) * new.u.shape[3] < problem.segment:
            continue
        walked = _searched(problem, places, weights, state)
        found = found or walked
        found.replace(going, walked.select(going))
        going &= begun & ~_enough(problem, found)
        if not going.any():
            break
    assert found is not None
    otherwise = eqx.tree_at(lambda p: p.sampler, problem, SMC(walkers=rto.walkers, restarts=0))
    by_smc = functools.partial(sample_walkers, otherwise)
    poor = ~found.converged | ~np.isfinite(found.evidence_error) | above_likelihood(found)
    sample_again(found, poor, len(keys), fold(keys, OTHERWISE), sites, by_smc)
    return found


def most_turns(problem: SamplingProblem) -> int:
    """Return after how many turns a search ends."""
    rto = problem.sampler
    assert isinstance(rto, RTO)
    return max(2, rto.rounds * problem.segment // rto.per_turn(problem.segment))


def _enough(problem: SamplingProblem, found: Walked) -> np.ndarray:
    """Return the sites that are done: their draws are good, and their evidence is steady."""
    return found.converged & (found.evidence_error <= problem.limits.unsteady)


def above_likelihood(found: Walked) -> np.ndarray:
    """Return the sites whose log-evidence is above the mean log-likelihood of their draws.

    That cannot be: the difference is what was learnt, the divergence of the posterior from the
    prior. Where it is, hardly any draw is where proposals come to.
    """
    return found.log_evidence.mean(axis=1) > found.log_likelihood.mean(axis=(1, 2))


def _begun(
    problem: SamplingProblem, sites: Site, keys: Any
) -> tuple[Search, Proposals, np.ndarray]:
    """Return walkers at the posterior, the first proposals, and where these miss some of it."""
    once = np.ones(len(keys), int)
    state = find_anchors(problem, sites, keys)
    state, made = propose(problem, sites, fold(keys, 0), state)
    state = start_search(problem, fold(keys, 1), state, made)
    state = _moved(problem, sites, fold(keys, 2), state, once)
    unreached = _unreached(state) > 0.0
    if unreached.any():
        settled = settle(problem, sites, fold(keys, 3), state)
        settled = _moved(problem, sites, fold(keys, 4), settled, once)
        state = _where(unreached, settled, state)
    several = (np.asarray(state.n_anchors) > 1) | (_unreached(state) > 0.0)
    if several.any():
        none = jnp.zeros(len(keys), jnp.int32)
        chosen = choose_anchors(problem, sites, state)
        chosen = move_walkers(problem, sites, fold(keys, 5), chosen, none)
        chosen, again = propose(problem, sites, fold(keys, 6), chosen)
        state, made = _where(several, (chosen, again), (state, made))
    return state, made, _unreached(state) > FEW_UNREACHED


def _unreached(state: Search) -> np.ndarray:
    """Return the share of walkers that are where no proposal reaches, (site,)."""
    return np.asarray((np.asarray(state.log_weight) == np.inf).mean(axis=(1, 2)))


def _moved(
    problem: SamplingProblem, sites: Site, keys: Any, state: Search, times: np.ndarray
) -> Search:
    """Let walkers move so many times as often as the sampler says, (site,)."""
    rto = problem.sampler
    assert isinstance(rto, RTO)
    if not times.any():
        return state
    n_moves = jnp.asarray(times * rto.moves, jnp.int32)
    return _where(times > 0, move_walkers(problem, sites, keys, state, n_moves), state)


@jax.jit
def _where(which: Bool[Array, " site"], new: Any, old: Any) -> Any:
    """Return what is new at some sites."""
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old
    )


def _searched(
    problem: SamplingProblem, places: Sequence[Places], weights: Sequence[np.ndarray], state: Search
) -> Walked:
    """Return what all turns so far have found.

    `weights` are those of all proposals, each (site, chain, number, walker).
    """
    # (site, chain, walker, draw, ...): the draws of a walker one after the other
    u, value, of_draws = (
        np.concatenate([getattr(place, name) for place in places], axis=3)
        for name in ("u", "log_likelihood", "log_weight")
    )
    n, n_chains, n_walkers, made, d = u.shape
    kept = (np.arange(problem.segment) + 1) * made // problem.segment - 1
    u = u[:, :, :, kept].reshape(n, n_chains, -1, d)
    converged, statistics = good(u, problem.limits)
    evidence, error = np.full((n, n_chains), np.nan), np.full(n, np.nan)
    if converged.any():  # sites where draws are not good go on, or to smc, for their evidence
        turns = min(FEW_TURNS, most_turns(problem))
        if len(places) > turns:
            turns = most_turns(problem)
        length = turns * places[0].u.shape[3] * n_walkers
        of_proposals, of_draws = (
            _filled(leaf.reshape(n, n_chains, -1), length)
            for leaf in (np.concatenate(weights, axis=2), of_draws)
        )
        possible = np.asarray(state.possible)[:n]
        effective = problem.limits.ess / n_chains
        evidence, error = evidence_of(of_proposals, of_draws, possible, effective)
    return Walked(
        u,
        value[:, :, :, kept].reshape(n, n_chains, -1),
        np.array(places[-1].acceptance),
        evidence,
        error,
        converged,
        *statistics,
        np.asarray(state.n_columns)[:n].astype(int),
    )


def _filled(log_weight: np.ndarray, length: int) -> np.ndarray:
    """Return weights (site, chain, number) with NaN up to a length, so that few programs do."""
    filled = np.full((*log_weight.shape[:2], length), np.nan)
    filled[..., : log_weight.shape[2]] = log_weight
    return filled


def evidence_of(
    of_proposals: np.ndarray, of_draws: np.ndarray, possible: np.ndarray, effective: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-evidences (site, chain), and the standard error of their mean (site,).

    The error is that between chains, or that expected, whichever is larger. A chain has no evidence
    where proposals reach none of its draws, and then the mean has no error.

    Parameters
    ----------
    of_proposals, of_draws
        Log-weights (site, chain, number), as for `log_evidence`.
    possible
        Share of the prior that has a density, (site,); where there is none, no evidence.
    effective
        Independent draws of each chain.
    """
    ratio, variance = (
        np.asarray(x) for x in _log_evidences(of_proposals, of_draws, jnp.asarray(effective))
    )
    ratio = np.where(np.isfinite(of_draws).any(axis=2), ratio, np.nan)
    possible = np.where(possible > 0.0, possible, np.nan)
    shares = (1.0 - possible) / (possible * PRIOR_DRAWS)
    expected = variance.mean(axis=1) / variance.shape[1] + shares
    error = np.sqrt(np.maximum(between_chains(ratio), expected))
    return ratio - np.log(possible)[:, None], error


_log_evidences = jax.jit(jax.vmap(jax.vmap(log_evidence, (0, 0, None)), (0, 0, None)))
