"""One batch of sites from start to summary, in segments, with checkpoints in between."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from proda import termination
from proda.errors import FileError
from proda.inference import checkpoint
from proda.inference.profiles import Profiles
from proda.inference.sampling import Problem, advance, chain_keys, start
from proda.inference.summary import summarise
from proda.inference.target import Site, sampled_rows

MOST_SEGMENTS = 10
"""Segments per call of the compiled program; between calls it can stop."""


class Stopped(Exception):  # noqa: N818 - no error: the run was asked to stop, and can go on
    """The run was asked to stop; what was done is in a checkpoint."""


@dataclass
class Control:
    """When to stop, when to keep a checkpoint, whom to tell."""

    deadline: float = math.inf
    """`time.time()` after which to stop."""
    stop: Event = field(default_factory=Event)
    stop_file: Path | None = None
    """A file whose presence asks to stop; for processes on other machines."""
    checkpoint_every: float = 60.0
    """Seconds between checkpoints."""
    advanced: Callable[[int], None] = lambda _: None
    """Called with the number of model evaluations just done, padding not counted."""
    warn: Callable[[str], None] = lambda _: None
    """Called with the name of a damaged file that is done again."""

    def should_stop(self) -> bool:
        """Whether to stop now; also once this process got SIGTERM."""
        return (
            self.stop.is_set()
            or termination.requested.is_set()
            or time.time() > self.deadline
            or (self.stop_file is not None and self.stop_file.exists())
        )


def calls(problem: Problem) -> tuple[int, int, int]:
    """Return segments per call, calls that warm up, and calls that keep draws."""
    warm_up = problem.sampler.n_warm_up // problem.segment
    kept = problem.sampler.n_kept // problem.segment
    common = math.gcd(warm_up, kept)
    per_call = max(n for n in range(1, MOST_SEGMENTS + 1) if common % n == 0)
    return per_call, warm_up // per_call, kept // per_call


def fingerprint(problem: Problem, seed: int, n_chains: int, profiles: Profiles, sites: Site) -> str:
    """Return a digest of everything that the draws of a batch depend on."""
    about = (
        problem,
        sampled_rows(problem.model, problem.likelihood),
        seed,
        n_chains,
        version("proda"),
        jax.__version__,
        jax.default_backend(),
    )
    digest = hashlib.sha256(repr(about).encode())
    for name in profiles.site:
        digest.update(f"{name}\n".encode())
    for leaf in jax.tree.leaves(sites):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def run_batch(
    problem: Problem,
    seed: int,
    n_chains: int,
    profiles: Profiles,
    sites: Site,
    path: Path | None,
    control: Control,
    keep: bool = False,
) -> xr.Dataset:
    """Sample a batch of sites and summarise it.

    Parameters
    ----------
    problem
        Model, likelihood, sampler.
    seed, n_chains
        Root of the random keys; chains per site.
    profiles
        The sites' names and measurements.
    sites
        The same in compiled form, padded at the end to the width of the program.
    path
        Checkpoint: continued if it is there and kept up to date; None for none.
    control
        When to stop.
    keep
        Write a checkpoint at the end too, because more batches follow before anything is written.

    Raises
    ------
    Stopped
        If asked to stop; the checkpoint then holds everything done so far.
    FileError
        If the checkpoint cannot be written.
    """
    width = sites.measured.mask.shape[0]
    names = np.concatenate([profiles.site, np.repeat(profiles.site[-1:], width - len(profiles))])
    keys = chain_keys(seed, names, n_chains)
    per_call, n_warm_up, n_kept = calls(problem)
    # The shape of the state, without computing it: a checkpoint then starts in no time.
    shape = jax.eval_shape(lambda s, k: start(problem, s, k), sites, keys)
    shapes, structure = jax.tree.flatten(shape)
    expected = {"fingerprint": fingerprint(problem, seed, n_chains, profiles, sites)}
    done, draws, state = 0, [], None
    if path is not None and path.exists():
        try:
            header, arrays = checkpoint.read(path, expected)
            n_leaves = len(shapes)
            state = jax.tree.unflatten(structure, [jnp.asarray(a) for a in arrays[:n_leaves]])
            draws = [tuple(arrays[n_leaves:])] if len(arrays) > n_leaves else []
            # The checksum covers the arrays, not the header: what it counts must fit them.
            done = int(np.asarray(state.n_steps).flat[0]) // (per_call * problem.segment)
            if header.get("calls") != done:
                done, draws, state = 0, [], None
                raise FileError(f"{path}: its header is damaged (calls does not match the draws).")
        except FileError as error:
            control.warn(f"{error} This batch is computed again.")
    if state is None:
        state = _strongly_typed(start(problem, sites, keys))
    evaluations = per_call * problem.segment * len(profiles) * n_chains * problem.sampler.n_replicas
    if done:
        control.advanced(done * evaluations)
    last_kept = time.monotonic()
    while done < n_warm_up + n_kept:
        warming = done < n_warm_up
        state, new = advance(
            problem, sites, keys, state, per_call, warming or problem.sampler.always_adapts
        )
        state = _strongly_typed(state)
        if not warming:
            draws.append(
                (np.asarray(new.u), np.asarray(new.log_likelihood), np.asarray(new.acceptance))
            )
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]
        done += 1
        control.advanced(evaluations)
        stopping = control.should_stop() and done < n_warm_up + n_kept
        due = time.monotonic() - last_kept > control.checkpoint_every
        last = keep and done == n_warm_up + n_kept
        if path is not None and (stopping or due or last):
            joined = [np.concatenate(parts) for parts in zip(*draws, strict=True)]
            draws = [tuple(joined)] if joined else []
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
            checkpoint.write(path, expected | {"calls": done}, leaves + joined)
            last_kept = time.monotonic()
        if stopping:
            raise Stopped
    u, log_likelihood, acceptance = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    evidence = np.asarray(jax.vmap(jax.vmap(problem.sampler.log_evidence))(state))
    n = len(profiles)
    return summarise(
        problem,
        profiles,
        sites,
        np.moveaxis(u, 0, 2)[:n],
        np.moveaxis(log_likelihood, 0, 2)[:n],
        acceptance.mean(axis=0)[:n],
        evidence[:n],
    )


def _strongly_typed(state: Any) -> Any:
    """Remove the "weak type" of fresh constants, for which `advance` would compile once more."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)


def pad(sites: Site, width: int) -> Site:
    """Repeat the last site until there are `width`: one compiled program then serves all."""

    def longer(leaf: Any) -> Any:
        n = leaf.shape[0]
        return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], width - n, axis=0)])

    return jax.tree.map(longer, sites)
