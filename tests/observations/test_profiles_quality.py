import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.errors import ObservationError
from proda.observations import duplicates
from proda.observations.land import LandMask, open_land_mask
from proda.observations.quality import judge
from proda.observations.quality_rules import LAYER_REASONS, PROFILE_REASONS, Rules
from proda.observations.readers.base import LAYER_FIELDS, PROFILE_FIELDS

GOOD = [(0.0, 0.2, 20.0), (0.2, 0.4, 10.0), (0.4, 0.8, 5.0)]


def frame(rows, fields):
    table = pd.DataFrame(rows)
    for column in fields:
        if column.name not in table:
            numeric = str(column.type) in ("double", "int32")
            table[column.name] = np.nan if numeric else None
    return table


def profile_rows(*rows):
    base = {"profile_id": "s:p", "source": "s", "lat": 10.0, "lon": 20.0}
    return frame([base | row for row in rows] or [base], PROFILE_FIELDS)


def layer_rows(*rows):
    base = {"profile_id": "s:p", "bulk_density": 1300.0}
    return frame([base | row for row in rows], LAYER_FIELDS)


def good_layers(**values):
    return [{"upper_depth": u, "lower_depth": d, "soc": c, **values} for u, d, c in GOOD]


def verdict(profiles, layers, land=None, **rules):
    return judge(profiles, layers, Rules(**rules), land)


def test_a_good_profile_is_kept():
    found = verdict(profile_rows(), layer_rows(*good_layers()))
    assert found.profiles.reason.tolist() == [None]
    assert found.layers.reason.isna().all()
    row = found.profiles.iloc[0]
    assert (row.n_layers, row.top_depth, row.max_depth, row.gap) == (3, 0.0, 0.8, 0.0)


LAYERS = {
    "no_profile_row": {"profile_id": "s:other"},
    "depth_missing": {"lower_depth": np.inf},
    "litter": {"upper_depth": -0.05, "lower_depth": 0.0},
    "depth_inverted": {"upper_depth": 0.9, "lower_depth": 0.85},
    "depth_no_thickness": {"upper_depth": 0.9, "lower_depth": 0.9},
    "depth_implausible": {"lower_depth": 12.0},
    "soc_missing": {"soc": np.nan, "bulk_density": np.nan},
    "row_joined": {"upper_depth": 0.4, "lower_depth": 0.8, "soc": np.nan},
    "soc_negative": {"soc": -1.0},
    "soc_zero": {"soc": 0.0},
    "soc_impossible": {"soc": 601.0},
    "soc_basis_excluded": {"soc_basis": "spectroscopy"},
    "total_carbon_alkaline": {"soc_basis": "total carbon", "ph": 7.5},
    "coarse_impossible": {"coarse": 100.0},
    "density_impossible": {"bulk_density": 2700.0},
    "repeated_layer": {"upper_depth": 0.4, "lower_depth": 0.8, "soc": 5.0},
    "replicate_averaged": {"upper_depth": 0.4, "lower_depth": 0.8, "soc": 7.0},
}


def test_every_reason_has_its_case():
    # A conflict leaves out both rows: see test_profiles_odd_tables.py.
    assert set(LAYERS) | {"values_conflict"} == set(LAYER_REASONS)
    assert set(PROFILES) | {"duplicate"} == set(PROFILE_REASONS)


@pytest.mark.parametrize("reason", LAYERS)
def test_layer_rules(reason):
    extra = {"upper_depth": 0.8, "lower_depth": 1.2, "soc": 3.0} | LAYERS[reason]
    found = verdict(profile_rows(), layer_rows(*good_layers(), extra))
    left_out = found.layers[found.layers.reason.notna()]
    assert left_out.reason.tolist() == [reason]
    assert left_out.by.tolist() == ["layer"]
    # The rest of the profile is still good.
    assert found.profiles.reason.tolist() == [None]


@pytest.mark.parametrize(
    "values",
    [
        {"litter": True},
        {"stock_given": 5e5},
        {"coarse": -1.0},
        {"bulk_density": 5.0},
        {"bulk_density": np.inf},
        {"soc": 400.0, "bulk_density": 1500.0},
        # 1000 kg m-3 of whole soil cannot hold 60 % of its volume as rock of 2650 kg m-3.
        {"bulk_density": 1000.0, "bulk_density_basis": "whole soil", "coarse": 60.0},
    ],
)
def test_more_faults_of_layers(values):
    extra = {"upper_depth": 0.8, "lower_depth": 1.2, "soc": 3.0} | values
    found = verdict(profile_rows(), layer_rows(*good_layers(), extra))
    assert found.layers.reason.notna().sum() == 1


def test_impossible_density_may_be_estimated():
    layers = good_layers()
    layers[0]["bulk_density"] = 2700.0
    found = verdict(profile_rows(), layer_rows(*layers), impossible_density="estimate")
    assert found.layers.reason.isna().all()
    assert np.isnan(found.layers.bulk_density[0])


def test_total_carbon_is_kept_where_carbonate_is_unlikely():
    for ph in (6.0, np.nan):
        layers = layer_rows(*good_layers(soc_basis="total carbon", ph=ph))
        assert verdict(profile_rows(), layers).layers.reason.isna().all()


def test_replicates_are_averaged_into_the_first():
    twin = {"upper_depth": 0.4, "lower_depth": 0.8, "soc": 7.0, "bulk_density": np.nan}
    found = verdict(profile_rows(), layer_rows(*good_layers(), twin))
    kept = found.layers[found.layers.reason.isna()]
    assert kept.soc.tolist() == [20.0, 10.0, 6.0]
    assert kept.bulk_density.tolist() == [1300.0] * 3
    strict = verdict(profile_rows(), layer_rows(*good_layers(), twin), replicates="reject")
    assert strict.profiles.reason.tolist() == ["layers_overlap"]


GLOBE = LandMask(np.zeros((180, 360), dtype=bool), "test")
GLOBE.near[100:102, 200:202] = True  # 10-12 N, 20-22 E

PROFILES = {
    "coordinates_conflict": ([{}, {"lat": 11.0}], GOOD, {}),
    "coordinates_missing": ([{"lat": np.nan}], GOOD, {}),
    "coordinates_swapped": ([{"lat": 20.5, "lon": 10.5}], GOOD, {}),
    "coordinates_out_of_range": ([{"lon": 190.5}], GOOD, {}),
    "coordinates_zero": ([{"lat": 0.0, "lon": 0.0}], GOOD, {}),
    "coordinates_in_sea": ([{"lat": 40.5, "lon": 40.5}], GOOD, {}),
    "location_uncertain": ([{"location_error": 0.6}], GOOD, {"max_location_error": 0.5}),
    "treated": ([{"treated": True}], GOOD, {}),
    "depths_reconstructed": (
        [{"depth_bounds": "reconstructed"}],
        GOOD,
        {"exclude_reconstructed": True},
    ),
    "no_layers": ([{}], [], {}),
    "no_valid_layers": ([{}], [(0.0, 0.3, np.nan)], {}),
    "layers_overlap": ([{}], [*GOOD[:2], (0.35, 0.8, 5.0)], {}),
    "layers_gapped": ([{}], [*GOOD[:2], (0.6, 0.8, 5.0)], {"max_gap": 0.1}),
    "top_missing": ([{}], [(u + 0.3, d + 0.3, c) for u, d, c in GOOD], {"max_top_depth": 0.2}),
    "too_few_layers": ([{}], GOOD[1:], {}),
    "too_shallow": ([{}], [(u / 2, d / 2, c) for u, d, c in GOOD], {}),
}


@pytest.mark.parametrize("reason", PROFILES)
def test_profile_rules(reason):
    rows, layers, rules = PROFILES[reason]
    values = [{"upper_depth": u, "lower_depth": d, "soc": c} for u, d, c in layers]
    layers = layer_rows(*values) if values else layer_rows({}).iloc[:0]
    found = verdict(profile_rows(*rows), layers, GLOBE, **rules)
    assert found.profiles.reason.tolist() == [reason]
    assert found.layers.reason.notna().all()
    if reason != "no_valid_layers":
        assert set(found.layers.reason) <= {reason}
        assert set(found.layers.by) <= {"profile"}


def test_rules_come_after_layers_were_left_out():
    """Four layers, but two without carbon: too few (the study's rule)."""
    layers = good_layers()
    layers[1]["soc"] = np.nan
    found = verdict(profile_rows(), layer_rows(*layers))
    assert found.profiles.reason.tolist() == ["too_few_layers"]
    assert found.profiles.detail.tolist() == ["2"]


def test_exactly_50_cm_is_too_shallow():
    for bottom, reason in ((0.5, "too_shallow"), (0.51, None)):
        layers = good_layers()
        layers[2]["lower_depth"] = bottom
        assert verdict(profile_rows(), layer_rows(*layers)).profiles.reason.tolist() == [reason]


def test_rounding_of_bounds_is_no_overlap():
    layers = good_layers()
    layers[1]["upper_depth"] = 0.195
    assert verdict(profile_rows(), layer_rows(*layers)).profiles.reason.tolist() == [None]


def test_gaps_are_measured_and_kept():
    layers = good_layers()
    layers[2]["upper_depth"] = 0.6
    found = verdict(profile_rows(), layer_rows(*layers))
    assert found.profiles.reason.tolist() == [None]
    assert found.profiles.gap.tolist() == [0.2]


def test_without_a_land_mask_nothing_is_in_the_sea():
    found = verdict(profile_rows({"lat": 40.0, "lon": -40.0}), layer_rows(*good_layers()))
    assert found.profiles.reason.tolist() == [None]
    # A latitude beyond 90 that would do as a longitude is a swap, mask or not.
    found = verdict(profile_rows({"lat": 120.0, "lon": 30.0}), layer_rows(*good_layers()))
    assert found.profiles.reason.tolist() == ["coordinates_swapped"]


def test_rows_of_one_profile_are_merged():
    """A format that repeats the profile with every layer: the first value that is there."""
    rows = profile_rows({"country": None}, {"country": "NA"}, {})
    found = verdict(rows, layer_rows(*good_layers()))
    assert found.profiles.reason.tolist() == [None]
    assert found.profiles.country.tolist() == ["NA"]


number = st.sampled_from([np.nan, -5.0, 0.0, 3.0, 20.0, 300.0, 700.0])
depth = st.sampled_from([-0.1, 0.0, 0.1, 0.2, 0.2005, 0.4, 0.6, 0.8, 11.0, np.inf, np.nan])


@settings(max_examples=60, deadline=None)
@given(
    layers=st.lists(
        st.tuples(
            st.sampled_from(["s:a", "s:b", "s:c", "s:x"]),
            depth,
            depth,
            number,
            st.sampled_from([np.nan, 1.0, 900.0, 1300.0, 2900.0]),
        ),
        max_size=25,
    ),
    order=st.randoms(use_true_random=False),
)
def test_laws(layers, order):
    """Every row has one fate; what is kept obeys the rules; the order of rows does not matter."""
    profiles = profile_rows(*({"profile_id": f"s:{n}"} for n in "abc"))
    rows = [
        {
            "profile_id": p,
            "upper_depth": u,
            "lower_depth": d,
            "soc": c,
            "bulk_density": b,
            "layer_id": str(i),
        }
        for i, (p, u, d, c, b) in enumerate(layers)
    ]
    table = layer_rows(*rows) if rows else layer_rows({}).iloc[:0]
    found = verdict(profiles, table)
    assert len(found.profiles) == 3
    assert sorted(found.layers.layer_id) == sorted(table.layer_id)
    kept = found.layers[found.layers.reason.isna()]
    good = found.profiles[found.profiles.reason.isna()]
    assert set(kept.profile_id) == set(good.profile_id)
    for _, own in kept.groupby("profile_id"):
        assert len(own) >= 3
        assert own.lower_depth.max() > 0.5
        assert (own.soc > 0).all()
        assert (own.upper_depth.to_numpy()[1:] >= own.lower_depth.to_numpy()[:-1] - 0.0051).all()
    shuffled = table.sample(frac=1, random_state=order.randrange(2**31))
    again = verdict(profiles, shuffled)
    assert again.profiles.reason.tolist() == found.profiles.reason.tolist()
    assert sorted(again.layers.reason.fillna("kept")) == sorted(found.layers.reason.fillna("kept"))


# --- duplicates ------------------------------------------------------------------------------


def index(*rows):
    base = {
        "group": 0,
        "rank": 0,
        "lat": 10.0,
        "lon": 20.0,
        "first_upper": 0,
        "first_lower": 10,
        "first_value": 12.3,
        "signature": 1,
    }
    return pd.DataFrame([base | {"profile_id": f"p{i}"} | row for i, row in enumerate(rows)])


def test_same_place_and_content_from_two_sources():
    found = duplicates.find(index({"group": 1, "rank": 1, "first_value": 12.34, "lat": 10.004}, {}))
    assert found.to_dict() == {"p0": "p1"}


@pytest.mark.parametrize(
    "other",
    [
        {"first_value": 12.5},
        {"lat": 10.02},
        {"first_lower": 20},
        {"rank": 0, "group": 0, "signature": 2},
    ],
)
def test_different_profiles_at_one_place_stay(other):
    assert duplicates.find(index({"group": 1, "rank": 1} | other, {})).empty


def test_identical_profiles_of_one_source():
    found = duplicates.find(index({}, {}, {"signature": 5}))
    assert found.to_dict() == {"p1": "p0"}


def test_three_sources_keep_the_most_trusted():
    rows = [{"group": g, "rank": g, "signature": g} for g in (2, 0, 1)]
    assert duplicates.find(index(*rows)).to_dict() == {"p0": "p1", "p2": "p1"}


def test_signature_sees_every_layer_and_their_order():
    def signature(*layers):
        rows = frame(
            [{"upper_depth": u, "lower_depth": d, "soc": c} for u, d, c in layers], LAYER_FIELDS
        )
        return duplicates.keys(rows, np.array([0])).signature[0]

    assert signature(*GOOD) == signature(*GOOD)
    assert signature(*GOOD) == signature((0.0, 0.2, 20.004), *GOOD[1:])
    assert signature(*GOOD) != signature(*GOOD[:2], (0.4, 0.8, 5.2))
    assert signature(*GOOD) != signature(*GOOD[::-1])


# --- land ------------------------------------------------------------------------------------


def write_mask(path, name="land_fraction", lat=None, lon=None):
    lat = np.arange(89.5, -90, -1.0) if lat is None else lat
    lon = np.arange(0.5, 360.0) if lon is None else lon
    land = np.zeros((len(lat), len(lon)))
    land[80 % len(lat), 359 % len(lon)] = 0.3  # 9.5 N, 0.5 W
    xr.Dataset({name: (("lat", "lon"), land)}, {"lat": lat, "lon": lon}).to_netcdf(path)
    return path


def test_land_mask_on_any_longitudes(tmp_path):
    land = open_land_mask(write_mask(tmp_path / "m.nc"), tolerance=0.0)
    lat = np.array([9.5, 9.5, 9.5, 40.0, 95.0])
    lon = np.array([-0.5, 0.5, -2.5, 0.0, 0.0])
    assert land(lat, lon).tolist() == [True, False, False, False, False]
    near = open_land_mask(tmp_path / "m.nc", tolerance=1.0)
    assert near(lat, lon).tolist() == [True, True, False, False, False]


def test_coast_tolerance_crosses_the_date_line(tmp_path):
    lon = np.arange(-179.5, 180.0)
    path = write_mask(tmp_path / "m.nc", "land_mask", lon=lon)  # land at 179.5 E
    land = open_land_mask(path, tolerance=1.0)
    assert land(np.array([9.5]), np.array([-179.5])).tolist() == [True]


def test_land_mask_faults(tmp_path):
    with pytest.raises(ObservationError, match="contains no land_fraction or land_mask"):
        open_land_mask(write_mask(tmp_path / "a.nc", "sea"))
    path = write_mask(tmp_path / "b.nc", lat=np.arange(-60, 80, 1.0))
    with pytest.raises(ObservationError, match="not regular"):
        open_land_mask(path)
