"""A stage of a study: its dependencies, its results and its function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proda.blocks.executor import Control
from proda.study.folder import StudyFolder


@dataclass
class Reporter:
    """Callbacks by which a study reports its progress."""

    progress: Callable[[float, float, str], None] = lambda *_: None
    """Called with the amount done, the total, and the unit."""
    warn: Callable[[str], None] = lambda _: None
    """Called with warnings for the user."""
    part: Callable[[str], None] = lambda _: None
    """Called with the name of a part of a stage whose progress is not counted."""

    def steps(self, unit: str) -> Callable[[float, float], None]:
        """Return a callback of two numbers that counts in a unit."""
        return lambda done, total: self.progress(done, total, unit)


@dataclass
class Context:
    """The arguments of a stage when it is run."""

    folder: StudyFolder
    reporter: Reporter
    control: Control
    """When to stop; a stage that can be stopped raises `Stopped`."""


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Parameters
    ----------
    name
        Name, such as `profiles` or `clm5/assimilation`.
    needs
        Names of the stages whose files it reads.
    settings
        The settings on which its result depends; plain JSON.
    reads
        Files and folders from outside the study.
    writes
        Files and folders that are its result; removed before the stage runs again.
    run
        Function that runs the stage and returns a short description of the result.
    """

    name: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    run: Callable[[Context], str]
    resumable: bool = False
    """Whether an interrupted attempt is resumed."""
    partial: tuple[Path, ...] = field(default=())
    """Files that an interrupted attempt may leave in addition to `writes`."""
    doing: str = ""
    """Description for the progress, if it differs from that of other stages of its kind."""

    @property
    def kind(self) -> str:
        """The name without the model."""
        return self.name.rpartition("/")[2]
