"""Work that turns parts of an index into arrays, such as the cells of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int

from proda.blocks.executor import Job
from proda.blocks.store import BlockStore


class ChunkPlan(Protocol):
    """All that chunks are computed from; pickled to be sent to workers."""

    def compute(self, part: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Compute one part."""


@dataclass(frozen=True)
class ChunkJob(Job):
    """The chunks of a map or a projection: which cells they hold, and where they go."""

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
