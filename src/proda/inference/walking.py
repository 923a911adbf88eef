"""Sites sampled by sequential Monte Carlo, each for as many rounds as it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from proda.inference.diagnostics.convergence import Convergence, by_ranks, ess_tail
from proda.inference.samplers.smc import SMC, TemperatureLadder
from proda.inference.sampling import (
    Limits,
    SamplingProblem,
    begin_walkers,
    fold,
    go_back,
    go_on,
)
from proda.inference.target import Site

RESTART = 1000
"""Its random keys are folded with this and its number."""
SLOWER = 2
"""How often the moves are doubled at each new beginning."""


@dataclass(frozen=True)
class Walked:
    """What islands of walkers found at some sites; the leading axis is the site."""

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
    rank_rhat: np.ndarray
    """(site, parameter), as the two that follow; known where the draws passed."""
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
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
        unsteady = found.evidence_error > problem.limits.unsteady

        def slower(keys: Any, sites: Site, n: int, number: int = number) -> Walked:
            return _sample_once(problem, keys, sites, n, few, SLOWER * number)

        sample_again(found, unsteady, few, fold(keys, RESTART + number), sites, slower)
    return found


def sample_again(
    found: Walked,
    which: np.ndarray,
    few: int,
    keys: Any,
    sites: Site,
    sample: Callable[[Any, Site, int], Walked],
) -> None:
    """Sample some sites again, in the place of what was found there; evaluations are added.

    Parameters
    ----------
    which
        Which sites.
    few
        How many of them at a time.
    keys
        Others than those of before.
    sample
        Called with keys and sites, padded to `few`, and with how many of them there are.
    """
    for some, at in gathered(np.flatnonzero(which), few):
        own, own_sites = jax.tree.map(lambda leaf, at=at: leaf[at], (keys, sites))
        again = sample(own, own_sites, len(some))
        again.evaluations[:] += found.evaluations[some]
        found.replace(some, again)


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
    statistics = np.full((3, n, state.z.shape[-1]), np.nan)
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
            converged[going], statistics[:, going] = good(new[0][going], problem.limits)
        going = begun & ~converged
        if not going.any():
            break
    u, log_likelihood, acceptance = kept
    evidence, error, back = _steady_evidence(
        problem, keys, sites, ladder, (u, log_likelihood), begun, few, doublings
    )
    evaluations = (moves + back) * n_chains * smc.walkers
    found = (u, log_likelihood, acceptance, evidence, error, converged)
    rhat, bulk, tail = statistics
    return Walked(*found, rhat, bulk, tail, evaluations)


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
    posterior = tuple(jnp.asarray(longer(leaf, len(keys))) for leaf in draws)
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
    for _, at in gathered(np.flatnonzero(going), few):
        part = function(*jax.tree.map(lambda leaf, at=at: leaf[at], (whole, *given)))
        whole = jax.tree.map(lambda leaf, new, at=at: leaf.at[at].set(new), whole, part)
    return whole


def gathered(index: np.ndarray, few: int) -> Iterator[tuple[np.ndarray, jax.Array]]:
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
    return np.asarray(np.sqrt(between_chains(evidence) + lacking**2))


def between_chains(evidence: np.ndarray) -> np.ndarray:
    """Return the variance of the mean over chains (site, chain), 0 of one chain alone, (site,)."""
    n, n_chains = evidence.shape
    return evidence.var(axis=1, ddof=1) / n_chains if n_chains > 1 else np.zeros(n)


def good(u: np.ndarray, limits: Limits) -> tuple[np.ndarray, Convergence]:
    """Return whether draws (site, chain, draw, parameter) pass: largest R-hat, smallest ESS.

    One chain alone has no R-hat; its effective sizes decide. What is not defined does not pass.

    Returns
    -------
    Which sites pass, and what this was decided by: where tails are not good enough, as of most
    sites at first, only these; NaN for the rest.
    """
    tail = ess_tail(u)
    passes = np.asarray(tail.min(axis=1) >= limits.ess)
    rhat, bulk = np.full((2, *tail.shape), np.nan)
    rhat[passes], bulk[passes] = by_ranks(u[passes])
    passes &= bulk.min(axis=1) >= limits.ess
    if u.shape[1] > 1:
        passes &= rhat.max(axis=1) < limits.rhat
    return passes, Convergence(rhat, bulk, tail)


def longer(leaf: Any, width: int) -> Any:
    """Repeat the last entry up to a length."""
    if len(leaf) == width:
        return jnp.asarray(leaf)
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], width - len(leaf), axis=0)])
