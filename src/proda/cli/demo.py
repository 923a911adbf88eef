"""`proda demo`: a whole study of a synthetic world, from profiles to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proda.cli.app import app


@app.command(epilog="Examples: `proda demo` · `proda demo somewhere/else`")
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder to write: new, or that of an earlier demo.")
    ] = Path("proda-demo"),
) -> None:
    """Run a whole study of a synthetic world in a few minutes; no data are needed.

    Climate, soils and true parameters are generated, and profiles are sampled from them with
    measurement error. The study then treats the world like real data, and its report compares the
    recovered parameters with the true ones. Repeat the command to resume an interrupted run.
    """
    from proda.cli.console import console
    from proda.cli.run import run_and_print
    from proda.study.demo import make_demo
    from proda.study.settings import read_study

    with console.status("Generating the synthetic world"):
        study = make_demo(folder)
    console.print(f"Settings: {study}", highlight=False, soft_wrap=True)
    run_and_print(read_study(study), folder / "study")
