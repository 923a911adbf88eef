"""`proda report`: write the report of a study again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, progress


@app.command(epilog="Example:\n\n`proda report run`")
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a study, as `proda run` writes it.")],
) -> None:
    """Write report.html of a study, with its figures and tables, from the results of its stages.

    The report names the stages that have not been run. No stage is computed again.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.study.report import write_report

    with progress("sections") as bar:
        task = bar.add_task("Report", total=None)
        path = write_report(run, progress=lambda done, n: bar.update(task, completed=done, total=n))
    console.print(f"Written: {path}, {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    console.print(str(path.resolve()), soft_wrap=True, highlight=False)
