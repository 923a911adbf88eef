"""Totals, profiles along latitude and comparison, by hand on grids small enough for that."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.errors import FileError, MapError
from proda.files import write_netcdf
from proda.latitude import ZONES, in_zone
from proda.maps.map_comparison import compare, on_same_grid
from proda.maps.totals import by_latitude, ensemble_by_latitude, land_area, open_map, totals
from proda.weighted import correlation, quantile

LAT, LON = np.array([60.0, 30.0, 0.0, -30.0]), np.array([-90.0, 0.0, 90.0])
AREA = np.array([[10.0] * 3, [20.0] * 3, [30.0] * 3, [20.0] * 3])  # km2
FRACTION = np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 0.0], [0.5, 0.0, 1.0], [1.0, 0.0, 0.0]])
STOCK = np.array([[8.0, 4.0, 9.9], [2.0, 1.0, 9.9], [6.0, 9.9, 3.0], [5.0, 9.9, 9.9]])  # kg m-2


def tiny_map() -> xr.Dataset:
    """Two members: the first has STOCK, the second twice as much but no answer at 30 S."""
    land = FRACTION > 0
    carbon = np.where(land, STOCK * AREA * FRACTION, 0).sum(axis=1) * 1e-6
    area = (AREA * FRACTION).sum(axis=1)
    both = np.stack([carbon, 2 * carbon * np.array([1, 1, 1, 0])])
    axes = {"lat": LAT, "lon": LON, "stock": ["cSoil"], "realization": [1, 2]}
    grid = ("lat", "lon")
    return xr.Dataset(
        {
            "cSoil": (grid, np.where(land, STOCK, np.nan), {"units": "kg m-2"}),
            "cell_area": (grid, AREA, {"units": "km2"}),
            "land_fraction": (grid, FRACTION),
            "reason": (grid, np.where(land, 0.0, np.nan)),
            "member_carbon": (("realization", "lat", "stock"), both[..., None]),
            "member_area": (("realization", "lat"), np.stack([area, area * [1, 1, 1, 0]])),
        },
        coords=axes,
        attrs={"model": "clm5"},
    )


def test_totals_by_hand():
    table = totals(tiny_map())
    # 60 N: 8 x 10 + 4 x 5 = 100; 30 N: 40 + 20 = 60; 0: 6 x 15 + 3 x 30 = 180; 30 S: 100
    for zone, first, second in (
        ("globe", 440, 680),
        ("boreal", 100, 200),
        ("northern temperate", 60, 120),
        ("tropics", 180, 360),
        ("southern temperate", 100, 0),
    ):
        row = table.loc[(zone, "cSoil")]
        np.testing.assert_allclose(row["mean"], (first + second) / 2 * 1e-6)
        np.testing.assert_allclose(row["sd"], abs(first - second) / np.sqrt(2) * 1e-6)
        low, high = sorted((first, second))
        np.testing.assert_allclose(row["q05"], (low + 0.05 * (high - low)) * 1e-6)
        np.testing.assert_allclose(row["q95"], (low + 0.95 * (high - low)) * 1e-6)
    np.testing.assert_allclose(table.loc[("globe", "cSoil"), "land"], (15 + 40 + 45 + 20) * 1e-6)
    # the second member has no answer at 30 S: a total of less land, and it says so
    np.testing.assert_allclose(table.loc[("globe", "cSoil"), "answered"], (120 + 100) / 2 / 120)
    np.testing.assert_allclose(table.loc[("southern temperate", "cSoil"), "answered"], 0.5)
    np.testing.assert_allclose(table.loc[("tropics", "cSoil"), "answered"], 1.0)


def test_zones_cover_every_latitude_once():
    lat = np.concatenate([np.linspace(-90, 90, 721), [23.5, -23.5, 50.0]])
    np.testing.assert_array_equal(sum(in_zone(lat, zone).astype(int) for zone in ZONES), 1)


def test_one_member_has_totals_without_spread():
    table = totals(tiny_map().isel(realization=[0]))
    np.testing.assert_allclose(table.loc[("globe", "cSoil"), "mean"], 440e-6)
    assert np.isnan(table.loc[("globe", "cSoil"), ["sd", "q05", "q95"]].to_numpy(float)).all()


def test_profile_along_latitude_by_hand():
    dataset = tiny_map()
    profile = by_latitude(dataset["cSoil"], land_area(dataset), width=30.0)
    # bands -30..0, 0..30, 30..60, 60..90, a centre on an edge lies in the band above
    np.testing.assert_allclose(profile["lat"], [-15.0, 15.0, 45.0, 75.0])
    np.testing.assert_allclose(profile["land"], [20.0, 45.0, 40.0, 15.0])
    np.testing.assert_allclose(profile["mean"], [5.0, 4.0, 1.5, 100 / 15])
    np.testing.assert_allclose(profile["median"], [5.0, 3.0, 1.0, 8.0])  # by land, not by cell
    np.testing.assert_allclose(profile["q05"], [5.0, 3.0, 1.0, 4.0])
    np.testing.assert_allclose(profile["q95"], [5.0, 6.0, 2.0, 8.0])
    assert profile["median"].attrs["units"] == "kg m-2"


def test_profile_of_the_members():
    profile = ensemble_by_latitude(tiny_map(), "cSoil", width=30.0)
    np.testing.assert_allclose(profile["lat"], [15.0, 45.0, 75.0])  # 30 S: not in all members
    np.testing.assert_allclose(profile["mean"], [6.0, 2.25, 10.0])
    np.testing.assert_allclose(profile["q05"], [4.2, 1.575, 7.0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 5)), min_size=1, max_size=12),
    st.floats(0.01, 1.0),
)
def test_weighted_quantile_is_that_of_repeated_values(pairs, q):
    values, weights = (np.array(x, float) for x in zip(*pairs, strict=True))
    repeated = np.repeat(values, weights.astype(int))
    expected = np.quantile(repeated, q, method="inverted_cdf")
    reach = q * len(repeated)
    if abs(reach - round(reach)) > 1e-6:  # at a step both neighbours are right
        assert quantile(values, weights, q) == expected


def test_comparison_by_hand():
    dataset = tiny_map()
    area = land_area(dataset)
    reference = dataset["cSoil"] * 2 + 1
    reference = reference.where(reference["lat"] > -20).assign_attrs(units="kgC m-2")
    turned = reference.isel(lat=slice(None, None, -1))  # files run either way
    table = compare(dataset["cSoil"], turned, area)
    globe = table.loc["globe"]
    assert globe["cells"] == 6
    np.testing.assert_allclose(globe["land"], 100e-6)
    np.testing.assert_allclose(globe["total"], 340e-6)
    np.testing.assert_allclose(globe["reference_total"], 780e-6)
    np.testing.assert_allclose(globe["bias"], -4.4)
    np.testing.assert_allclose(globe["relative_bias"], 340 / 780 - 1)
    squares = np.array([81, 25, 9, 4, 49, 16]) * [10, 5, 20, 20, 15, 30]
    np.testing.assert_allclose(globe["rmse"], np.sqrt(squares.sum() / 100))
    np.testing.assert_allclose(table.loc["boreal", "bias"], -(9 * 10 + 5 * 5) / 15)
    assert table.loc["southern temperate", "cells"] == 0
    assert np.isnan(table.loc["southern temperate", "bias"])
    x = np.log([8, 4, 2, 1, 6, 3])
    y = np.log([17, 9, 5, 3, 13, 7])
    cov = np.cov(x, y, aweights=[10, 5, 20, 20, 15, 30])
    np.testing.assert_allclose(globe["r_log"], cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))


def test_a_cell_without_carbon_has_no_logarithm_but_counts_otherwise():
    dataset = tiny_map()
    empty = dataset["cSoil"].where(dataset["lon"] != -90.0, 0.0)
    row = compare(empty, dataset["cSoil"], land_area(dataset)).loc["globe"]
    assert (row["cells"], row["cells_log"]) == (7, 3)


def test_what_cannot_be_compared_is_refused():
    dataset = tiny_map()
    area = land_area(dataset)
    shifted = dataset["cSoil"].assign_coords(lon=LON + 20.0)
    with pytest.raises(MapError, match="on another grid: no cell at lon -90"):
        compare(dataset["cSoil"], shifted, area)
    with pytest.raises(MapError, match="reference map is in 'g m-2'"):
        compare(dataset["cSoil"], dataset["cSoil"].assign_attrs(units="g m-2"), area)
    with pytest.raises(MapError, match="no common cell"):
        compare(dataset["cSoil"], dataset["cSoil"] * np.nan, area)
    east = dataset["cSoil"].assign_coords(lon=LON % 360).sortby("lon")
    aligned = on_same_grid(east, dataset)["cSoil"]
    np.testing.assert_array_equal(aligned, dataset["cSoil"])


def test_correlation_of_too_little_or_of_constants_is_missing():
    one = np.ones(5)
    assert np.isnan(correlation(one[:2], one[:2] * 2, one[:2]))
    assert np.isnan(correlation(one, np.arange(5.0), one))
    assert correlation(np.arange(5.0), -np.arange(5.0), one) == pytest.approx(-1.0)


def test_opening_what_is_no_map(tmp_path):
    write_netcdf(xr.Dataset({"x": ("lat", [1.0])}), tmp_path / "x.nc")
    with pytest.raises(MapError, match="not a proda map"):
        open_map(tmp_path / "x.nc")
    with pytest.raises(FileError, match="no such file"):
        open_map(tmp_path / "y.nc")


@pytest.mark.data
def test_totals_of_the_reference_maps_are_those_their_makers_state(real_data):
    path = real_data / "grids" / "reference_halfdeg.nc"
    if not path.exists():
        pytest.skip(f"no real data: {path} is absent (set PRODA_DATA)")
    with xr.open_dataset(path) as opened:
        dataset = opened.load()
    mask = dataset["land_mask"] == 1
    found = {}
    for name, share in (
        ("soc_model_mimics", "land_fraction"),
        ("soc_0_100_hwsd2", "soil_fraction"),
        ("soc_0_30_whrc_2010", "whrc_valid_fraction"),
    ):
        area = (dataset["cell_area"] * dataset[share]).astype(float).where(mask, 0.0)
        table = compare(dataset[name], dataset[name], area)
        found[name] = table.loc["globe", "total"]
        assert table.loc["globe", "r_log"] == pytest.approx(1.0)
    stated = {"soc_model_mimics": 1050.33, "soc_0_100_hwsd2": 1371.75, "soc_0_30_whrc_2010": 852.81}
    pd.testing.assert_series_equal(pd.Series(found), pd.Series(stated), rtol=2e-4)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d.drop_vars("lat"), "not a proda map; it lacks lat"),
        (lambda d: d.assign_coords(lat=[60.0, np.nan, 0.0, -30.0]), r"lat\[1\] is nan"),
        (lambda d: d.assign_coords(lat=[60.0, 0.0, 0.0, -30.0]), "lat contains 0 twice"),
        (lambda d: d.assign(cell_area=-d["cell_area"]), "cell_area is -10 at lat 60, lon -90"),
        (lambda d: d.assign(land_fraction=100 * d["land_fraction"]), "land_fraction is 100"),
        (lambda d: d.assign(cell_area=d["cell_area"].where(d["lat"] < 50)), "cell_area is nan"),
    ],
)
def test_a_map_that_cannot_be_is_refused(tmp_path, change, what):
    """Without an axis, positions were taken for degrees: all carbon lay in the tropics."""
    change(tiny_map()).to_netcdf(tmp_path / "m.nc")
    with pytest.raises(MapError, match=what):
        open_map(tmp_path / "m.nc")
    tiny_map().to_netcdf(tmp_path / "good.nc")
    assert totals(open_map(tmp_path / "good.nc")).equals(totals(tiny_map()))
