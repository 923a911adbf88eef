"""Printing: tables, progress with time left, errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table

from proda.errors import printable

LONGEST_NAME = 40
"""Characters of a name in the first column of a table that is never wrapped."""


class SafeConsole(Console):
    """A console on which text from files can be shown: it cannot command the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed; all printing of text, tables and progress comes through here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


# Names and messages are printed as they are: [mine] is no markup, and a:x:1 holds no emoji.
console = SafeConsole(markup=False, emoji=False)
errors = SafeConsole(stderr=True, markup=False, emoji=False)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()
) -> None:
    """Print rows as a table; `right` are the positions of right-aligned (number) columns.

    Numbers are never cut; where the terminal is too narrow, long names and texts are wrapped.
    """
    rightmost = set(right)
    rows = [[printable(str(cell)) for cell in row] for row in rows]
    names = max((len(row[0]) for row in rows), default=0)
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
    )
    for i, column in enumerate(columns):
        number = i in rightmost
        table.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=number or (i == 0 and names <= LONGEST_NAME),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def progress(unit: str) -> Progress:
    """Return a progress bar on stderr that counts `unit` and shows the time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
