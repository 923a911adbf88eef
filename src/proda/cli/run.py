"""`proda run`: a whole study from one settings file."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proda.cli.app import app
from proda.cli.options import StopAfter
from proda.cli.stopping import STOPPED, seconds
from proda.layout import RunFolder

FIRST = "not done yet"
"""Reason for running a stage that has never been run (`proda.study.plan`)."""

if TYPE_CHECKING:
    from proda.study.plan import PlannedStage
    from proda.study.record import Record
    from proda.study.settings import StudySettings


_Folder = Annotated[
    Path | None, typer.Argument(help="Folder of the study: new, or that of an earlier run.")
]
_Resume = Annotated[
    Path | None, typer.Option(help="Resume the study in this folder with its own settings.")
]
_Only = Annotated[
    str | None, typer.Option(help="Run only this stage, e.g. report or clm5/training.")
]
_Start = Annotated[
    str | None,
    typer.Option("--from", help="Run this stage again, and all stages that depend on it."),
]
_Until = Annotated[
    str | None,
    typer.Option(help="Stop after this stage, e.g. training or clm5/training; resume later."),
]
_Show = Annotated[
    bool, typer.Option("--show", help="Print all settings, including defaults, and exit.")
]
_DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print which stages would run, why, and at what cost."),
]


@app.command(
    epilog="Examples:\n\n"
    "`proda run study.toml results`\n\n"
    "`proda run --resume results`\n\n"
    "`proda run study.toml --show > all-settings.toml`\n\n"
    "`proda run study.toml results --dry-run`\n\n"
    "`proda run study.toml results --only report`, `... --from clm5/training`\n\n"
    "`proda run study.toml results --until end-to-end`\n\n"
    "`proda run study.toml results --stop-after 11.5h`"
)
def run(
    study: Annotated[Path | None, typer.Argument(help="Settings of the study (TOML).")] = None,
    folder: _Folder = None,
    resume: _Resume = None,
    only: _Only = None,
    start: _Start = None,
    until: _Until = None,
    show: _Show = False,
    dry_run: _DryRun = False,
    stop_after: StopAfter = None,
) -> None:
    """Run a whole study: profiles, forcing, covariates, networks, maps, comparison, report.

    Networks are trained end to end through the soil model on all profiles, on the posteriors of an
    assimilation at the profiles, or both ([learning] route).

    A stage runs only if its settings, its input or an earlier stage changed. Repeat the command to
    resume after any interruption; the results are the same. Exit status 75 means that the study
    stopped before its time limit and can be resumed.
    """
    from proda.cli.console import console
    from proda.errors import StudyError
    from proda.study.settings import read_study
    from proda.study.toml import as_toml

    if only is not None and start is not None:
        raise StudyError("Give --only or --from, not both.")
    if only is not None and until is not None:
        raise StudyError("Give --only or --until, not both.")
    if resume is not None:
        if study is not None:
            raise StudyError(
                f"--resume {resume} uses the settings in that folder; do not give others. To "
                "change settings: proda run STUDY.toml FOLDER."
            )
        from proda.study.pipeline import open_study

        settings, folder = open_study(resume), resume
    elif study is None:
        raise StudyError("Give the settings of the study (TOML), or pass --resume FOLDER.")
    else:
        settings = read_study(study)
    if show:
        console.print(as_toml(settings), highlight=False, soft_wrap=True, end="")
        return
    if folder is None:
        raise StudyError("Give the folder of the study: proda run STUDY.toml FOLDER.")
    if dry_run:
        _dry_run(settings, folder, only, start, until)
        return
    run_and_print(settings, folder, only, start, until, seconds(stop_after))


def _dry_run(
    settings: StudySettings, folder: Path, only: str | None, start: str | None, until: str | None
) -> None:
    from proda.cli.console import console, print_table
    from proda.study.cost import predict
    from proda.study.folder import StudyFolder
    from proda.study.pipeline import plan_study

    steps, record = plan_study(settings, folder, only=only, start=start, until=until)
    costs = predict(StudyFolder(folder.resolve(), settings), steps, record)
    rows = [
        (
            step.stage.name,
            step.why or "up to date",
            duration(costs[step.stage.name].seconds) if step.why else "",
            _size(costs[step.stage.name].disk) if step.why else "",
        )
        for step in steps
    ]
    asked = [costs[step.stage.name] for step in steps if step.why]
    rows.append(
        ("all", "", duration(sum(c.seconds for c in asked)), _size(sum(c.disk for c in asked)))
    )
    print_table(
        f"Stages to run in {folder}", ["stage", "reason", "time", "disk"], rows, right=(2, 3)
    )
    for line in dict.fromkeys(c.basis for c in asked):
        console.print(f"Times: {line}", highlight=False, soft_wrap=True)


def run_and_print(
    settings: StudySettings,
    folder: Path,
    only: str | None = None,
    start: str | None = None,
    until: str | None = None,
    limit: float | None = None,
) -> None:
    """Run a study with progress, and print its table and the path of its report."""
    from proda.blocks.executor import Control, Stopped
    from proda.cli.console import Stages, console, errors, progress
    from proda.study.pipeline import run_study
    from proda.study.stage import Reporter

    control = Control(deadline=time.time() + limit) if limit is not None else Control()
    begun = time.monotonic()
    resume = f"Resume with: proda run --resume {folder}"
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True}
    with progress("") as bar:
        stages, now = Stages(bar), [""]

        def begin(step: PlannedStage) -> None:
            console.print(beginning(step), **plain)
            now[0] = step.stage.name
            stages.begin(step.stage.name)

        def count(done: float, total: float, unit: str) -> None:
            stages.count(f"{now[0]} ({unit})", done, total)

        def part(what: str) -> None:
            stages.begin(f"{now[0]} ({what})")

        def warn(text: str) -> None:
            errors.print(text, style="yellow", highlight=False, soft_wrap=True)

        try:
            record = run_study(
                settings,
                folder,
                only=only,
                start=start,
                until=until,
                control=control,
                reporter=Reporter(count, warn, part),
                begin=begin,
            )
        except Stopped:
            bar.stop()
            console.print(f"Stopped before the time limit. {resume}", **plain)
            sys.exit(STOPPED)
        except BaseException:
            bar.stop()
            if RunFolder(folder).record_file.is_file():
                errors.print(f"Finished work is kept. {resume}", **plain)
            raise
    _summary(record, folder, time.monotonic() - begun)
    if until is not None:
        console.print(f"Stopped after {until}, as requested. {resume}", **plain)


_DOING = {
    "profiles": "reading and checking the profiles",
    "forcing": "preparing the forcing",
    "covariates": "sampling the covariates at the sites",
    "assimilation": "estimating parameters at the profiles",
    "filter": "selecting the sites for training",
    "training": "training the networks",
    "end-to-end": "training networks end to end through the soil model",
    "default-map": "mapping the model with default parameters",
    "end-to-end-maps": "mapping the model with networks trained end to end",
    "maps": "mapping the model",
    "projection": "projecting the model",
    "projections": "comparing the projections",
    "attribution": "attributing the maps to components",
    "comparison": "comparing the models",
    "report": "writing the report",
}
"""What a stage does, by its kind."""


def beginning(step: PlannedStage) -> str:
    """Return the description of a stage, with the reason if it is run again."""
    doing = step.stage.doing or _DOING.get(step.stage.kind, "started")
    why = "" if step.why == FIRST else f" ({step.why})"
    return f"{step.stage.name}: {doing}{why}"


def _summary(record: Record, folder: Path, took: float) -> None:
    from proda.cli.console import console, print_table

    rows = [
        (
            name,
            stage.note,
            duration(stage.seconds),
            _size(stage.peak_memory_bytes),
            _size(stage.disk_bytes),
        )
        for name, stage in record.stages.items()
    ]
    whole = sum(stage.seconds for stage in record.stages.values())
    print_table(
        f"{record.name}: {duration(took)} in this run, {duration(whole)} in total",
        ["stage", "result", "time", "memory", "disk"],
        rows,
        right=(2, 3, 4),
    )
    report = RunFolder(folder).report
    if report.is_file():
        console.print(f"Report: {report.resolve()}", highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a time in words."""
    if math.isnan(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(n: float) -> str:
    if math.isnan(n):
        return "unknown"
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
