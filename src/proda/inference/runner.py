"""Work through the blocks of a run, in this process or in several on this machine.

Several processes, not threads: two programs of XLA with matrix products may lock each other up in
one process, and a process of one thread each makes twice the steps per second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from platform import node
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from proda.errors import AssimilationError
from proda.inference.assimilation_run import Block, Run
from proda.inference.batch import Control, Stopped, pad, run_batch
from proda.inference.sites import assemble
from proda.inference.summary import join
from proda.layout import SUMMARY
from proda.locks import locked
from proda.machine import cores, private_cache, remove_unused
from proda.termination import between_steps, end_with_parent, watch

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
CHILD_GRACE = 15.0
"""Seconds that a worker process has for its checkpoint after SIGTERM."""
_POLL = 0.5
"""Seconds between two looks at what the other processes did."""


@dataclass
class AssimilationProgress:
    """Whom a run tells what it does."""

    sites_done: Callable[[int], None] = lambda _: None
    """Called with the number of sites of each block that is done."""
    evaluations: Callable[[int], None] = lambda _: None
    """Called with the number of model evaluations just done."""
    warn: Callable[[str], None] = lambda _: None
    """Called with each damaged file that is done again."""


def total_evaluations(run: Run) -> int:
    """Return how many times the model is solved in the whole run."""
    return run.description.n_sites * evaluations_per_site(run)


def evaluations_per_site(run: Run) -> int:
    """Return how many times the model is solved for one site."""
    sampler = run.problem.sampler
    return run.settings.chains * sampler.n_replicas * (sampler.n_warm_up + sampler.n_kept)


def processes() -> int:
    """Return how many processes assimilate on this machine: one per core, or one for a GPU."""
    return cores() if jax.default_backend() == "cpu" else 1


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
            f"{run.folder} was started on a {run.description.platform}, and this is a {here}: "
            "their "
            "draws differ in rounding, and a run cannot mix them. Resume it there, or start a new "
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
        profiles = run.profiles.select(index)
        sites = assemble(profiles, run.forcing_of(index), run.settings.operator)
        parts.append(
            run_batch(
                run.problem,
                run.settings.seed,
                run.settings.chains,
                profiles,
                pad(sites, width),
                run.checkpoint_path(block.number, batch),
                control,
                # Else a later batch that stops would leave nothing of this one.
                keep=first + width < len(block.sites),
            )
        )
    run.write_block(block.number, join(parts))


def blocks_left(run: Run, progress: AssimilationProgress) -> list[Block]:
    """Return the blocks that are still to do; tell of the others."""
    left = []
    for block in run.blocks:
        done, fault = run.is_done(block.number)
        if fault is not None:
            progress.warn(fault)
        if done:
            progress.sites_done(len(block.sites))
            progress.evaluations(evaluations_per_site(run) * len(block.sites))
        else:
            left.append(block)
    return left


def work(
    run: Run,
    control: Control | None = None,
    progress: AssimilationProgress | None = None,
    workers: int = 1,
    *,
    accept_versions: bool = False,
) -> None:
    """Do all that is left of a run on this machine, and join the blocks.

    Parameters
    ----------
    run
        The run.
    control
        When to stop; `advanced` and `warn` are taken from `progress`.
    progress
        Told what goes on.
    workers
        Processes. With more than one, a script that calls this needs the usual
        ``if __name__ == "__main__":`` around what it does.
    accept_versions
        Go on with a run that other versions of proda or JAX began.

    Raises
    ------
    Stopped
        If asked to stop; everything done is kept, and `work` goes on from there.
    KeyboardInterrupt
        The same after Ctrl-C.
    AssimilationError
        If a process died, if another process works on the run, or if the run was begun on another
        kind of processor or by other versions.
    """
    with at_work(run, accept_versions) as unfinished:
        if unfinished:
            _work(run, control, progress or AssimilationProgress(), workers)


@contextmanager
def at_work(run: Run, accept_versions: bool = False) -> Iterator[bool]:
    """Hold a run for this process; yield whether there is anything left to do, and join it after.

    Raises
    ------
    FileError
        If profiles or forcing are not where they were.
    AssimilationError
        If another process works on the run, its data have changed, or other versions began it.
    """
    if run.complete:
        run.remove_blocks()
        yield False
        return
    with locked(run.folder, "run", AssimilationError):
        if (run.folder / SUMMARY).is_file():  # made by the process that held it until now
            yield False
            return
        run.check_versions(accept=accept_versions)
        run.check_profiles()
        run.check_forcing()
        yield True
        run.assemble()


def _work(run: Run, control: Control | None, progress: AssimilationProgress, workers: int) -> None:
    check_platform(run)
    control = replace(control or Control(), advanced=progress.evaluations, warn=progress.warn)
    left = blocks_left(run, progress)
    with between_steps():
        if workers > 1 and len(left) > 1:
            _in_processes(run, left, control, progress, min(workers, len(left)))
            return
        for block in left:
            if control.should_stop():
                raise Stopped
            run_block(run, block, control)
            progress.sites_done(len(block.sites))


_child: dict[str, Any] = {}
"""What a child process keeps between blocks."""


def _begin_child(
    folder: str, limits: dict[str, Any], stop: Any, counter: Any, messages: Any
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent asks to stop, in its own way
    # A batch system sends SIGTERM to all processes at once: this one keeps a checkpoint, too.
    watch(CHILD_GRACE)
    end_with_parent()

    def advanced(n: int) -> None:
        with counter.get_lock():
            counter.value += n

    keep_compiled()
    _child["run"] = Run(folder)
    _child["control"] = Control(stop=stop, advanced=advanced, warn=messages.put, **limits)


def keep_compiled() -> None:
    """Keep compiled programs for other processes and later runs, unless JAX is told where.

    With the user and not with the data: a program from a run folder is code from whoever made it.
    By machine, because the code is for its processor. Without a private folder nothing is kept.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    place = private_cache("compiled", node())
    if place is None:
        return
    remove_unused(place)
    jax.config.update("jax_compilation_cache_dir", str(place))  # type: ignore[no-untyped-call]
    reset_cache()


def _child_block(number: int) -> None:
    run: Run = _child["run"]
    control: Control = _child["control"]
    if control.should_stop():
        raise Stopped
    with between_steps():
        run_block(run, next(b for b in run.blocks if b.number == number), control)


def one_thread_flags() -> str:
    """Return XLA_FLAGS for a process of one thread: those of this process and, once, ONE_THREAD.

    Once, because JAX looks up compiled programs by the very text of the flags.
    """
    given = os.environ.get("XLA_FLAGS", "")
    return given if ONE_THREAD in given else f"{given} {ONE_THREAD}".strip()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables that child processes inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _in_processes(
    run: Run, left: list[Block], control: Control, progress: AssimilationProgress, workers: int
) -> None:
    context = multiprocessing.get_context("spawn")
    stop, counter, messages = context.Event(), context.Value("q", 0), context.SimpleQueue()
    told = [0]
    # The rest of a Control, its event and callbacks, cannot be sent to another process.
    limits = {
        name: getattr(control, name) for name in ("deadline", "stop_file", "checkpoint_every")
    }

    def tell() -> None:
        while not messages.empty():
            progress.warn(messages.get())
        # Without the lock, which a process that was killed may hold forever.
        now = counter.get_obj().value
        progress.evaluations(now - told[0])
        told[0] = now

    with (
        _environment(XLA_FLAGS=one_thread_flags()),
        ProcessPoolExecutor(
            workers,
            context,
            _begin_child,
            (str(run.folder), limits, stop, counter, messages),
        ) as pool,
    ):
        tasks: dict[Future, Block] = {
            pool.submit(_child_block, block.number): block for block in left
        }
        waiting = set(tasks)
        try:
            while waiting:
                if control.should_stop():
                    stop.set()
                done, waiting = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
                tell()
                for task in done:
                    task.result()
                    progress.sites_done(len(tasks[task].sites))
        except BrokenProcessPool as error:
            raise AssimilationError(
                f"{run.folder}: a worker process died (killed, or out of memory). Its finished "
                f"work is kept; resume with `proda assimilate --resume {run.folder}`."
            ) from error
        except BaseException:
            # Every process writes its checkpoint before the pool closes.
            stop.set()
            for task in waiting:
                task.cancel()
            raise
        finally:
            tell()
