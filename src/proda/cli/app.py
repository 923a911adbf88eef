"""The application with which every noun registers its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from proda.cli.numbers import StrictNumbers

app = typer.Typer(
    name="proda",
    cls=StrictNumbers,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="Confront soil-carbon models with measured soil profiles.",
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"proda {version('proda')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
