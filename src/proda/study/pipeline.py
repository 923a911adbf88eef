"""Run a study stage by stage, only the stages that are not up to date, and resume it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from proda.blocks.executor import Control, Stopped
from proda.errors import FileError, ProdaError, StudyError
from proda.files import whole_file
from proda.label import labelled
from proda.layout import RunFolder
from proda.locks import FILES, locked
from proda.models.outside import provenance
from proda.models.registry import model_class
from proda.study.folder import StudyFolder
from proda.study.methods import LABEL, PUBLISHED
from proda.study.plan import PlannedStage, plan, state_of
from proda.study.record import (
    Record,
    StageRecord,
    describe,
    now,
    read_record,
    write_record,
)
from proda.study.settings import StudySettings, read_study
from proda.study.stage import Context, Reporter
from proda.study.stages import stages_of
from proda.study.toml import as_toml
from proda.study.watch import release_freed_memory, size_on_disk, watching

OF_DATA = ("profiles", "forcing", "covariates")
"""Stages whose results do not depend on the method."""


def open_study(folder: str | os.PathLike[str]) -> StudySettings:
    """Read the settings of a study from its folder.

    Raises
    ------
    StudyError
        If the folder contains no study.
    """
    path = RunFolder(Path(folder)).settings_file
    if not path.is_file():
        raise StudyError(
            f"{path}: there is no such file, and therefore no study to resume. If the study "
            f"stopped before this file was written, start it again: proda run STUDY.toml {folder}"
        )
    return read_study(path)


def plan_study(
    settings: StudySettings,
    folder: str | os.PathLike[str],
    *,
    only: str | None = None,
    start: str | None = None,
    until: str | None = None,
) -> tuple[list[PlannedStage], Record]:
    """Return which stages would be run and why; nothing is written.

    Raises
    ------
    StudyError
        See :func:`proda.study.plan.plan`.
    """
    place = StudyFolder(Path(folder).resolve(), settings)
    record = read_record(place.path)
    return plan(stages_of(place), record, only, start, until), record


def run_study(
    settings: StudySettings,
    folder: str | os.PathLike[str],
    *,
    only: str | None = None,
    start: str | None = None,
    until: str | None = None,
    control: Control | None = None,
    reporter: Reporter | None = None,
    begin: Callable[[PlannedStage], None] | None = None,
) -> Record:
    """Run a study, or resume it.

    Parameters
    ----------
    settings
        From :func:`proda.study.settings.read_study`, or :func:`open_study`.
    folder
        Folder of the study; created if absent.
    only, start
        Run only one stage, or one and all that depend on it, even if they are up to date.
    until
        Last stage to run; a later run resumes.
    control
        When to stop.
    reporter
        Receives the progress.
    begin
        Called with each step before it is run.

    Returns
    -------
    Record
        The content of study.json.

    Raises
    ------
    Stopped
        If the control requests it; run it again to resume.
    StudyError
        If the folder contains something else, or another process uses it.
    ProdaError
        From a stage; the results of earlier stages are kept.
    """
    place = StudyFolder(Path(folder).resolve(), settings)
    _make(place.path)
    with locked(place.path, "study", StudyError):
        _claim(place.path)
        record = read_record(place.path)
        steps = plan(stages_of(place), record, only, start, until)
        study = settings.study
        noted = {n: provenance(model_class(study.reference(n))) for n in study.models}
        outside = {name: attributes for name, attributes in noted.items() if attributes}
        by_method = LABEL if study.method == PUBLISHED else ""
        named = f"{study.name} ({by_method})" if by_method else study.name
        describe(record, named, study.truth is not None, outside)
        with whole_file(place.settings_file) as temporary:
            temporary.write_text(as_toml(settings), encoding="utf-8")
        write_record(place.path, record)
        context = Context(place, reporter or Reporter(), control or Control())
        for step in steps:
            if not step.why:
                continue
            if context.control.should_stop():
                raise Stopped
            if begin is not None:
                begin(step)
            # Profiles, forcing and covariates do not depend on the method.
            with labelled("" if step.stage.name in OF_DATA else by_method):
                _do(step, context, record)
        return record


def _make(path: Path) -> None:
    """Create the folder; refuse a folder that contains something other than a study."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        others = _others(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be created ({error}).") from error
    if others:
        raise StudyError(
            f"{path}: contains {others[0]} but no study.json; give a new or empty folder."
        )


def _others(path: Path) -> list[str]:
    """Return the files in a folder that contains no study.

    Files of a study that was stopped right at its start are ignored: settings as written by this
    program, and unfinished files.
    """
    place = RunFolder(path)
    if place.record_file.is_file():
        return []
    settings = place.settings_file
    names = sorted(p.name for p in path.iterdir() if p.name not in FILES)
    return [n for n in names if not (_ours(settings) if n == settings.name else _PART.fullmatch(n))]


_PART = re.compile(r"\.(study\.(toml|json)\..*|lock\.owner\..*)\.part")


def _ours(path: Path) -> bool:
    """Whether the settings are exactly as `run_study` writes them, and not a user's own file."""
    try:
        return path.read_text("utf-8") == as_toml(read_study(path))
    except (ProdaError, OSError, ValueError):
        return False


def _claim(path: Path) -> None:
    """Remove unfinished files; the lock ensures that no other process is writing them."""
    for left in path.iterdir():
        if _PART.fullmatch(left.name):
            left.unlink(missing_ok=True)


def _do(step: PlannedStage, context: Context, record: Record) -> None:
    stage, place = step.stage, context.folder
    before = record.stages.get(stage.name)
    if not step.goes_on:
        for path in (*stage.writes, *stage.partial):
            _remove(path)
        before = None
    entry = StageRecord(
        status="begun",
        depends_on=step.depends_on,
        begun=before.begun if before else now(),
        seconds=before.seconds if before else 0.0,
        peak_memory_bytes=before.peak_memory_bytes if before else 0,
    )
    record.stages[stage.name] = entry
    write_record(place.path, record)
    with _timed(entry, place.path, record):
        entry.note = stage.run(context)
    for path in stage.writes:
        if not path.exists():
            raise StudyError(
                f"{stage.name}: {path} was not written. This is an error in proda; please report "
                "it."
            )
        entry.outputs[path.name] = state_of(path)
    entry.status, entry.finished = "done", now()
    entry.disk_bytes = sum(size_on_disk(path) for path in stage.writes)
    write_record(place.path, record)


@contextmanager
def _timed(entry: StageRecord, folder: Path, record: Record) -> Iterator[None]:
    begun, earlier = time.monotonic(), entry.seconds
    release_freed_memory()
    try:
        with watching() as peak:
            yield
    finally:
        # Also after a failed attempt, whose time counts when it is resumed.
        entry.seconds = earlier + time.monotonic() - begun
        entry.peak_memory_bytes = max(entry.peak_memory_bytes, peak.memory)
        write_record(folder, record)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
