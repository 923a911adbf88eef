"""Which tests go to one process together, which start first, and which are slow.

Several processes share the tests (pytest-xdist). The tests of a file share fixtures and compiled
programs, so they stay together, unless they are named here; the groups that take longest start
first, so that the processes end at about the same time. (The names by which pytest-xdist 3.8 marks
groups are without effect in pytest 9.2.)
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ALONE = ("test_samplers.py",)
"""Files whose tests share nothing: each may go to a process of its own."""
TOGETHER = {
    "test_stream_training.py": "test_end_to_end.py",
    "test_cli_assimilate.py": "test_assimilation_run.py",
    "test_interruptions.py": "test_assimilation_run.py",
}
"""Files that share compiled programs, or a training, with another file, which counts for both."""
OPTIMISED = (
    "test_closed_forms.py",
    "test_laws.py",
    "test_mimics_published.py",
    "test_parity.py",
    "test_samplers.py",
    "test_solvers.py",
)
"""Files that judge the last digits of the models and the draws of the samplers, marked `optimised`.

`make test` runs them in processes of their own, with programs that XLA optimises as for users. In
all others it compiles quickly (tests/conftest.py).
"""
SECONDS = {
    "test_study_run.py": 100,
    "test_stream_training.py": 100,
    "test_end_to_end.py": 170,
    "test_assimilation_run.py": 80,
    "test_manual.py": 50,
    "test_laws.py": 45,
    "test_model_contract.py": 60,
    "test_samplers.py": 75,
    "test_structures.py": 20,
    "test_transient.py": 40,
    "test_comparison.py": 25,
    "test_outside_study.py": 35,
    "test_maps_run.py": 35,
    "test_compas_reverse.py": 30,
    "test_evaluation_train.py": 25,
    "test_python_interface.py": 25,
    "test_report.py": 25,
    "test_blocks.py": 20,
    "test_general_steady_state.py": 20,
    "test_streams.py": 60,
    "test_maps_stage.py": 20,
    "test_refits.py": 20,
    "test_closed_forms.py": 15,
    "test_inversion.py": 15,
    "test_learning_ensemble.py": 15,
    "test_learning_train.py": 15,
    "test_many_models.py": 15,
    "test_outside_models.py": 15,
    "test_projection_maps.py": 15,
    "test_simulate.py": 15,
    "test_attribution.py": 12,
    "test_clm.py": 12,
    "test_learning_tuning.py": 12,
    "test_leaching_model.py": 25,
    "test_new_model.py": 12,
    "test_parity.py": 10,
    "test_study_assimilated.py": 12,
    "test_study_trained.py": 35,
    "test_cli_assimilate.py": 10,
    "test_docs.py": 10,
    "test_projection_columns.py": 10,
    "test_radiocarbon.py": 12,
    "test_rto.py": 15,
}
"""About how many seconds of processor time a slow file takes where nothing is compiled yet.

Those of other files are not marked `slow`.
"""


def file_of(nodeid: str) -> str:
    """Return the file of a test, below tests/."""
    return nodeid.partition("::")[0].removeprefix("tests/")


def group_of(nodeid: str) -> str:
    """Return the group of a test."""
    file = file_of(nodeid)
    return nodeid if file in ALONE else TOGETHER.get(file, file)


def mark(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files and of those that are optimised, for `pytest -m`."""
    for item in items:
        file = file_of(item.nodeid)
        if file in SECONDS:
            item.add_marker(pytest.mark.slow)
        if file in OPTIMISED:
            item.add_marker(pytest.mark.optimised)


class LongestFirst(LoadScopeScheduling):
    """Keep groups together and begin with the longest."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        longest = max(self.workqueue, key=lambda group: SECONDS.get(file_of(group), 0))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    """Return this order, whatever --dist says."""
    config.option.loadscopereorder = False
    return LongestFirst(config, log)


if __name__ == "__main__":
    print(*(f"tests/{file}" for file in OPTIMISED))
