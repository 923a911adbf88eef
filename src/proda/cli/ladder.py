"""`proda ladder`: from the published method to ours, one correction after the other."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import Stages, console, print_table, progress
from proda.cli.options import StopAfter
from proda.cli.stopping import STOPPED, seconds

if TYPE_CHECKING:
    import pandas as pd

    from proda.study.plan import PlannedStage


_Rungs = Annotated[
    int | None, typer.Option(min=1, help="Stop after this many rungs; a later call resumes.")
]
_TestSteps = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of the test run of the published sampler; by default 20,000."),
]
_FormalSteps = Annotated[
    int | None, typer.Option(min=8, help="Steps of its formal run; by default 50,000.")
]
_Epochs = Annotated[
    int | None, typer.Option(min=1, help="Epochs of the published network; by default 6,000.")
]


@app.command(epilog="Examples:\n\n`proda ladder study.toml ladder`")
def ladder(
    study: Annotated[Path, typer.Argument(help="Settings of the study by our method (TOML).")],
    folder: Annotated[Path, typer.Argument(help="Folder of the rungs and the tables.")],
    rungs: _Rungs = None,
    test_steps: _TestSteps = None,
    formal_steps: _FormalSteps = None,
    epochs: _Epochs = None,
    stop_after: StopAfter = None,
) -> None:
    """Run a study as published, and again with each correction added, up to our method.

    Every rung is a study in its own folder, with the same profiles and the same seed, and shares
    with the previous rung the stages that the correction does not change. A table lists every
    finding of the paper for every rung. Repeat the command to resume after any interruption.
    """
    from proda.blocks.executor import Control, Stopped
    from proda.study.ladder import FINDINGS, published_amounts, run_ladder
    from proda.study.methods import CORRECTIONS
    from proda.study.stage import Reporter

    limit = seconds(stop_after)
    control = Control(deadline=time.time() + limit) if limit is not None else Control()
    changes = published_amounts(test_steps, formal_steps, {"epochs": epochs} if epochs else None)
    with progress("") as bar:
        stages, now, last = Stages(bar), [""], [-1]

        def begin(index: int, step: PlannedStage) -> None:
            if index != last[0]:
                console.print(f"Rung {index}: {CORRECTIONS[index].words}", soft_wrap=True)
                last[0] = index
            now[0] = f"{index} {step.stage.name}"
            stages.begin(now[0])

        def count(done: float, total: float, unit: str) -> None:
            stages.count(f"{now[0]} ({unit})", done, total)

        try:
            result = run_ladder(
                study,
                folder,
                published=changes,
                rungs=rungs,
                control=control,
                reporter=Reporter(count),
                begin=begin,
            )
        except Stopped:
            bar.stop()
            console.print(
                "Stopped before the time limit. Repeat the command to resume.", soft_wrap=True
            )
            sys.exit(STOPPED)
    _print_findings(result.findings)
    console.print(f"Written: {folder / FINDINGS}", soft_wrap=True)


def _print_findings(findings: pd.DataFrame) -> None:
    """Print every finding by rung, and which correction each rung adds."""
    from proda.study.methods import CORRECTIONS

    names = [str(c) for c in findings if f"{c}, numbers" in findings]
    marks = {"agrees": "yes", "disagrees": "no"}
    rows = findings.to_dict("records")
    print_table(
        "Findings of the paper by rung",
        ["finding", *(name.partition("_")[0] for name in names), "holds"],
        [[row["id"], *(marks.get(row[n], "-") for n in names), row["holds"]] for row in rows],
    )
    for name in names:
        index, _, _ = name.partition("_")
        console.print(f"{index}: {CORRECTIONS[int(index)].words}", highlight=False, soft_wrap=True)
