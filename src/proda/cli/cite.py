"""`proda cite`: the publications to cite for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proda.cli.app import app


@app.command(epilog="Examples: `proda cite results` · `proda cite results --bibtex > proda.bib`")
def cite(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a study, of an assimilation, of a network or of soil profiles."
        ),
    ],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX entries.")] = False,
) -> None:
    """Print the publications to cite for the models, samplers, kinetics, forcing and data of a run.

    Data without a stated source are listed on standard error.
    """
    from proda.citations import cite as citations_of
    from proda.citations import software
    from proda.cli.console import console, errors

    citations = citations_of(run)
    if bibtex:
        typer.echo(citations.bibtex())
    else:
        console.print(software(), highlight=False, soft_wrap=True)
        for work in citations.table().itertuples():
            console.print(f"\n{work.reference}", highlight=False, soft_wrap=True)
            console.print(f"  for: {work.purpose}", highlight=False, soft_wrap=True)
    for sentence in citations.missing:
        errors.print(f"Missing: {sentence}", style="yellow", highlight=False, soft_wrap=True)
