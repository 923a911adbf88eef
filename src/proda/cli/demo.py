"""`proda demo`: a whole study of a made-up world, from profiles to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proda.cli.app import app


@app.command(epilog="Examples: `proda demo` · `proda demo somewhere/else`")
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to write; new, or that of an earlier demo.")
    ] = Path("proda-demo"),
) -> None:
    """Run a whole study of a made-up world in a few minutes; needs no data.

    The world's climate, soils and true parameters are generated, and profiles are measured on it
    with error. The study then does to it what it would do to real data, and its report shows truth
    against what was recovered. An interrupted run continues when called again.
    """
    from proda.cli.console import console
    from proda.cli.run import run_and_print
    from proda.study.demo import make_demo
    from proda.study.settings import read_study

    with console.status("Making a world"):
        study = make_demo(folder)
    console.print(f"Settings: {study}", highlight=False, soft_wrap=True)
    run_and_print(read_study(study), folder / "study")
