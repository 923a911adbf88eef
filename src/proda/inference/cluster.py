"""Work through the blocks of a run on a cluster, one Dask task per block.

Workers open the run folder themselves, by its path on a file system that all share; a task is only
the number of a block, and its result lies in the folder. What a block's draws are does not depend
on who does it, when, or how often it was begun.

Draws agree bit for bit between machines whose processors have the same vector instructions: the
compiler writes other code for others.
"""

from __future__ import annotations

import queue
import time
import uuid
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from platform import node
from typing import Any

import distributed

from proda.errors import AssimilationError
from proda.inference.assimilation_run import Block, Run
from proda.inference.batch import Control, Stopped
from proda.inference.runner import (
    AssimilationProgress,
    at_work,
    blocks_left,
    check_platform,
    evaluations_per_site,
    keep_compiled,
    run_block,
)
from proda.termination import between_steps

_POLL = 0.5
"""Seconds between two looks at whether to stop."""


def work_on_cluster(
    run: Run,
    client: distributed.Client,
    control: Control | None = None,
    progress: AssimilationProgress | None = None,
    *,
    accept_versions: bool = False,
) -> None:
    """Do all that is left of a run on a cluster, and join the blocks.

    A block whose worker dies is done elsewhere, from its last checkpoint. One that kills several
    workers (the scheduler's setting ``allowed-failures``) without getting any further is an error.

    Parameters
    ----------
    run
        The run; its folder has the same path on all workers.
    client
        Connected to workers of one thread each (`cluster_settings.client_from`).
    control
        When to stop; `advanced` and `warn` are taken from `progress`. Creating its `stop_file` in
        a folder that the workers see stops them even if this process is gone.
    progress
        Told what goes on.
    accept_versions
        Go on with a run that other versions of proda or JAX began.

    Raises
    ------
    Stopped
        If asked to stop; everything done is kept, and the run can go on, here or elsewhere.
    KeyboardInterrupt
        The same after Ctrl-C. A second Ctrl-C does not wait for the workers' checkpoints.
    AssimilationError
        If a worker has several threads, does not see the folder, is another kind of processor, or
        a block keeps killing workers; if another process works on the run, or other versions
        began it.
    FileError
        If a worker cannot read or write a file.
    """
    with at_work(run, accept_versions) as unfinished:
        if not unfinished:
            return
        progress, control = progress or AssimilationProgress(), control or Control()
        check_threads(client.nthreads())
        left = blocks_left(run, progress)
        if left:
            with between_steps():
                _Session(run, client, control, progress).do(left)


def check_threads(threads: dict[str, int]) -> None:
    """Refuse workers of several threads.

    Raises
    ------
    AssimilationError
        Two compiled programs in one process slow each other down, and may lock each other up.
    """
    for address, n in threads.items():
        if n != 1:
            raise AssimilationError(
                f"Worker {address} has {n} threads; expected 1. Start it with `dask worker "
                "--nthreads 1` (and as many processes, --nworkers, as it has processors or GPUs)."
            )


@dataclass
class _Session:
    """One call of `work_on_cluster`."""

    run: Run
    client: distributed.Client
    control: Control
    progress: AssimilationProgress
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    events: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    """What futures and workers tell: a future that is done, or a message."""
    reached: dict[int, int] = field(default_factory=dict)
    """Model evaluations done of each block. A block begun again does not count twice."""
    submitted_at: dict[int, int] = field(default_factory=dict)
    """The same when the block was last sent out."""
    pending: dict[distributed.Future, Block] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        return f"proda-{self.token}"

    @property
    def stop_file(self) -> Path:
        """Its presence stops the workers. Its name is its own, so that none is left from before."""
        return self.run.folder / "blocks" / f"stop-{self.token}"

    def do(self, left: list[Block]) -> None:
        self.client.subscribe_topic(self.topic, self._hear)
        stopped = False
        try:
            for block in left:
                self._submit(block)
            while self.pending:
                if self.control.should_stop() and not stopped:
                    self._stop()
                    stopped = True
                stopped |= self._next(_POLL)
                self._check_connection()
            if stopped:
                raise Stopped
        except BaseException:
            # Also on Ctrl-C and on an error: what runs on the workers is first put into
            # checkpoints, or a run that goes on at once would meet it.
            self._stop()
            while self.pending:
                self._settle()
            raise
        finally:
            self.client.unsubscribe_topic(self.topic)
            self.client.cancel(list(self.pending))
            if not self.pending:
                self.stop_file.unlink(missing_ok=True)

    def _submit(self, block: Block) -> None:
        self.submitted_at[block.number] = self.reached.get(block.number, 0)
        task = self.client.submit(
            work_on_block,
            str(self.run.folder.absolute()),
            self.run.identity,
            block.number,
            self.topic,
            self.control.deadline,
            [str(f.absolute()) for f in (self.stop_file, self.control.stop_file) if f is not None],
            self.control.checkpoint_every,
            key=f"proda-block-{block.number}-{uuid.uuid4().hex[:12]}",
            pure=False,
        )
        self.pending[task] = block
        task.add_done_callback(self.events.put)

    def _hear(self, event: tuple[float, Any]) -> None:
        self.events.put(event[1])

    def _next(self, timeout: float) -> bool:
        """Take note of one event; return whether it is that a worker stopped."""
        try:
            event = self.events.get(timeout=timeout)
        except queue.Empty:
            return False
        if not isinstance(event, distributed.Future):
            if "warning" in event:
                self.progress.warn(event["warning"])
            else:
                self._count(event["block"], event["evaluations"])
            return False
        block = self.pending.pop(event, None)
        if block is None:
            return False
        try:
            finished = event.result()
        except distributed.KilledWorker as error:
            if self.reached.get(block.number, 0) > self.submitted_at[block.number]:
                self._submit(block)  # its workers died, but it gets on
                return False
            raise AssimilationError(
                f"{self.run.folder}: block {block.number} killed every worker it ran on "
                f"(out of memory, or over the time limit of its job?): {error}. Finished work is "
                "kept; give workers more memory or time, and resume with "
                f"`proda assimilate --resume {self.run.folder}`."
            ) from error
        except (CancelledError, distributed.TimeoutError) as error:
            raise self._lost() from error
        if finished:
            self._count(block.number, evaluations_per_site(self.run) * len(block.sites))
            self.progress.sites_done(len(block.sites))
        return not finished

    def _check_connection(self) -> None:
        if any(task.status in ("lost", "cancelled") for task in self.pending):
            raise self._lost()

    def _lost(self) -> AssimilationError:
        return AssimilationError(
            f"{self.run.folder}: the connection to the scheduler was lost. Finished work is kept; "
            f"resume with `proda assimilate --resume {self.run.folder}`."
        )

    def _count(self, number: int, evaluations: int) -> None:
        before = self.reached.get(number, 0)
        if evaluations > before:
            self.reached[number] = evaluations
            self.progress.evaluations(evaluations - before)

    def _stop(self) -> None:
        """Ask all to stop: those that run by the file, those that wait by taking them back."""
        if self.stop_file.parent.is_dir():
            self.stop_file.touch()
        running = self._running()
        waiting = [task for task in self.pending if task.key not in running and not task.done()]
        for task in waiting:
            del self.pending[task]
        self.client.cancel(waiting)

    def _running(self) -> set[str]:
        if self.client.status != "running":
            return set()
        return {key for keys in self.client.processing().values() for key in keys}

    def _settle(self) -> None:
        """Wait for what still runs; errors that come now change nothing."""
        running = self._running()
        for task in list(self.pending):
            if task.done() or task.key not in running:
                del self.pending[task]
        if self.pending:
            time.sleep(_POLL)


_opened: dict[str, Run] = {}
"""The run that this worker process works on, by the identity of its run.json."""


def work_on_block(
    folder: str,
    identity: str,
    number: int,
    topic: str,
    deadline: float,
    stop_files: list[str],
    checkpoint_every: float,
) -> bool:
    """Do one block in this worker process; return False if asked to stop.

    Parameters
    ----------
    folder, identity
        The run folder, and the checksum that its run.json must have.
    number
        The block.
    topic
        Under which progress is told to the client.
    deadline, stop_files, checkpoint_every
        As of `Control`.

    Raises
    ------
    ProdaError
        As `work_on_cluster`.
    """
    worker = distributed.get_worker()
    check_threads({worker.address: worker.state.nthreads})
    run = _open(folder, identity, worker.address)
    if run.is_done(number)[0]:  # by a worker that died before it could say so
        return True
    done = 0

    def advanced(n: int) -> None:
        nonlocal done
        done += n
        worker.log_event(topic, {"block": number, "evaluations": done})

    control = _WorkerControl(
        deadline=deadline,
        checkpoint_every=checkpoint_every,
        advanced=advanced,
        warn=lambda text: worker.log_event(topic, {"warning": text}),
        stop_files=[Path(file) for file in stop_files],
    )
    if control.should_stop():
        return False
    try:
        run_block(run, next(b for b in run.blocks if b.number == number), control)
    except Stopped:
        return False
    return True


@dataclass
class _WorkerControl(Control):
    stop_files: list[Path] = field(default_factory=list)

    def should_stop(self) -> bool:
        return super().should_stop() or any(file.exists() for file in self.stop_files)


def _open(folder: str, identity: str, address: str) -> Run:
    if identity not in _opened:
        if not (Path(folder) / "run.json").is_file():
            raise AssimilationError(
                f"Worker {address} on {node()} does not see {folder}; put the run in a folder "
                "that all workers see under the same path."
            )
        run = Run(folder)
        if run.identity != identity:
            raise AssimilationError(
                f"Worker {address} on {node()} sees another run in {folder}; put the run in a "
                "folder that all workers share."
            )
        try:
            check_platform(run)
            run.check_versions()
        except AssimilationError as error:
            raise AssimilationError(f"Worker {address} on {node()}: {error}") from error
        keep_compiled()
        _opened.clear()
        _opened[identity] = run
    return _opened[identity]
