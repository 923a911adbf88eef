"""Sites sampled from anchors, and by sequential Monte Carlo where that is not good enough."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from proda.inference.samplers.rto import RTO, Places, Search
from proda.inference.samplers.smc import SMC
from proda.inference.samplers.tempered import to_box
from proda.inference.sampling import (
    SamplingProblem,
    find_anchors,
    fold,
    propose,
    start_search,
    take_turn,
)
from proda.inference.target import Site
from proda.inference.walking import Walked, good, sample_again, sample_walkers

SEARCH, TURNS = 3000, 4000
"""Random keys of the search for anchors, and of the turns of `rto`, are folded with these."""
LONG = 3
"""Rounds of `rto` after which a site whose draws are good does not go on for the sake of the
evidence, if its error is at most twice the limit."""
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
    enough = found.converged & (found.evidence_error <= limits.unsteady)
    otherwise = eqx.tree_at(lambda p: p.sampler, problem, SMC(walkers=rto.walkers))
    by_smc = functools.partial(sample_walkers, otherwise)
    sample_again(found, ~enough, len(keys), fold(keys, OTHERWISE), sites, by_smc)
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
