"""Skill of carbon in closed form, and what counts as lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from proda.learning.carbon import groups_of
from proda.learning.conformal import LEAST
from proda.learning.metrics import skill_of_rows

OBSERVED = np.array([8.0, 4.0, 2.0, 6.0, 3.0, 5.0])
SITE = np.array([0, 0, 0, 1, 1, 2])


def test_perfect_and_twice_too_much():
    found = np.ones(3, bool)
    best = skill_of_rows(OBSERVED, OBSERVED, SITE, found)
    assert (best["nse"], best["rmse"], best["log_r2"], best["site_nse"]) == (1, 0, 1, 1)
    twice = skill_of_rows(2 * OBSERVED, OBSERVED, SITE, found)
    assert twice["rmse_log"] == pytest.approx(np.log(2))
    assert twice["bias_log"] == pytest.approx(np.log(2))
    assert twice["site_rmse_log"] == pytest.approx(np.log(2))
    assert twice["bias"] == pytest.approx(OBSERVED.mean())
    assert twice["rmse"] == pytest.approx(np.sqrt((OBSERVED**2).mean()))
    assert twice["nse"] == pytest.approx(1 - (OBSERVED**2).sum() / (6 * OBSERVED.var()))
    logs = np.log(OBSERVED)
    assert twice["log_r2"] == pytest.approx(1 - 6 * np.log(2) ** 2 / (6 * logs.var()))
    # by hand: sites 0 and 1 have an NSE, site 2 has one layer only
    first = 1 - (OBSERVED[:3] ** 2).sum() / (3 * OBSERVED[:3].var())
    second = 1 - (OBSERVED[3:5] ** 2).sum() / (2 * OBSERVED[3:5].var())
    assert twice["site_nse"] == pytest.approx(np.median([first, second]))
    assert twice["site_nse_positive"] == 0


def test_lost_sites_are_counted_and_are_the_worst_of_all_sites():
    modelled = np.where(SITE == 0, np.nan, OBSERVED)
    one = skill_of_rows(modelled, OBSERVED, SITE, np.array([False, True, True]))
    assert (one["sites"], one["lost"], one["layers"]) == (3, 1, 3)
    assert one["nse"] == 1  # of the others
    assert one["site_nse_positive"] == 0.5
    assert one["site_rmse_log"] == 0
    two = skill_of_rows(modelled, OBSERVED, SITE, np.array([False, False, True]))
    assert two["site_rmse_log"] == np.inf
    assert two["site_nse"] == -np.inf
    none = skill_of_rows(modelled, OBSERVED, SITE, np.zeros(3, bool))
    assert (none["lost"], none["layers"]) == (3, 0)
    assert np.isnan([none["nse"], none["rmse"], none["log_r2"]]).all()


@pytest.mark.parametrize("empty", [0.0, 1e-30])
def test_carbon_of_zero_is_wrong_as_its_least_value_and_says_so(empty):
    modelled = OBSERVED.copy()
    modelled[1] = empty
    found = skill_of_rows(modelled, OBSERVED, SITE, np.ones(3, bool))
    assert found["no_logarithm"] == 1
    assert found["rmse"] == pytest.approx(np.sqrt(16 / 6))
    off = np.log(OBSERVED[1] / LEAST)
    assert found["rmse_log"] == pytest.approx(off / np.sqrt(6))
    assert found["bias_log"] == pytest.approx(-off / 6)
    assert found["log_r2"] == pytest.approx(1 - off**2 / (6 * np.log(OBSERVED).var()))
    assert found["site_rmse_log"] == 0  # the median of three sites, two of which are exact
    all_zero = skill_of_rows(0 * OBSERVED, OBSERVED, SITE, np.ones(3, bool))
    assert all_zero["no_logarithm"] == 6
    middle = np.sqrt(np.mean(np.log(OBSERVED[3:5] / LEAST) ** 2))  # of the three sites
    assert all_zero["site_rmse_log"] == pytest.approx(middle)
    assert all_zero["rmse_log"] == pytest.approx(
        np.sqrt(np.mean(np.log(OBSERVED / LEAST) ** 2)), rel=1e-12
    )


def test_groups_by_the_middle_of_the_layer_and_the_place_of_the_site():
    from tests.training_worlds import BOTTOMS, TOPS, N, _empty

    table = pd.DataFrame(
        {
            "site": [f"s{i}" for i in range(N)],
            "latitude": np.linspace(-60, 60, N),
            "longitude": 0.0,
            "koppen_class": ["Dfb", "ET"] * (N // 2),
        }
    )

    class Layers:
        profiles = _empty(table)
        row_site = np.repeat(np.arange(N), len(TOPS))

    groups = groups_of(Layers(), table)  # type: ignore[arg-type]
    middle = np.tile(0.5 * (TOPS + BOTTOMS), N)
    np.testing.assert_array_equal(groups["depth"] == "0-30 cm", middle < 30)
    np.testing.assert_array_equal(groups["depth"] == "30-100 cm", middle >= 30)
    latitude = np.abs(table["latitude"].to_numpy())[Layers.row_site]
    np.testing.assert_array_equal(groups["zone"] == "boreal", latitude >= 50)
    np.testing.assert_array_equal(groups["zone"] == "tropics", latitude < 23.5)
    assert set(groups["koeppen"]) == {"D cold", "E polar"}
