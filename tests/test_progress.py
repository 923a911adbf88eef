"""Progress of work in stages: every count begins anew, and says when it will be done."""

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


@pytest.fixture
def now(bar):
    """The time of the bar, set by hand."""
    time = [0.0]
    bar.get_time = lambda: time[0]
    return time


def test_time_left_is_that_of_all_work_of_a_resumed_count(bar, now):
    task = bar.add_task("assimilation", total=1000)
    assert console.time_left(bar.tasks[0]) is None
    bar.update(task, completed=600)  # done before
    now[0] = 90.0
    assert console.time_left(bar.tasks[0]) is None
    bar.update(task, completed=650)
    now[0] = 100.0  # another worker ends soon afterwards: not 50 sites in 10 seconds
    bar.update(task, completed=700)
    assert console.time_left(bar.tasks[0]) == 300.0
    now[0] = 160.0  # nothing ended for a minute
    assert console.time_left(bar.tasks[0]) == 480.0
    assert console.report(bar.tasks[0], "sites").endswith("0:02:40 so far, about 0:08:00 left")
    column = bar.columns[-1]
    assert str(column.render(bar.tasks[0])) == "0:08:00"


def test_time_left_begins_anew_with_each_count(bar, now):
    stages = console.Stages(bar)
    stages.count("a", 0, 10)
    now[0] = 5.0
    stages.count("a", 1, 10)
    assert console.time_left(bar.tasks[0]) == 45.0
    stages.count("b", 0, 3)
    now[0] = 7.0
    stages.count("b", 1, 3)
    assert console.time_left(bar.tasks[0]) == 4.0
