"""One batch of sites from start to summary, in segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from proda.inference.diagnostics.convergence import Convergence
from proda.inference.profiles import Profiles
from proda.inference.samplers.islands import Islands
from proda.inference.sampling import SamplingProblem, advance, chain_keys, start
from proda.inference.searching import sample_islands
from proda.inference.site_summary import summarise
from proda.inference.target import Site
from proda.inference.walking import longer
from proda.streams.table import StreamTable

MOST_SEGMENTS = 10
"""Segments per call of the compiled program."""


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
    state = start(problem, sites, keys)
    draws = []
    for call in range(n_warm_up + n_kept):
        warming = call < n_warm_up
        adapting = jnp.asarray(warming or problem.chain.always_adapts)
        state, new = advance(problem, sites, keys, state, per_call, adapting)
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
    known = every == 1 and sampled.converged.all()
    statistics = (sampled.rank_rhat, sampled.ess_bulk, sampled.ess_tail)
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
        Convergence(*statistics) if known else None,
    )


def pad(sites: Site, width: int) -> Site:
    """Repeat the last site up to `width` sites, so that one compiled program serves all batches."""
    return jax.tree.map(lambda leaf: longer(leaf, width), sites)
