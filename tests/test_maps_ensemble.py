"""Mean, spread and quantiles over members that count, against NumPy on those members alone."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.maps.map_plan import most_common
from proda.maps.map_variables import NO_PARAMETERS
from proda.maps.member_statistics import suffix, summarise


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 7), st.integers(1, 5), st.booleans())
def test_equals_numpy_on_the_members_that_count(data, members, cells, layered):
    shape = (members, cells, 3) if layered else (members, cells)
    values = data.draw(hnp.arrays(float, shape, elements=st.floats(-1e6, 1e6)))
    counts = data.draw(hnp.arrays(bool, (members, cells)))
    soiled = np.where(counts.reshape(*counts.shape, *[1] * (values.ndim - 2)), values, np.nan)
    found = summarise(soiled, counts, (0.05, 0.5, 0.95))
    assert list(found) == ["", "_sd", "_q05", "_q50", "_q95"]
    for i in range(cells):
        one = values[counts[:, i], i]
        if len(one) == 0:
            assert all(np.isnan(array[i]).all() for array in found.values())
            continue
        close = {"rtol": 1e-9, "atol": 1e-8}
        np.testing.assert_allclose(found[""][i], one.mean(axis=0), **close)
        for q in (0.05, 0.5, 0.95):
            np.testing.assert_allclose(found[suffix(q)][i], np.quantile(one, q, axis=0), **close)
        if len(one) == 1:
            assert np.isnan(found["_sd"][i]).all()
        else:
            np.testing.assert_allclose(found["_sd"][i], one.std(axis=0, ddof=1), **close)


def test_what_does_not_count_may_hold_anything():
    values = np.array([[1.0, 2.0], [3.0, np.inf], [1e300, -1e300]])
    counts = np.array([[True, True], [True, False], [False, False]])
    found = summarise(values, counts)
    np.testing.assert_array_equal(found[""], [2.0, 2.0])
    np.testing.assert_allclose(found["_sd"], [np.sqrt(2.0), np.nan])
    np.testing.assert_allclose(found["_q05"], [1.1, 2.0])


def test_one_member_has_no_spread():
    assert list(summarise(np.ones((1, 4)), np.ones((1, 4), bool))) == [""]


def test_a_cell_takes_its_most_frequent_reason_only_without_any_answer():
    reason = np.array([[0, 1, 1, 2, NO_PARAMETERS], [1, 1, 2, 1, NO_PARAMETERS], [1, 0, 2, 3, 1]])
    np.testing.assert_array_equal(most_common(reason), [0, 0, 2, 1, NO_PARAMETERS])
