"""Which tests go to one process together, and which start first.

Several processes share the tests (pytest-xdist). The tests of a file share fixtures and compiled
programs, so they stay together, unless they are named here; the groups that take longest start
first, so that the processes end at about the same time.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ALONE = ("test_samplers.py",)
"""Files whose tests share nothing: each may go to a process of its own."""
TOGETHER = {
    "test_cli_assimilate.py": "test_assimilation_run.py",
    "test_manual.py::test_the_first_run_runs_as_it_is_written": "test_assimilation_run.py",
}
"""Files or tests that share compiled programs with another file."""
SECONDS = {
    "test_study_run.py": 300,
    "test_assimilation_run.py": 200,
    "test_end_to_end.py": 150,
}
"""About how long a group takes, where that is long; the others come in the order of their names."""


def group_of(nodeid: str) -> str:
    """Return the group of a test."""
    file, _, name = nodeid.removeprefix("tests/").partition("::")
    test = f"{file}::{name.partition('[')[0]}"
    if file in ALONE:
        return nodeid
    return TOGETHER.get(test) or TOGETHER.get(file) or file


class LongestFirst(LoadScopeScheduling):
    """Keep groups together and begin with the longest."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        longest = max(self.workqueue, key=lambda group: SECONDS.get(group, 0))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    """Give pytest-xdist this order, whatever --dist says."""
    config.option.loadscopereorder = False
    return LongestFirst(config, log)
