"""Predicted cost: exact where time follows the law it assumes, and refused where it cannot know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.errors import MapError
from proda.maps.map_cost import MeasuredRun, array_bytes, predict_cost


def measured(start, cell, column, land, members, base=8e8):
    seconds = start + land * (cell + column * members)
    peak = base + array_bytes(land, 4 * land, members)
    return MeasuredRun(land, 4 * land, members, seconds, peak, 1000.0 * land)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 10.0), st.floats(1e-5, 1e-2), st.floats(1e-6, 1e-3))
def test_time_of_three_runs_is_found_again(start, cell, column):
    runs = [measured(start, cell, column, n, m) for n, m in ((60_000, 10), (60_000, 2), (6000, 10))]
    found = predict_cost(runs, 6_000_000, 24_000_000, 50)
    np.testing.assert_allclose(found.seconds, start + 6e6 * (cell + 50 * column), rtol=1e-5)
    np.testing.assert_allclose(found.disk_bytes, 6e9)
    np.testing.assert_allclose(
        found.peak_bytes, 8e8 + array_bytes(6_000_000, 24_000_000, 50), rtol=1e-9
    )


def test_one_run_scales_with_its_cells():
    run = measured(0.0, 1e-3, 1e-4, 1000, 10)
    assert predict_cost([run], 5000, 20_000, 10).seconds == pytest.approx(5 * run.seconds)
    with pytest.raises(MapError, match="have 10 members; the cost with 20 needs a second run"):
        predict_cost([run], 5000, 20_000, 20)
    with pytest.raises(MapError, match="No measured run"):
        predict_cost([], 5000, 20_000, 10)


def test_memory_grows_with_the_grid_far_less_than_with_its_columns():
    half, fine = array_bytes(62_399, 259_200, 10), array_bytes(6_239_900, 25_920_000, 10)
    assert fine < 20 * half  # a hundred times the cells
    assert array_bytes(10**6, 10**6, 1000) > array_bytes(10**6, 10**6, 100)
