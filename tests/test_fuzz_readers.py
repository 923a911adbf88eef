"""No damaged input ends in a traceback, hangs, or passes as other values despite a checksum."""

from __future__ import annotations

import pytest

from tests.fuzz_readers import DIED, HANG, TRACEBACK, kinds, run

INPUTS = 12
"""Of each kind; `python -m benchmarks.fuzz` tries thousands."""


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_damage_is_refused_or_changes_nothing(kind, tmp_path):
    tally = run(kind, tmp_path, range(1000, 1000 + INPUTS))
    assert not tally.faults
    assert not any(tally.outcomes[bad] for bad in (TRACEBACK, HANG, DIED))
    assert tally.outcomes["refused"] > 0  # the damage reaches the reader
