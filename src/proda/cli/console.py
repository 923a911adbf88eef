"""Printing: tables, progress with time left, errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

console = Console()
errors = Console(stderr=True)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()
) -> None:
    """Print rows as a table; `right` are the positions of right-aligned (number) columns."""
    rightmost = set(right)
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i in rightmost else "left", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)


def progress(unit: str) -> Progress:
    """Return a progress bar on stderr that counts `unit` and shows the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
