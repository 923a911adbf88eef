"""A stage of a study: what it depends on, what it writes, what it does."""

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
    """Called with what is done, how much there is, and in which unit."""
    warn: Callable[[str], None] = lambda _: None
    """Called with what the user should look at."""
    part: Callable[[str], None] = lambda _: None
    """Called with what a stage begins that is not counted."""

    def steps(self, unit: str) -> Callable[[float, float], None]:
        """Return a callback of two numbers that counts in a unit."""
        return lambda done, total: self.progress(done, total, unit)


@dataclass
class Context:
    """What a stage is given when it runs."""

    folder: StudyFolder
    reporter: Reporter
    control: Control
    """When to stop; a stage that can stop raises `Stopped`."""


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Parameters
    ----------
    name
        Such as `profiles`, or `clm5/assimilation`.
    needs
        Names of the stages whose files it reads.
    settings
        The settings that its result depends on; plain JSON.
    reads
        Files and folders that come from outside of the study.
    writes
        Files and folders that are its result; removed before the stage runs again.
    run
        Does it, and returns what came out in a few words.
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
    """What an interrupted attempt may leave beside `writes`."""
    doing: str = ""
    """What it does, where that is not what stages of its kind do."""

    @property
    def kind(self) -> str:
        """The name without the model."""
        return self.name.rpartition("/")[2]
