"""Compute the blocks of a run, in this process or on workers, and join them.

Workers open the run folder by its path on a shared file system. Draws agree bit for bit between
machines whose processors have the same vector instructions; for others the compiler generates
different code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from proda import files
from proda.blocks.executor import Executor, Job
from proda.errors import AssimilationError
from proda.forcing import Forcing
from proda.inference.assimilation_run import Run
from proda.inference.batch import pad, run_batch
from proda.inference.padded_sites import assemble, with_streams
from proda.inference.problem import expected_evaluations
from proda.inference.profiles import Profiles
from proda.inference.site_summary import join
from proda.inference.target import Posterior, Site
from proda.layout import RUN_DESCRIPTION, SUMMARY
from proda.locks import locked
from proda.threads import one_thread_jit

EVALUATIONS = "evaluations"
"""Variable of a summary for samplers that solve the model more often at some sites than others."""
GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
"""Share by which blocks follow each other. They are in order of layers and names, thus of regions,
and what has been done at any time is a fair sample of them: of their cost, for the time left."""
COLUMNS = 150
"""Columns at once by which the speed is measured: three chains of 50 walkers."""
REPEATED = 20
"""How often they are solved in a call, because the call takes as long as a hundred columns."""
CALIBRATION = 1.0
"""Seconds for which it is measured."""
SAMPLED = 1.75
"""Seconds of an evaluation in a run over those of the model alone: what sampler, summaries and the
other processes of the machine add (benchmarks/results/samplers.md)."""


def predicted_evaluations(run: Run) -> int:
    """Return how many times the model will be solved in the whole run, about."""
    return run.description.n_sites * expected_evaluations(run.settings)


def total_evaluations(run: Run) -> int:
    """Return how many times the model was solved in the whole of a complete run."""
    return _evaluations_in(run.folder / SUMMARY, run, run.description.n_sites)


def _evaluations_in(path: Path, run: Run, sites: int) -> int:
    """Return how many times the model was solved for the sites of a file of results."""
    with files.open_netcdf(path) as summary:
        if EVALUATIONS in summary:
            return int(summary[EVALUATIONS].sum())
    return sites * expected_evaluations(run.settings)  # exact: it is the same for every site


def evaluations_per_second(run: Run, seconds: float = CALIBRATION) -> float:
    """Measure how many times per second one process solves the model at the first site of a run.

    What a run adds to it is not in it (`SAMPLED`).

    Parameters
    ----------
    run
        A run that has been created.
    seconds
        How long to measure, after the program is compiled.
    """
    first = run.blocks[0][:1]
    sites = prepared(run, run.profiles.select(first), run.forcing_of(first))
    target = run.problem.target(jax.tree.map(lambda leaf: leaf[0], sites))
    u = jnp.asarray(np.random.default_rng(0).uniform(size=(COLUMNS, len(target.rows))))

    @one_thread_jit
    def solve(target: Posterior, u: Array) -> Array:
        def again(_: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            u, total = at
            return u[::-1], total + target.log_likelihoods(u)

        return jax.lax.fori_loop(0, REPEATED, again, (u, jnp.zeros(COLUMNS)))[1]

    solve(target, u).block_until_ready()
    begun, n = time.perf_counter(), 0
    while (took := time.perf_counter() - begun) < seconds:
        solve(target, u).block_until_ready()
        n += COLUMNS * REPEATED
    return n / took


def prepared(run: Run, profiles: Profiles, forcing: Forcing) -> Site:
    """Return some sites of a run in the form used by the compiled program."""
    sites = assemble(profiles, forcing, run.settings.operator)
    if run.problem.streams:
        sites = with_streams(sites, profiles.site, forcing, run.stream_tables)
    return sites


def check_platform(run: Run) -> None:
    """Refuse to resume a run on another kind of processor.

    Raises
    ------
    AssimilationError
        CPUs and GPUs round differently, so that a run cannot use both.
    """
    here = jax.default_backend()
    if here != run.description.platform:
        raise AssimilationError(
            f"{run.folder} was started on a {run.description.platform}, and this is a {here}: "
            "their draws differ in rounding, and a run cannot mix them. Resume it there, or start "
            "a new run here."
        )


@dataclass(frozen=True)
class AssimilationJob(Job):
    """The blocks of a run, computed by any process that can read its folder.

    Parameters
    ----------
    folder
        Folder of the run.
    identity
        Required checksum of its run.json.
    """

    in_one_thread: ClassVar[bool] = True

    folder: Path
    identity: str

    @property
    def name(self) -> str:
        """The folder, and the command that resumes it."""
        return f"{self.folder} (`proda assimilate --resume {self.folder}`)"

    @cached_property
    def run(self) -> Run:
        """The run, opened once in each process."""
        if not (self.folder / RUN_DESCRIPTION).is_file():
            raise AssimilationError(
                f"cannot find {self.folder}; put the run in a folder that all workers can open by "
                "the same path."
            )
        run = Run(self.folder)
        if run.identity != self.identity:
            raise AssimilationError(
                f"finds another run in {self.folder}; put the run in a folder that all workers "
                "share."
            )
        check_platform(run)
        run.check_versions()
        return run

    def compute(self, number: int) -> None:
        """Sample the sites of a block, batch by batch, and write it."""
        run, width = self.run, self.run.description.width
        sites = run.blocks[number]
        forcing = run.forcing_of(sites)  # once: it takes as long for one site as for the block
        parts = []
        for first in range(0, len(sites), width):
            batch = slice(first, first + width)
            profiles = run.profiles.select(sites[batch])
            sites_of_batch = prepared(run, profiles, forcing.select(batch))
            parts.append(
                run_batch(
                    run.problem,
                    run.settings.seed,
                    run.settings.chains,
                    run.settings.draws,
                    profiles,
                    pad(sites_of_batch, width),
                    run.stream_tables,
                )
            )
        summary = join(parts)
        run.store.write(number, lambda path: files.write_netcdf(summary, path))


def work(
    run: Run,
    executor: Executor | None = None,
    *,
    progress: Callable[[int, int, float], None] = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
    accept_versions: bool = False,
) -> None:
    """Compute the remaining blocks of a run, and join the blocks.

    Parameters
    ----------
    run
        The run; on a cluster, its folder has the same path on all workers.
    executor
        Where blocks are computed, and until when; by default in this process, without a time limit.
    progress
        Called with the number of sites done and in total, and how many times per second this call
        has solved the model so far.
    warn
        Called with a sentence about each damaged block, which is computed again.
    accept_versions
        Whether to resume a run that other versions of proda or JAX started.

    Raises
    ------
    Stopped
        If asked to stop; finished blocks are kept, and `work` resumes.
    KeyboardInterrupt
        The same after Ctrl-C.
    AssimilationError
        If another process works on the run, or it was started on another kind of processor or by
        other versions.
    ExecutorError
        If a worker died, or cannot be used.
    FileError
        If a file cannot be read or written.
    """
    with at_work(run, accept_versions) as unfinished:
        if not unfinished:
            return
        executor = executor or Executor()
        if executor.client is None:
            check_platform(run)
        todo, faults = run.store.missing(run.blocks)
        for fault in faults:
            warn(f"{fault}. This block is computed again.")
        total = run.description.n_sites
        n_done, solved, begun = total - sum(len(run.blocks[n]) for n in todo), 0, time.monotonic()
        progress(n_done, total, 0.0)

        def done(number: int) -> None:
            nonlocal n_done, solved
            n_done += len(run.blocks[number])
            solved += _evaluations_in(run.store.path(number), run, len(run.blocks[number]))
            progress(n_done, total, solved / (time.monotonic() - begun))

        todo.sort(key=lambda number: number * GOLDEN % 1.0)
        executor.run(AssimilationJob(run.folder.absolute(), run.identity), todo, done)


@contextmanager
def at_work(run: Run, accept_versions: bool = False) -> Iterator[bool]:
    """Lock a run for this process, yield whether blocks are missing, and join them at the end.

    Raises
    ------
    FileError
        If profiles or forcing do not exist at their paths.
    AssimilationError
        If another process works on the run, its data have changed, or other versions started it.
    """
    if run.complete:
        run.store.remove()
        yield False
        return
    with locked(run.folder, "run", AssimilationError):
        if (run.folder / SUMMARY).is_file():  # written by the process that had locked the run
            yield False
            return
        run.check_versions(accept=accept_versions)
        run.check_profiles()
        run.check_forcing()
        yield True
        run.assemble()
