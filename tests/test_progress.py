"""Progress of work in stages: every count begins anew."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from proda.cli import console


@pytest.fixture
def bar(monkeypatch):
    """A bar without a terminal, and what it prints."""
    monkeypatch.setattr(console, "errors", Console(file=io.StringIO(), force_terminal=False))
    with console.progress("") as made:
        yield made


def line(bar) -> str:
    (task,) = bar.tasks
    return console.report(task, "").partition(" ")[2].partition(" ")[2]


def test_a_finished_count_does_not_silence_the_next(bar):
    stages = console.Stages(bar)
    stages.begin("clm5/projection")
    stages.count("clm5/projection (cells, before)", 50, 50)
    assert bar.tasks[0].finished
    stages.count("clm5/projection (cells, end to end)", 10, 50)
    assert not bar.tasks[0].finished
    assert line(bar).startswith("clm5/projection (cells, end to end): 10 of 50 (20%)")


def test_what_counts_nothing_shows_no_count_of_what_was_before(bar):
    stages = console.Stages(bar)
    stages.count("training", 8, 8)
    stages.begin("places left out")
    assert line(bar).startswith("places left out, ")
    stages.count("rows", 1, 4)
    stages.count("rows, other words", 2, 4)  # the same count goes on
    assert len(bar.tasks) == 1
    assert line(bar).startswith("rows, other words: 2 of 4 (50%)")
