"""Compute blocks: in this process, in several on this machine, or on a Dask cluster.

It uses several processes, not threads: two XLA programs with matrix products can deadlock in one
process, and processes with one thread each compute twice as many steps per second. For the same
reason a worker of a cluster has one thread. Workers write their blocks to a shared folder and
report only that a block is done. The content of a block does not depend on the worker, the time, or
the number of attempts.

Unfinished blocks are not kept: work that is killed loses one block per worker.
"""

from __future__ import annotations

import abc
import functools
import math
import multiprocessing
import os
import pickle
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from platform import node
from threading import Event
from typing import TYPE_CHECKING, ClassVar

import cloudpickle
import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from proda.errors import ExecutorError, ProdaError
from proda.machine import JAX_CACHES_FROM, compiled_programs, cores, one_thread_environment
from proda.termination import end_with_parent, watch

if TYPE_CHECKING:
    import distributed

_POLL = 0.2
"""Seconds between two checks of the workers."""
_LOOKS = 2
"""Checks in a row that find no cancelled block being computed, before that is believed."""

Done = Callable[[int], None]
"""Called in the calling process with the number of each block that is done."""


class Stopped(Exception):  # noqa: N818 - not an error: the work stopped on request, and can resume
    """The work stopped on request; all finished blocks are kept."""


@dataclass
class Control:
    """When to stop.

    Parameters
    ----------
    deadline
        `time.time()` by which the work must end. A block is not started if it would not be finished
        by then, assuming that it takes as long as the longest block so far.
    stop
        No block is started once this is set.
    """

    deadline: float = math.inf
    stop: Event = field(default_factory=Event)
    longest: float = 0.0
    """Seconds of the longest block."""

    def should_stop(self) -> bool:
        """Whether no further block should be started."""
        return self.stop.is_set() or time.time() + self.longest > self.deadline

    def check(self) -> None:
        """Stop work that is not a job of an executor, at a point where its progress is saved.

        Raises
        ------
        Stopped
            If nothing more should be started.
        """
        if self.should_stop():
            raise Stopped


class Job(abc.ABC):
    """Work in blocks that do not depend on each other; pickled to be sent to workers."""

    in_one_thread: ClassVar[bool] = False
    """Whether results should not depend, in their last digits, on how many processors there are.

    A single block is then also sent to a process of one thread, if there may be several.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name of the work in error messages, with the command that resumes it."""

    @abc.abstractmethod
    def compute(self, number: int) -> None:
        """Compute a block and write it to a store."""


@dataclass(frozen=True)
class Executor:
    """Where blocks are computed, and until when.

    Parameters
    ----------
    workers
        Processes on this machine. With more than one, the code of a script must be inside the usual
        ``if __name__ == "__main__":``.
    client
        Client of a Dask cluster instead, whose workers have one thread each.
    control
        When to stop.
    """

    workers: int = 1
    client: distributed.Client | None = None
    control: Control = field(default_factory=Control)

    def run(self, job: Job, todo: list[int], done: Done = lambda _: None) -> None:
        """Compute blocks.

        Parameters
        ----------
        job
            The work.
        todo
            Numbers of the blocks.
        done
            Called with the number of each block once it is written.

        Raises
        ------
        Stopped
            If the control requests it.
        KeyboardInterrupt
            After Ctrl-C. On a cluster, it waits for the blocks that are being computed, so that
            they do not conflict with those of work that is resumed immediately; a second Ctrl-C
            does not wait.
        ExecutorError
            If a worker died or has several threads, or the connection to the cluster was lost.
        ProdaError
            As :meth:`Job.compute`.
        """
        if self.client is not None:
            _on_cluster(job, todo, self.client, self.control, done)
        elif self.workers > 1 and (len(todo) > 1 or (todo and job.in_one_thread)):
            _in_processes(job, todo, min(self.workers, len(todo)), self.control, done)
        else:
            for number in todo:
                if self.control.should_stop():
                    raise Stopped
                with _timed(self.control):
                    job.compute(number)
                done(number)


@contextmanager
def executor_of(
    workers: int | None = None,
    cluster: str | os.PathLike[str] | None = None,
    stop_after: float | None = None,
    control: Control | None = None,
) -> Iterator[Executor]:
    """Yield the executor that a command or a study requests.

    Parameters
    ----------
    workers
        Processes on this machine; by default one per processor, or one for a GPU.
    cluster
        TOML file of a cluster, instead of `workers`.
    stop_after
        Seconds from now within which to stop.
    control
        When to stop, instead of `stop_after`.

    Raises
    ------
    ExecutorError
        If there are no workers, or as :func:`proda.blocks.cluster_settings.client_from`.
    FileError
        If the file of the cluster cannot be read.
    """
    if workers is not None and workers < 1:
        raise ExecutorError(f"workers = {workers}: expected 1 or more.")
    if control is None:
        control = Control() if stop_after is None else Control(time.time() + stop_after)
    if cluster is None:
        yield Executor(workers or processes(), control=control)
        return
    # Imported here, because the import of Dask's cluster takes a second.
    from proda.blocks.cluster_settings import client_from, read_cluster

    with client_from(read_cluster(cluster)) as client:
        yield Executor(client=client, control=control)


@contextmanager
def _timed(control: Control) -> Iterator[None]:
    begun = time.monotonic()
    yield
    control.longest = max(control.longest, time.monotonic() - begun)


# --- several processes of this machine


_job: Job
"""The work of a worker process."""


def _begin_worker(job: bytes) -> None:
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    watch()
    end_with_parent()
    keep_compiled()
    _job = pickle.loads(job)


def _compute(number: int) -> float:
    begun = time.monotonic()
    _job.compute(number)
    return time.monotonic() - begun


def _in_processes(job: Job, todo: list[int], workers: int, control: Control, done: Done) -> None:
    others = set(multiprocessing.active_children())
    with (
        _environment(**one_thread_environment()),
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _begin_worker, (cloudpickle.dumps(job),)
        ) as pool,
    ):
        waiting = iter(todo)
        running: dict[Future[float], int] = {}
        try:
            while True:
                while len(running) < workers and not control.should_stop():
                    if (number := next(waiting, None)) is None:
                        break
                    running[pool.submit(_compute, number)] = number
                if not running:
                    break
                for task in wait(running, return_when=FIRST_COMPLETED).done:
                    control.longest = max(control.longest, task.result())
                    done(running.pop(task))
        except BrokenProcessPool as error:
            raise ExecutorError(
                f"{job.name}: a worker process died (killed, or out of memory). Finished blocks "
                "are kept; resume with fewer workers, or more memory."
            ) from error
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        if next(waiting, None) is not None:
            raise Stopped


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


def processes() -> int:
    """Return how many processes compute on this machine: one per core, or one for a GPU."""
    return cores() if jax.default_backend() == "cpu" else 1


def keep_compiled() -> None:
    """Keep compiled programs for other processes and later runs, unless JAX has a cache folder."""
    if (place := compiled_programs()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(place))
        if JAX_CACHES_FROM not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        reset_cache()


# --- a cluster


def _on_cluster(
    job: Job, todo: list[int], client: distributed.Client, control: Control, done: Done
) -> None:
    check_threads(client.nthreads())
    token = uuid.uuid4().hex[:12]
    with warnings.catch_warnings():
        # A task instead of scattered data, because a task that is lost with its worker is run
        # again.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        shared = client.submit(_same, job, key=f"proda-job-{token}", pure=False)
        pending = {
            client.submit(_on_worker, shared, n, key=f"proda-{token}-{n}", pure=False): n
            for n in todo
        }
    stopped = False
    try:
        while pending:
            if not stopped and control.should_stop():
                stopped = True
                _take_back(client, pending)
            finished = [task for task in pending if task.done()]
            for task in finished:
                number = pending.pop(task)
                control.longest = max(control.longest, _seconds(job, task, number))
                done(number)
            if not finished:
                time.sleep(_POLL)
    except BaseException:
        _take_back(client, pending)
        while any(not task.done() for task in pending):
            time.sleep(_POLL)
        raise
    if stopped:
        raise Stopped


def _take_back(client: distributed.Client, pending: dict[distributed.Future, int]) -> None:
    """Cancel the blocks that no worker has started; keep only the others in `pending`.

    A worker may start one of them before it hears of that. It is then waited for, so that no block
    is written after this process has left the folder.
    """
    computed = _computed(client)
    waiting = [task for task in pending if task.key not in computed and not task.done()]
    for task in waiting:
        del pending[task]
    client.cancel(waiting)
    cancelled, quiet = {str(task.key) for task in waiting}, 0
    while quiet < _LOOKS and client.status == "running":
        time.sleep(_POLL)
        quiet = 0 if _computed(client) & cancelled else quiet + 1


def _computed(client: distributed.Client) -> set[str]:
    """Return the keys of the blocks that workers compute now."""
    if client.status == "running":
        with suppress(OSError):
            return {str(key) for keys in client.call_stack().values() for key in keys}
    return set()


def _seconds(job: Job, task: distributed.Future, number: int) -> float:
    """Return how long a block took, or raise its error."""
    import distributed

    try:
        return float(task.result())
    except distributed.KilledWorker as error:
        raise ExecutorError(
            f"{job.name}: block {number} killed every worker it ran on (out of memory, or over the "
            f"time limit of its job?): {error}. Finished blocks are kept; resume with more memory "
            "or time."
        ) from error
    except (CancelledError, distributed.TimeoutError) as error:
        raise ExecutorError(
            f"{job.name}: the connection to the scheduler was lost. Finished blocks are kept; "
            "resume."
        ) from error


def check_threads(threads: dict[str, int]) -> None:
    """Refuse workers of several threads.

    Raises
    ------
    ExecutorError
        Two compiled programs in one process slow each other down, and can deadlock.
    """
    for address, n in threads.items():
        if n != 1:
            raise ExecutorError(
                f"Worker {address} has {n} threads; expected 1. Start it with `dask worker "
                "--nthreads 1` (and as many processes, --nworkers, as it has processors or GPUs)."
            )


def _same(job: Job) -> Job:
    return job


@functools.cache
def _begin_cluster_worker(address: str, threads: int) -> None:
    check_threads({address: threads})
    keep_compiled()


def _on_worker(job: Job, number: int) -> float:
    import distributed

    worker = distributed.get_worker()
    _begin_cluster_worker(worker.address, worker.state.nthreads)
    begun = time.monotonic()
    try:
        job.compute(number)
    except ProdaError as error:
        raise type(error)(f"Worker {worker.address} on {node()}: {error}") from error
    return time.monotonic() - begun
