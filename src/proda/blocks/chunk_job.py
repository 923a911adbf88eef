"""Work that turns parts of an index into arrays, such as the cells of a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int

from proda.blocks.executor import Executor, Job
from proda.blocks.store import BlockStore


class ChunkPlan(Protocol):
    """The data from which chunks are computed; pickled to be sent to workers."""

    def compute(self, part: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Compute one part."""


@dataclass(frozen=True)
class ChunkJob(Job):
    """The chunks of a map or a projection, with their cells and the store."""

    plan: ChunkPlan
    parts: list[Int[np.ndarray, " n"]]
    store: BlockStore

    @property
    def name(self) -> str:
        """The folder of the chunks."""
        return str(self.store.folder)

    def compute(self, number: int) -> None:
        """Compute a chunk and write it."""
        self.store.write_arrays(number, self.plan.compute(self.parts[number]))


def run_chunks(
    plan: ChunkPlan,
    parts: list[Int[np.ndarray, " n"]],
    store: BlockStore,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[str]]:
    """Compute the chunks that the store lacks.

    Parameters
    ----------
    plan, parts, store
        Data from which chunks are computed, their cells, and the store.
    executor
        Where chunks are computed, and until when; by default in this process, without a time limit.
    progress
        Called with (cells done, cells), first with those that the store has.

    Returns
    -------
    The number of chunks that existed already, and the faults of those that were computed again.
    """
    todo, faults = store.missing(range(len(parts)))
    total = sum(map(len, parts))
    done = total - sum(len(parts[i]) for i in todo)

    report = progress or (lambda *_: None)
    report(done, total)

    def finished(i: int) -> None:
        nonlocal done
        done += len(parts[i])
        report(done, total)

    (executor or Executor()).run(ChunkJob(plan, parts, store), todo, finished)
    return len(parts) - len(todo), faults
