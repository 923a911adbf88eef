"""One batch of sites from start to summary, in segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from proda.inference.diagnostics import convergence
from proda.inference.profiles import Profiles
from proda.inference.samplers.islands import Islands
from proda.inference.samplers.rto import RTO, Places, Search
from proda.inference.samplers.smc import SMC, TemperatureLadder
from proda.inference.samplers.tempered import to_box
from proda.inference.sampling import (
    Limits,
    SamplingProblem,
    advance,
    begin_walkers,
    chain_keys,
    find_anchors,
    fold,
    go_back,
    go_on,
    propose,
    start,
    start_search,
    take_turn,
)
from proda.inference.site_summary import summarise
from proda.inference.target import Site
from proda.streams.table import StreamTable

MOST_SEGMENTS = 10
"""Segments per call of the compiled program."""
RESTART = 1000
"""Its random keys are folded with this and its number."""
SLOWER = 2
"""How often the moves are doubled at each new beginning."""
SEARCH, TURNS = 3000, 4000
"""Random keys of the search for anchors, and of the turns of `rto`, are folded with these."""
LONG = 3
"""Rounds of `rto` after which a site whose draws are good does not go on for the sake of the
evidence, if its error is at most twice the limit."""
OTHERWISE = 2000
"""Random keys of `smc` where `rto` is not good enough are folded with this."""


def calls(problem: SamplingProblem) -> tuple[int, int, int]:
    """Return segments per call, calls that warm up, and calls that keep draws."""
    warm_up = problem.chain.n_warm_up // problem.segment
    kept = problem.chain.n_kept // problem.segment
    common = math.gcd(warm_up, kept)
    per_call = max(n for n in range(1, MOST_SEGMENTS + 1) if common % n == 0)
    return per_call, warm_up // per_call, kept // per_call


def run_batch(
    problem: SamplingProblem,
    seed: int,
    n_chains: int,
    n_draws: int,
    profiles: Profiles,
    sites: Site,
    tables: Sequence[StreamTable] = (),
) -> xr.Dataset:
    """Sample a batch of sites and summarise it.

    Parameters
    ----------
    problem
        Model, likelihood, sampler.
    seed, n_chains, n_draws
        Root of the random keys; chains per site, and draws kept of each.
    profiles
        The sites' names and measurements.
    sites
        The same in compiled form, padded at the end to the width of the program.
    tables
        Of the streams of `problem`.
    """
    n, width = len(profiles), sites.measured.mask.shape[0]
    names = np.concatenate([profiles.site, np.repeat(profiles.site[-1:], width - n)])
    keys = chain_keys(seed, names, n_chains)
    if isinstance(problem.sampler, Islands):
        return _run_walkers(problem, n_draws, keys, profiles, sites, tables)
    per_call, n_warm_up, n_kept = calls(problem)
    state = _strongly_typed(start(problem, sites, keys))
    draws = []
    for call in range(n_warm_up + n_kept):
        warming = call < n_warm_up
        adapting = jnp.asarray(warming or problem.chain.always_adapts)
        state, new = advance(problem, sites, keys, state, per_call, adapting)
        state = _strongly_typed(state)
        if not warming:
            draws.append(
                (np.asarray(new.u), np.asarray(new.log_likelihood), np.asarray(new.acceptance))
            )
        # Wait for each call, so that Ctrl-C takes effect between calls.
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]
    u, log_likelihood, acceptance = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    evidence = np.asarray(jax.vmap(jax.vmap(problem.chain.log_evidence))(state))
    return summarise(
        problem,
        profiles,
        sites,
        np.moveaxis(u, 0, 2)[:n],
        np.moveaxis(log_likelihood, 0, 2)[:n],
        acceptance.mean(axis=0)[:n],
        evidence[:n],
        tables,
    )


def _run_walkers(
    problem: SamplingProblem,
    n_draws: int,
    keys: Any,
    profiles: Profiles,
    sites: Site,
    tables: Sequence[StreamTable],
) -> xr.Dataset:
    """Sample by islands: rounds until every site is good, or to the limit."""
    sampled = sample_islands(problem, keys, sites, len(profiles))
    every = sampled.u.shape[2] // n_draws
    return summarise(
        problem,
        profiles,
        sites,
        sampled.u[:, :, every - 1 :: every],
        sampled.log_likelihood[:, :, every - 1 :: every],
        sampled.acceptance,
        sampled.log_evidence,
        tables,
        {
            "log_evidence_error": ("site", sampled.evidence_error),
            "converged": ("site", sampled.converged),
            "evaluations": ("site", sampled.evaluations),
        },
    )


def sample_islands(problem: SamplingProblem, keys: Any, sites: Site, n: int) -> Walked:
    """Sample the first `n` of some sites by the islands of the problem."""
    sample = sample_by_search if isinstance(problem.sampler, RTO) else sample_walkers
    return sample(problem, keys, sites, n)


@dataclass(frozen=True)
class Walked:
    """What sequential Monte Carlo found at some sites; the leading axis is the site."""

    u: np.ndarray
    """(site, chain, draw, parameter), in the unit box."""
    log_likelihood: np.ndarray
    acceptance: np.ndarray
    """(site, chain), in the last round."""
    log_evidence: np.ndarray
    """(site, chain)."""
    evidence_error: np.ndarray
    """Of the mean over chains."""
    converged: np.ndarray
    """Whether the draws passed the limits."""
    evaluations: np.ndarray
    """Of the model, by all chains."""

    def replace(self, index: np.ndarray, again: Walked) -> None:
        """Put what was found on a new beginning in the place of what was found at some sites."""
        for field in fields(self):
            getattr(self, field.name)[index] = getattr(again, field.name)

    def select(self, index: np.ndarray) -> Walked:
        """Return what was found at some sites."""
        return Walked(*(getattr(self, field.name)[index] for field in fields(self)))


def sample_walkers(
    problem: SamplingProblem, keys: Any, sites: Site, n: int, few: int | None = None
) -> Walked:
    """Sample the first `n` of some sites, each for as many rounds as it needs.

    Sites of one compiled program make their rounds together, but of each the first round that
    passes is kept: the others have no part in it. Sites at which the evidence is not steady begin
    again with more moves, and their first draws are discarded.

    Parameters
    ----------
    problem, keys, sites
        As for `begin_walkers`; sites are padded to the width of the program.
    n
        How many sites there are.
    few
        After the first round and the first way down, the sites that are not done are gathered into
        programs of so many sites. Without it they stay in the whole one.
    """
    smc = problem.sampler
    assert isinstance(smc, SMC)
    few = few or len(keys)
    found = _sample_once(problem, keys, sites, n, few, 0)
    for number in range(1, smc.restarts + 1):
        index = np.flatnonzero(found.evidence_error > problem.limits.unsteady)
        for some, at in _gathered(index, few):
            own, own_sites = jax.tree.map(lambda leaf, at=at: leaf[at], (keys, sites))
            own = fold(own, RESTART + number)
            again = _sample_once(problem, own, own_sites, len(some), few, SLOWER * number)
            again.evaluations[:] += found.evaluations[some]
            found.replace(some, again)
    return found


def sample_by_search(problem: SamplingProblem, keys: Any, sites: Site, n: int) -> Walked:
    """Sample the first `n` of some sites from anchors, and by `smc` where that is not good enough.

    Parameters
    ----------
    problem, keys, sites
        As for `find_anchors`; sites are padded to the width of the program.
    n
        How many sites there are.
    """
    rto, limits = problem.sampler, problem.limits
    assert isinstance(rto, RTO)
    anchors = find_anchors(problem, sites, fold(keys, SEARCH))
    made = propose(problem, sites, fold(keys, SEARCH + 1), *anchors[:2])
    state = start_search(problem, fold(keys, SEARCH + 2), anchors, made)
    begun = np.asarray(state.log_likelihood).max(axis=(1, 2))[:n] > -np.inf
    turns, places = problem.segment // rto.per_turn(problem.segment), []
    found: Walked | None = None
    going = np.ones(n, bool)
    for number in range(rto.rounds * turns):
        own = fold(keys, TURNS + number)
        made = propose(problem, sites, fold(own, 0), *anchors[:2])
        state, new = take_turn(problem, sites, own, state, made)
        places.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:n], new))
        if len(places) % turns:
            continue
        walked, steady = _searched(problem, places, state, n)
        found = found or walked
        found.replace(going, walked.select(going))
        going &= begun & ~(found.converged & steady)
        if not going.any():
            break
    assert found is not None
    unsteady = ~(found.converged & (found.evidence_error <= limits.unsteady)) & begun
    index = np.flatnonzero(unsteady)
    otherwise = eqx.tree_at(lambda p: p.sampler, problem, SMC(walkers=rto.walkers))
    for some, at in _gathered(index, len(keys)):
        own, own_sites = jax.tree.map(lambda leaf, at=at: leaf[at], (keys, sites))
        again = sample_walkers(otherwise, fold(own, OTHERWISE), own_sites, len(some))
        again.evaluations[:] += found.evaluations[some]
        found.replace(some, again)
    return found


def _searched(
    problem: SamplingProblem, places: Sequence[Places], state: Search, n: int
) -> tuple[Walked, np.ndarray]:
    """Return what all rounds so far have found, and where the evidence is steady."""
    # (site, chain, walker, draw, ...): the draws of a walker one after the other
    z = np.concatenate([place.z for place in places], axis=3)
    value = np.concatenate([place.log_likelihood for place in places], axis=3)
    number, limits = z.shape[3] // problem.segment, problem.limits
    u = np.asarray(to_box(jnp.asarray(z.reshape(*z.shape[:2], -1, z.shape[-1]))))
    evidence, error = _search_evidence(state, jnp.asarray(limits.ess))
    error = np.array(error)[:n]
    walked = Walked(
        u[:, :, number - 1 :: number].copy(),
        value.reshape(u.shape[:3])[:, :, number - 1 :: number].copy(),
        np.array(places[-1].acceptance),
        np.array(evidence)[:n],
        error,
        good(u, limits),
        np.asarray(state.n_columns)[:n].astype(int),
    )
    return walked, error <= (limits.evidence_error if number < LONG else limits.unsteady)


@jax.jit
def _search_evidence(state: Search, ess: Any) -> tuple[Any, Any]:
    return jax.vmap(lambda s: (s.log_evidence(), s.evidence_error(ess)))(state)


def _sample_once(
    problem: SamplingProblem, keys: Any, sites: Site, n: int, few: int, doublings: int
) -> Walked:
    """Sample sites once, from the prior to the evidence, with so many doublings of the moves."""
    smc = problem.sampler
    assert isinstance(smc, SMC)
    state, ladder = begin_walkers(problem, sites, keys, jnp.asarray(doublings, jnp.int32))
    begun = np.asarray(state.log_likelihood).max(axis=(1, 2))[:n] > -np.inf
    n_chains = keys.shape[1]
    kept: list[np.ndarray] = []
    moves = np.zeros(n, int)
    converged, going = np.zeros(n, bool), begun.copy()
    state_and_draws = go_on(problem, sites, keys, state)
    for number in range(smc.rounds):
        if number > 0:
            state_and_draws = _for_those(
                going,
                few,
                lambda at, keys, sites: go_on(problem, sites, keys, at[0]),
                state_and_draws,
                keys,
                sites,
            )
        state, made = state_and_draws
        new = [np.asarray(leaf)[:n] for leaf in (made.u, made.log_likelihood, made.acceptance)]
        kept = kept or [leaf.copy() for leaf in new]
        for old, leaf in zip(kept, new, strict=True):
            old[going] = leaf[going]
        moves[going] = np.asarray(state.n_moves)[:n][going]
        if going.any():
            converged[going] = good(new[0][going], problem.limits)
        going = begun & ~converged
        if not going.any():
            break
    u, log_likelihood, acceptance = kept
    evidence, error, back = _steady_evidence(
        problem, keys, sites, ladder, (u, log_likelihood), begun, few, doublings
    )
    evaluations = (moves + back) * n_chains * smc.walkers
    return Walked(u, log_likelihood, acceptance, evidence, error, converged, evaluations)


def _steady_evidence(
    problem: SamplingProblem,
    keys: Any,
    sites: Site,
    ladder: TemperatureLadder,
    draws: tuple[np.ndarray, np.ndarray],
    begun: np.ndarray,
    few: int,
    doublings: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Go from the posterior back to the prior, again and slower where the evidence is unsure.

    Returns
    -------
    Log-evidence (site, chain), its error (site,), and the moves that each walker made for it.
    """
    n, smc = len(begun), problem.sampler
    assert isinstance(smc, SMC)
    posterior = tuple(jnp.asarray(_longer(leaf, len(keys))) for leaf in draws)
    evidence = np.asarray(ladder.log_evidence)[:n]
    error, moves = np.full(n, np.nan), np.zeros(n, int)
    each = smc.steps * (np.asarray(ladder.n)[:n] - 1)
    going = begun.copy()
    for number in range(smc.descents):
        doubled = doublings + number
        ladder = _for_those(
            going,
            len(keys) if number == 0 else few,
            lambda at, keys, sites, u, value, doubled=doubled: go_back(
                problem, sites, keys, at, u, value, jnp.asarray(doubled, jnp.int32)
            ),
            ladder,
            fold(keys, number + 1),
            sites,
            *posterior,
        )
        evidence_down = np.asarray(ladder.log_evidence)[:n]
        error[going] = evidence_error(evidence_down, evidence)[going]
        evidence = np.where(going[:, None], evidence_down, evidence)
        moves[going] += 2**doubled * each[going]
        going = going & (error > problem.limits.evidence_error)
        if not going.any():
            break
    return evidence, error, moves


def _for_those(
    going: np.ndarray, few: int, function: Callable[..., Any], whole: Any, *given: Any
) -> Any:
    """Return `function` of `whole` and `given`, but only for the sites that are going.

    Parameters
    ----------
    going
        Which sites.
    few
        How many of them at a time; where it is the width of `given`, all sites at once.
    function
        Returns a pytree like `whole` for some sites.
    whole, given
        Pytrees with a leading site axis.
    """
    if few >= len(jax.tree.leaves(whole)[0]):
        return function(whole, *given)
    for _, at in _gathered(np.flatnonzero(going), few):
        part = function(*jax.tree.map(lambda leaf, at=at: leaf[at], (whole, *given)))
        whole = jax.tree.map(lambda leaf, new, at=at: leaf.at[at].set(new), whole, part)
    return whole


def _gathered(index: np.ndarray, few: int) -> Iterator[tuple[np.ndarray, jax.Array]]:
    """Yield `few` indices at a time, and the same with the last repeated up to this number."""
    for first in range(0, len(index), few):
        some = index[first : first + few]
        yield some, jnp.asarray(np.concatenate([some, np.repeat(some[-1:], few - len(some))]))


def evidence_error(evidence: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean log-evidence over chains, (site,).

    Parameters
    ----------
    evidence, before
        Log-evidences (site, chain) of this way down, and of the one before, or of the way up. What
        is still lacking is taken as a third of the last change.
    """
    lacking = (evidence.mean(axis=1) - before.mean(axis=1)) / 3.0
    n_chains = evidence.shape[1]
    between = evidence.var(axis=1, ddof=1) / n_chains if n_chains > 1 else 0.0
    return np.asarray(np.sqrt(between + lacking**2))


def good(u: np.ndarray, limits: Limits) -> np.ndarray:
    """Return whether draws (site, chain, draw, parameter) pass: largest R-hat, smallest ESS.

    One chain alone has no R-hat; its effective sizes decide. What is not defined does not pass.
    """
    smallest = np.minimum(convergence.ess_bulk(u).min(axis=1), convergence.ess_tail(u).min(axis=1))
    enough = smallest >= limits.ess
    if u.shape[1] == 1:
        return enough
    return np.asarray(enough & (convergence.rank_rhat(u).max(axis=1) < limits.rhat))


def _strongly_typed(state: Any) -> Any:
    """Remove the "weak type" of new constants, for which `advance` would be compiled again."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)


def pad(sites: Site, width: int) -> Site:
    """Repeat the last site up to `width` sites, so that one compiled program serves all batches."""
    return jax.tree.map(lambda leaf: _longer(leaf, width), sites)


def _longer(leaf: Any, width: int) -> Any:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], width - len(leaf), axis=0)])
