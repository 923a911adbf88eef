"""Work through the blocks of a run: in this process on threads, or as tasks of Dask."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

import jax
import numpy as np
import xarray as xr

from proda.errors import AssimilationError
from proda.inference.batch import Control, Stopped, calls, pad, run_batch
from proda.inference.run import Block, Run
from proda.inference.sites import assemble

_READING = threading.Lock()
"""The netCDF library is not made for threads."""


@dataclass
class Progress:
    """What a run tells while it works."""

    sites_done: Callable[[int], None] = lambda _: None
    """Called with the number of sites of each block that is done."""
    evaluations: Callable[[int], None] = lambda _: None
    """Called with the number of model evaluations just done."""
    warn: Callable[[str], None] = lambda _: None
    """Called with each damaged file that is done again."""


def total_evaluations(run: Run) -> int:
    """Return how many times the model is solved in the whole run."""
    sampler = run.problem.sampler
    steps = sampler.n_warm_up + sampler.n_kept
    return run.description.n_sites * run.settings.chains * sampler.n_replicas * steps


def check_platform(run: Run) -> None:
    """Refuse to go on with a run on another kind of processor.

    Raises
    ------
    AssimilationError
        CPUs and GPUs round differently; a run is of one kind.
    """
    here = jax.default_backend()
    if here != run.description.platform:
        raise AssimilationError(
            f"{run.folder} was begun on a {run.description.platform}, and this is a {here}: their "
            "draws differ in rounding, and a run holds one kind only. Go on there, or start a new "
            "run here."
        )


def run_block(run: Run, block: Block, control: Control) -> None:
    """Do one block, batch by batch, and write it.

    Raises
    ------
    Stopped
        If asked to stop.
    """
    width = run.description.width
    parts = []
    for batch, first in enumerate(range(0, len(block.sites), width)):
        index = block.sites[first : first + width]
        with _READING:
            profiles = run.profiles.select(index)
            forcing = run.forcing_of(index)
        sites = pad(assemble(profiles, forcing, run.settings.operator), width)
        parts.append(
            run_batch(
                run.problem,
                run.settings.seed,
                run.settings.chains,
                profiles,
                sites,
                run.checkpoint_path(block.number, batch),
                control,
            )
        )
    with _READING:
        run.write_block(block.number, _join(parts))


def _join(parts: list[xr.Dataset]) -> xr.Dataset:
    if len(parts) == 1:
        return parts[0]
    by_row = [n for n, v in parts[0].data_vars.items() if "row" in v.dims]
    return xr.merge(
        [
            xr.concat([p.drop_vars(by_row) for p in parts], dim="site"),
            xr.concat([p[by_row].drop_vars(["site", "latitude", "longitude"], errors="ignore")
                       for p in parts], dim="row", data_vars="minimal"),
        ],
        join="exact", compat="no_conflicts",
    )  # fmt: skip


def open_blocks(run: Run, progress: Progress) -> list[Block]:
    """Return the blocks that are still to do; tell of the others."""
    per_site = total_evaluations(run) // run.description.n_sites
    left = []
    for block in run.blocks:
        done, fault = run.is_done(block.number)
        if fault is not None:
            progress.warn(fault)
        if done:
            progress.sites_done(len(block.sites))
            progress.evaluations(per_site * len(block.sites))
        else:
            left.append(block)
    return left


def work(
    run: Run,
    control: Control | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> None:
    """Do all that is left of a run in this process, and join the blocks.

    Parameters
    ----------
    run
        The run.
    control
        When to stop.
    progress
        Told what goes on.
    workers
        Blocks at a time; by default one per core, on a GPU one.

    Raises
    ------
    Stopped
        If asked to stop; everything done is kept, and `work` goes on from there.
    KeyboardInterrupt
        The same after Ctrl-C.
    """
    if run.complete:
        return
    progress = progress or Progress()
    check_platform(run)
    control = replace(
        control or Control(), advanced=progress.evaluations, warn=progress.warn
    )
    calls(run.problem)
    left = open_blocks(run, progress)
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        workers = cores if jax.default_backend() == "cpu" else 1
    if left:
        _ = run.profiles, run.forcing, run.sites, run.problem  # read once, before the threads
        with ThreadPoolExecutor(workers) as pool:
            tasks = {}
            for block in left:
                tasks[pool.submit(_unless_stopped, run, block, control)] = block
            try:
                for task in as_completed(tasks):
                    task.result()
                    progress.sites_done(len(tasks[task].sites))
            except BaseException:
                # Let every thread write its checkpoint before the pool closes.
                control.stop.set()
                raise
    run.assemble()


def _unless_stopped(run: Run, block: Block, control: Control) -> None:
    if control.should_stop():
        raise Stopped
    run_block(run, block, control)


def sites_of(blocks: list[Block]) -> int:
    """Return the number of sites in blocks."""
    return int(np.sum([len(block.sites) for block in blocks]))
