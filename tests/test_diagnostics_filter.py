"""The filter of sites: limits, order of reasons, NaN."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from proda.errors import DiagnosticsError
from proda.inference.diagnostics.filter import Filter, SiteVerdict

NUMBERS = st.sampled_from([np.nan, -np.inf, -1.0, 0.0, 0.5, 1.0, 1.04, 1.05, 2.0, 500.0, np.inf])


def test_limits_of_the_paper():
    kept, verdict = Filter().apply([1.0, 1.05, 1.01, 1.2, np.nan], [0.5, 0.5, 0.0, -1.0, 0.9])
    np.testing.assert_array_equal(kept, [True, False, False, False, False])
    assert [SiteVerdict(v).words for v in verdict] == [
        "kept",
        "not converged",
        "poor fit",
        "not converged",
        "not converged",
    ]


def test_first_reason():
    strict = Filter(max_rank_rhat=1.01, min_ess=400.0)
    kept, verdict = strict.apply(
        gelman_rubin=[1.0, 9.0, 9.0, 1.0, 1.0, 1.0],
        nash_sutcliffe=[0.1, -1, -1, -1, -1, -1],
        rank_rhat=[1.0, 9.0, 9.0, 9.0, 1.0, 1.0],
        ess=[400, 1, 1, 1, 1, 400],
        reason=[0, 2, 0, 0, 0, 0],
    )
    assert verdict.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(kept, verdict == SiteVerdict.KEPT)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 2)), max_size=6))
def test_kept_sites_keep_every_limit(rows):
    rhat, fit, rank, ess, reason = np.array(rows, dtype=float).reshape(-1, 5).T
    limits = Filter(1.05, 0.2, max_rank_rhat=1.05, min_ess=1.0)
    kept, verdict = limits.apply(rhat, fit, rank_rhat=rank, ess=ess, reason=reason)
    good = (reason == 0) & (rhat < 1.05) & (fit > 0.2) & (rank < 1.05) & (ess >= 1.0)
    np.testing.assert_array_equal(kept, good)
    assert not kept[np.isnan([rhat, fit, rank, ess]).any(axis=0)].any()
    one_by_one = [
        limits.apply(rhat[i], fit[i], rank_rhat=rank[i], ess=ess[i], reason=reason[i])[1]
        for i in range(len(rows))
    ]
    assert verdict.tolist() == [int(v) for v in one_by_one]


@pytest.mark.parametrize("name", ["gelman_rubin", "nash_sutcliffe", "rank_rhat", "ess"])
def test_nan_never_passes(name):
    good = {"gelman_rubin": 1.0, "nash_sutcliffe": 1.0, "rank_rhat": 1.0, "ess": 1e6}
    anything = Filter(np.inf, -np.inf, max_rank_rhat=np.inf, min_ess=-np.inf)
    assert anything.apply(**good)[0]
    assert not anything.apply(**(good | {name: np.nan}))[0]


def test_what_is_refused():
    with pytest.raises(DiagnosticsError, match="min_ess is NaN"):
        Filter(min_ess=np.nan)
    with pytest.raises(DiagnosticsError, match="pass rank_rhat"):
        Filter(max_rank_rhat=1.01).apply([1.0], [1.0])
    with pytest.raises(DiagnosticsError, match="nash_sutcliffe has the shape"):
        Filter().apply([1.0, 1.0], [1.0])
