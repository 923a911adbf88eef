"""Comparison of maps without and with 14C (benchmarks/radiocarbon_maps.py), on made-up maps."""

import numpy as np
import pytest
import xarray as xr
from benchmarks.radiocarbon_maps import (
    AGE,
    DEAD,
    KINDS,
    STOCK,
    VARIABLES,
    age_table,
    between_models,
    common_land,
    over_runs,
    within_models,
)

MODELS = ["first", "second"]
LAT, LON = np.arange(-60.0, 75.0, 15.0), np.arange(-170.0, 180.0, 20.0)


def one_map(noise: float, seed: int) -> xr.Dataset:
    """Return a map whose variables follow one pattern, with noise of its own."""
    shape = (len(LAT), len(LON))
    pattern = np.random.default_rng(0).normal(size=shape)
    own = np.random.default_rng(seed)
    values = {
        name: (("lat", "lon"), np.exp(pattern + noise * own.normal(size=shape)))
        for name in set(VARIABLES.values())
    }
    area = np.cos(np.deg2rad(LAT))[:, None] * np.full(shape, 1e4)
    values |= {
        "cell_area": (("lat", "lon"), area),
        "land_fraction": (("lat", "lon"), 0.5 + 0 * area),
    }
    values["reason"] = (("lat", "lon"), np.zeros(shape))
    return xr.Dataset(values, coords={"lat": LAT, "lon": LON})


@pytest.fixture
def maps() -> dict:
    """Return maps that agree closely with 14C and hardly without."""
    noise = {"carbon": 4.0, "both": 0.1, "default": 0.0}
    return {
        (model, kind): one_map(noise[kind], seed=10 * i + j)
        for i, model in enumerate(MODELS, 1)
        for j, kind in enumerate((*KINDS, "default"))
    }


def test_agreement_is_said_to_rise_where_it_rises(maps):
    table = between_models(maps, MODELS, common_land(maps)).set_index("variable")
    assert list(table.index) == list(VARIABLES)
    for name in ("ln carbon, 0-100 cm", "ln K"):
        row = table.loc[name]
        assert row["both_r"] > 0.95 > 0.5 > row["carbon_r"]
        assert row["gain"] == pytest.approx(row["both_r"] - row["carbon_r"])
        assert row["gain_low"] > 0


def test_only_cells_with_carbon_and_an_age_in_all_maps_count(maps):
    maps["first", "both"][STOCK][0, 0] = np.nan
    maps["second", "carbon"][AGE][1, 1] = np.inf
    land = common_land(maps)
    assert (land == 0).sum() == 2
    assert float(land[0, 0]) == float(land[1, 1]) == 0
    assert float(land[2, 2]) == pytest.approx(0.5e4 * np.cos(np.deg2rad(LAT[2])))


def test_ages_count_by_carbon_and_by_land(maps):
    one = maps["first", "both"]
    one[STOCK][:], one[AGE][:] = 10.0, 1000.0
    one[STOCK][0], one[AGE][0] = 40.0, 2 * DEAD
    land = common_land(maps)
    table = age_table(maps, land).set_index(["model", "kind", "zone"])
    row, south = table.loc["first", "both", "globe"], land[0].sum().item()
    share = 4 * south / (4 * south + land[1:].sum().item())
    assert row["share_dead"] == pytest.approx(share)
    assert row["age_mean"] == pytest.approx(share * 2 * DEAD + (1 - share) * 1000.0)
    assert row["carbon_pg"] == pytest.approx((40 * south + 10 * land[1:].sum().item()) * 1e-6)
    assert row["age_median_of_land"] == 1000.0
    assert table.loc["first", "both", "southern temperate"]["age_q50"] == 2 * DEAD


def test_a_model_is_compared_with_itself_and_runs_with_each_other(maps):
    maps["first", "both"] = maps["first", "carbon"].copy(deep=True)
    maps["first", "both"][AGE] *= np.e
    tables = [within_models(maps, MODELS, common_land(maps)) for _ in range(2)]
    row = tables[0].set_index(["model", "variable"]).loc["first", "ln mean age, 0-100 cm"]
    assert row["r"] == pytest.approx(1.0)
    assert row["median_change"] == pytest.approx(1.0)
    tables[1]["r"] -= 0.25
    text = over_runs(tables, ["model", "variable"])
    assert "lowest" in text
    assert "0.875" in text
