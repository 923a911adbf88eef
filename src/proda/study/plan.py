"""Which stages of a study must be run, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from proda.checksums import tree_digest
from proda.errors import StudyError
from proda.study.record import Record, StageRecord
from proda.study.stage import Stage
from proda.study.watch import size_on_disk


@dataclass(frozen=True)
class PlannedStage:
    """A stage, its present dependencies, and why it must be run ("" if it is up to date)."""

    stage: Stage
    depends_on: dict[str, str]
    why: str
    goes_on: bool = False
    """Whether an interrupted attempt is resumed."""


def plan(
    stages: list[Stage],
    record: Record,
    only: str | None = None,
    start: str | None = None,
    until: str | None = None,
) -> list[PlannedStage]:
    """Decide which stages to run.

    A stage is run if it has never been finished, if a setting, a file or an earlier stage has
    changed, or if its files have changed since they were written.

    Parameters
    ----------
    stages
        Stages in order.
    record
        Record of the finished stages; checksums of files are added to it.
    only
        Run this stage only, even if it is up to date.
    start
        Run this stage and all that depend on it, even if they are up to date.
    until
        Last stage; later stages are not part of the plan.

    Raises
    ------
    StudyError
        If a stage does not exist, a file that is read is absent, `until` comes before `start`, or
        `only` needs another stage that is not up to date.
    """
    if until is not None:
        stages = _until(stages, until, start)
    asked = _matching(stages, only if only is not None else start)
    steps: list[PlannedStage] = []
    fingerprints: dict[str, str] = {}
    todo: dict[str, str] = {}
    for stage in stages:
        depends_on = dependencies(stage, record, fingerprints)
        fresh = StageRecord(status="begun", depends_on=depends_on, begun="")
        fingerprints[stage.name] = fresh.fingerprint
        before = record.stages.get(stage.name)
        why, goes_on = _why(stage, before, depends_on)
        if stage.name in asked and not why:
            why = "requested"
        elif not why and (later := [name for name in stage.needs if name in todo]):
            why = f"{later[0]} is run again"
        if why:
            todo[stage.name] = why
        steps.append(PlannedStage(stage, depends_on, why, goes_on))
    return steps if only is None else _only(only, steps, asked, todo)


def _only(
    only: str, steps: list[PlannedStage], asked: set[str], todo: dict[str, str]
) -> list[PlannedStage]:
    """Leave out all stages but those asked for; refuse those that need others first."""
    for step in steps:
        stale = [n for n in step.stage.needs if n in todo and n not in asked]
        if step.stage.name in asked and stale:
            raise StudyError(
                f"--only {only}: {step.stage.name} needs {', '.join(stale)}, to be done first "
                f"({todo[stale[0]]}). Run without --only."
            )
    return [
        step if step.stage.name in asked else PlannedStage(step.stage, step.depends_on, "")
        for step in steps
    ]


def dependencies(stage: Stage, record: Record, fingerprints: dict[str, str]) -> dict[str, str]:
    """Return everything on which a stage's result depends, name -> value or checksum."""
    versions = {"proda": version("proda")}
    for name, value in stage.settings.items():
        versions[f"setting {name}"] = json.dumps(value, sort_keys=True)
    for path in stage.reads:
        versions[f"file {path}"] = checksum(path, record)
    for name in stage.needs:
        versions[f"stage {name}"] = fingerprints[name]
    return versions


def state_of(path: Path) -> tuple[int, int]:
    """Return size in bytes and the latest time of change (ns) of a file or a folder's files."""
    if path.is_file():
        return path.stat().st_size, path.stat().st_mtime_ns
    times = [p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()]
    return size_on_disk(path), max(times, default=0)


def checksum(path: Path, record: Record) -> str:
    """Return the SHA-256 of a file or folder, from the record if it has not changed.

    Raises
    ------
    StudyError
        If it is absent.
    """
    if not path.exists():
        raise StudyError(
            f"{path}: there is no such file. Correct the settings of the study, which name it."
        )
    size, changed = state_of(path)
    known = record.checksums.get(str(path))
    if known is not None and known[:2] == (size, changed):
        return known[2]
    record.checksums[str(path)] = (size, changed, tree_digest(path))
    return record.checksums[str(path)][2]


def _why(stage: Stage, before: StageRecord | None, depends_on: dict[str, str]) -> tuple[str, bool]:
    """Return why a stage must run, and whether its last attempt is resumed."""
    if before is None:
        return "not done yet", False
    names = [*before.depends_on, *(n for n in depends_on if n not in before.depends_on)]
    changed = [n for n in names if before.depends_on.get(n) != depends_on.get(n)]
    if changed:
        own = [n for n in changed if not n.startswith("stage ")] or changed
        return f"changed: {', '.join(own)}", False
    if before.status != "done":
        return (
            "resumed where it stopped" if stage.resumable else "it was interrupted",
            stage.resumable,
        )
    for path in stage.writes:
        if not path.exists():
            return f"{path.name} is missing", False
        if before.outputs.get(str(path.name)) != state_of(path):
            return f"{path.name} has changed since it was written", False
    return "", False


def _until(stages: list[Stage], until: str, start: str | None) -> list[Stage]:
    """Return the stages up to the last one with this name."""
    names = [stage.name for stage in stages]
    last = max(names.index(name) for name in _matching(stages, until))
    if start is not None and min(names.index(n) for n in _matching(stages, start)) > last:
        raise StudyError(f"--from {start} --until {until}: {start} comes after {until}.")
    return stages[: last + 1]


def _matching(stages: list[Stage], asked: str | None) -> set[str]:
    if asked is None:
        return set()
    names = {s.name for s in stages if asked in (s.name, s.kind)}
    if not names:
        kinds = list(dict.fromkeys(s.kind for s in stages))
        raise StudyError(
            f"Unknown stage {asked!r}; choose one of {', '.join(kinds)}, or for one model: "
            f"{next((s.name for s in stages if '/' in s.name), 'MODEL/STAGE')}."
        )
    return names
