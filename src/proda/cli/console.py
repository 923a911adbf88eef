"""Printing: tables, progress with time left, errors."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from proda.errors import printable

LONGEST_NAME = 40
"""Number of characters of a name in the first column of a table that are never wrapped."""

REPORT_EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal."""

BEGUN = "begun"
"""Field of a task: when it was first counted, and how much was done by then."""


class SafeConsole(Console):
    """A console that removes control sequences, so that text from files can be shown safely."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the output; all text, tables and progress are printed through this method."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


# Names and messages are printed unchanged: [mine] is not markup, and a:x:1 is not an emoji.
console = SafeConsole(markup=False, emoji=False)
errors = SafeConsole(stderr=True, markup=False, emoji=False)


def formatted(value: Any, form: str) -> str:
    """Return a number by a format; a dash where there is none (NaN)."""
    return "-" if math.isnan(value) else format(value, form)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()
) -> None:
    """Print rows as a table; `right` are the positions of right-aligned (number) columns.

    Numbers are never truncated; on a narrow terminal, long names and texts are wrapped.
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
    """Return a progress bar on stderr that counts `unit` and shows the time left.

    If stderr is not a terminal (a log file, a batch job), it prints a line every minute instead.
    """
    return _Reported(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        _TimeLeft(),
        console=errors,
        transient=True,
        unit=unit,
    )


class _TimeLeft(ProgressColumn):
    """The time left."""

    max_refresh = 0.5  # seconds, so that it does not flicker

    def render(self, task: Task) -> Text:
        left = time_left(task)
        return Text("-:--:--" if left is None else _time(left), style="progress.remaining")


class _Reported(Progress):
    """A bar on a terminal; otherwise lines with the same text at regular intervals."""

    def __init__(self, *columns: ProgressColumn, unit: str, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._unit = unit
        self._ended = threading.Event()

    def start(self) -> None:
        super().start()
        if not self.console.is_terminal:
            self._ended.clear()
            threading.Thread(target=self._report, name="progress", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        super().stop()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Update a task, and note with which count it began: a resumed one does not with 0."""
        super().update(task_id, **changes)
        task = self._tasks[task_id]
        if changes.get("completed") is not None and BEGUN not in task.fields:
            task.fields[BEGUN] = (task.get_time(), task.completed)

    def _report(self) -> None:
        while not self._ended.wait(REPORT_EVERY):
            for task in self.tasks:
                if not task.finished and task.description:
                    self.console.print(report(task, self._unit), highlight=False, soft_wrap=True)


class Stages:
    """The bar of one stage after the other: each begins anew, and so does each count in it."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def begin(self, description: str) -> None:
        """Show what is done now, with nothing counted."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(description, total=None)

    def count(self, description: str, done: float, total: float) -> None:
        """Show how much is done; a count that starts again, or of something else, begins anew."""
        task = next(one for one in self._bar.tasks if one.id == self._task)
        if task.total is not None and (total != task.total or done < task.completed):
            self.begin(description)
        self._bar.update(self._task, description=description, completed=done, total=total)


def report(task: Task, unit: str) -> str:
    """Return the progress of a task in one line: the text of its bar, with the time."""
    line = f"{datetime.now():%Y-%m-%d %H:%M:%S} {task.description}"
    if task.total:
        line += f": {task.completed:,.0f} of {task.total:,.0f} {unit}".rstrip()
        line += f" ({task.completed / task.total:.0%})"
    if task.elapsed is not None:
        line += f", {_time(task.elapsed)} so far"
    if (left := time_left(task)) is not None:
        line += f", about {_time(left)} left"
    return line


def time_left(task: Task) -> float | None:
    """Return the seconds that a task will take if it goes on as it did since it was first counted.

    Rich's own estimate looks at the last 30 seconds, in which blocks of sites that take minutes are
    done by chance. There is none before anything was done.
    """
    if task.total is None or BEGUN not in task.fields:
        return None
    begun, before = task.fields[BEGUN]
    if task.completed <= before:
        return None
    return (task.total - task.completed) * (task.get_time() - begun) / (task.completed - before)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
