import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from proda import files
from proda.drivers import climate, nearest_cells
from proda.drivers.climate_input import CLIMATE_VARIABLES, join_drainage, open_climate
from proda.drivers.forcing_rules import RULES, rules_named
from proda.drivers.forcing_summary import litter_totals, status_counts, summarise
from proda.drivers.soil_physics import freezing_potential, water_potential, water_scalar
from proda.errors import FileError, ForcingError
from proda.forcing import Forcing

LAT = np.array([70.0, 10.0, -30.0])
LON = np.array([-90.0, 0.0, 90.0, 180.0 - 1e-9])


def made_climate():
    """Three rows: frozen at depth, warm, southern; the last column is sea."""
    rng = np.random.default_rng(1)

    def grid(*rows):
        return ("lat", "lon"), np.repeat(np.array(rows, dtype=float)[:, None], 4, 1)

    npp = np.where(rng.random((3, 4)) > 0.5, 500.0, 250.0)
    data = xr.Dataset(
        {
            "soil_temperature_mean": (*grid(-8.0, 25.0, 12.0), {"units": "degC"}),
            "tmax_warmest_month": (*grid(22.0, 35.0, 28.0), {"units": "degC"}),
            "tmin_coldest_month": (*grid(-40.0, 18.0, 3.0), {"units": "degC"}),
            "liquid_saturation": (*grid(0.2, 0.6, 0.3), {"units": "1"}),
            "frozen_saturation": (*grid(0.3, 0.0, 0.0), {"units": "1"}),
            "sand_fraction_testbed": (*grid(0.4, 0.3, 0.6), {"units": "1"}),
            "clay_fraction_testbed": (*grid(0.2, 0.4, 0.1), {"units": "1"}),
            "npp": (("lat", "lon"), npp, {"units": "gC m-2 yr-1"}),
            "metabolic_litter_input": (*grid(150.0, 200.0, 90.0), {"units": "gC m-2 yr-1"}),
            "structural_litter_input": (*grid(120.0, 210.0, 60.0), {"units": "gC m-2 yr-1"}),
            "land_mask": (("lat", "lon"), np.repeat([[1, 1, 1, 0]], 3, 0).astype(np.int8)),
            "land_fraction": (("lat", "lon"), np.full((3, 4), 0.5)),
        },
        coords={"lat": LAT, "lon": LON},
        attrs={"title": "Made-up climate"},
    )
    for name in data.data_vars:
        if name not in ("land_mask", "land_fraction"):
            data[name][:, 3] = np.nan
    return data


@pytest.fixture
def path(tmp_path):
    made_climate().to_netcdf(tmp_path / "climate.nc")
    return tmp_path / "climate.nc"


def estimate(path, **options):
    return climate.from_climate(open_climate(path), **options).compute()


def test_one_column_by_hand(path):
    """Every rule of science 9 once more, written out for one cell, month and layer."""
    found = estimate(path, rules=RULES["science9"]).sel(lat=70.0, lon=0.0)
    z, month = 0.26, 7
    amplitude = 0.6 * (22 + 40 - 10) / 2
    t = 273.15 - 8 + amplitude * np.exp(-z / 2.24) * np.cos(-z / 2.24)
    assert found["soil_temperature"].sel(layer=5, month=month) == pytest.approx(t, abs=1e-4)
    assert t > 273.15  # thawed: ice counts as water
    psi = water_potential(np.array(0.5), np.array(40.0), np.array(20.0))
    assert found["w_scalar"].sel(layer=5, month=month) == pytest.approx(float(water_scalar(psi)))
    frozen = float(found["soil_temperature"].sel(layer=5, month=4))
    assert frozen < 273.15
    cold = min(
        float(water_potential(np.array(0.2), np.array(40.0), np.array(20.0))),
        float(freezing_potential(np.array(frozen))),
    )
    expected = float(water_scalar(np.array(cold)))
    assert found["w_scalar"].sel(layer=5, month=4) == pytest.approx(expected, abs=1e-6)
    assert (found["sand"] == 40).all()
    assert (found["nbedrock"] == 20).all()
    assert (found["altmax"] == found["altmax_lastyear"]).all()
    assert 0 < found["altmax"][0] < 8.6


def test_litter_by_hand():
    found = climate.litter_inputs(
        np.array([500.0, 200.0]), np.array([150.0, 150.0]), np.array([120.0, 120.0])
    )
    np.testing.assert_allclose(found[0], [230, 150, 80, 40])
    np.testing.assert_allclose(found[1], [0, 150, 80, 40])  # litter exceeds NPP


def test_totals_equal_the_sources(path):
    data = made_climate()
    found = estimate(path)
    area = found["cell_area"].to_numpy()[:, :3] * 0.5 * 1e6
    pools = litter_totals(found)
    metabolic, structural = (
        (data[f"{n}_litter_input"].to_numpy()[:, :3] * area).sum() / 1e15
        for n in ("metabolic", "structural")
    )
    assert pools["ML"] == pytest.approx(metabolic, rel=1e-6)
    assert pools["CL"] + pools["LL"] == pytest.approx(structural, rel=1e-6)
    assert pools["CL"] == pytest.approx(2 * pools["LL"], rel=1e-6)


def test_cells_add_up(path):
    found = estimate(path)
    counts = status_counts(found)
    assert counts == {
        "usable": 9,
        "outside_land": 3,
        "variable_missing": 0,
        "negative_litter_input": 0,
    }
    assert np.isnan(found["soil_temperature"].to_numpy()[:, 3]).all()


def test_a_missing_variable_of_a_cell_is_counted_by_name(tmp_path):
    data = made_climate()
    data["npp"][0, 0] = np.nan
    data.to_netcdf(tmp_path / "c.nc")
    found = estimate(tmp_path / "c.nc")
    assert status_counts(found)["variable_missing"] == 1
    assert json.loads(found.attrs["missing_by_variable"]) == {"npp": 1}


def test_without_a_mask_the_sea_is_where_nothing_is_given(tmp_path):
    data = made_climate().drop_vars(["land_mask", "land_fraction"])
    data["npp"][0, 0] = np.nan
    data.to_netcdf(tmp_path / "c.nc")
    counts = status_counts(estimate(tmp_path / "c.nc"))
    assert (counts["usable"], counts["outside_land"], counts["variable_missing"]) == (8, 3, 1)


def test_it_says_that_it_is_estimated_and_from_what(path):
    attrs = estimate(path, source="climate.nc").attrs
    assert attrs["estimated"] == "yes"
    assert attrs["source"] == "climate.nc"
    assert "ESTIMATE" in attrs["comment"]
    assert "nbedrock = 20" in attrs["comment"]


def test_given_scalars_and_bedrock_are_used(tmp_path):
    data = made_climate()
    shape = (("lat", "lon"), np.full((3, 4), 0.8), {"units": "1"})
    data["o_scalar"] = shape
    data["nbedrock"] = (("lat", "lon"), np.full((3, 4), 7), {"units": "1"})
    data.to_netcdf(tmp_path / "c.nc")
    found = estimate(tmp_path / "c.nc").isel(lon=0)
    np.testing.assert_allclose(found["o_scalar"], 0.8, rtol=1e-6)
    assert (found["nbedrock"] == 7).all()
    assert "nbedrock from the climate file" in found.attrs["comment"]


def test_units_and_longitudes_are_brought_into_our_form(tmp_path, path):
    data = made_climate()
    for name in ("soil_temperature_mean", "tmax_warmest_month", "tmin_coldest_month"):
        data[name] = (data[name] + 273.15).assign_attrs(units="K")
    data["sand_fraction_testbed"] = (100 * data["sand_fraction_testbed"]).assign_attrs(units="%")
    data = data.assign_coords(lon=data["lon"] % 360).sortby("lon")
    data.rename(lat="latitude", lon="longitude", npp="NPP").to_netcdf(tmp_path / "c.nc")
    opened = open_climate(tmp_path / "c.nc", {"npp": "NPP"})
    found = climate.from_climate(opened).compute()
    xr.testing.assert_allclose(found["w_scalar"], estimate(path)["w_scalar"], atol=1e-5)
    xr.testing.assert_allclose(found["litter_input"], estimate(path)["litter_input"])


def test_the_floor_is_a_setting(path):
    assert float(estimate(path)["w_scalar"].min()) == pytest.approx(0.05)
    assert float(estimate(path, w_floor=0.0)["w_scalar"].min()) == 0.0
    with pytest.raises(ForcingError, match="floor of the water scalar is 1"):
        estimate(path, w_floor=1.0)


def test_missing_variables_units_and_dimensions_are_named(tmp_path):
    made_climate().drop_vars("npp").to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ForcingError, match=r"a\.nc: lacks npp\."):
        open_climate(tmp_path / "a.nc")
    data = made_climate()
    data["npp"].attrs["units"] = "t ha-1"
    data.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(ForcingError, match="npp is in 't ha-1'"):
        open_climate(tmp_path / "b.nc")
    with pytest.raises(ForcingError, match="has no variable XX, which should provide npp"):
        open_climate(tmp_path / "b.nc", {"npp": "XX"})
    data = made_climate().expand_dims(time=2)
    data["npp"] = data["npp"].assign_attrs(units="gC m-2 yr-1")
    data.to_netcdf(tmp_path / "d.nc")
    with pytest.raises(ForcingError, match="has the dimensions"):
        open_climate(tmp_path / "d.nc")


@pytest.mark.parametrize(
    ("name", "value"),
    [("soil_temperature_mean", 285.0), ("liquid_saturation", 1.2), ("npp", -5.0)],
)
def test_impossible_values_are_refused_with_their_place(tmp_path, name, value):
    data = made_climate()
    data[name][1, 2] = value
    data.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(ForcingError, match=f"{name} = {value:g} .* at lat 10, lon 90"):
        estimate(tmp_path / "c.nc")


def test_more_water_than_pores_is_refused(tmp_path):
    data = made_climate()
    data["frozen_saturation"][1, 1] = 0.5
    data.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(ForcingError, match=r"frozen_saturation = 1\.1 1 at lat 10, lon 0"):
        estimate(tmp_path / "c.nc")


def test_a_corrupt_file_is_named_and_nothing_is_written(tmp_path, path):
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(FileError, match=r"climate\.nc"):
        open_climate(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["climate.nc"]


def test_blocks_do_not_change_anything(path, monkeypatch):
    whole = estimate(path)
    monkeypatch.setattr(climate, "BLOCK", (1, 2))
    xr.testing.assert_identical(estimate(path), whole)


def test_written_sampled_and_checked(tmp_path, path):
    ticks = []
    lazy = climate.from_climate(open_climate(path))
    files.write_zarr(lazy, tmp_path / "f.zarr", lambda done, total: ticks.append((done, total)))
    assert ticks[-1][0] == ticks[-1][1]
    stored = files.open_dataset(tmp_path / "f.zarr")
    assert stored["soil_temperature"].chunks is not None
    sites = pd.DataFrame(
        {"site": ["x", "y"], "latitude": [69.0, -30.0], "longitude": [359.0, 91.0]}
    )
    dataset, nearest = nearest_cells.forcing_at_sites(stored, sites, 400)
    files.write_dataset(dataset, tmp_path / "s.zarr")
    files.write_dataset(dataset, tmp_path / "s.nc")
    for name in ("s.zarr", "s.nc"):
        forcing = Forcing.from_dataset(files.open_dataset(tmp_path / name))
        assert list(forcing.site) == ["x", "y"]
        assert forcing.coords["distance_km"] == pytest.approx(nearest.distance_km)
        assert forcing.attrs["estimated"] == "yes"
    described = summarise(files.open_dataset(tmp_path / "s.zarr"))
    assert described.kind == "sites"
    assert described.ranges["missing"].sum() == 0


def test_float32_on_disk_changes_the_modifier_by_less_than_2e_6(path):
    """What float32 loses: relative to the monthly modifier xi_T xi_W for a steep q10 of 3."""
    opened = open_climate(path)
    stored = climate.from_climate(opened).compute()
    names = [v.name for v in CLIMATE_VARIABLES]
    cells = {n: opened[n].to_numpy()[:, :3].ravel().astype(float) for n in names}
    exact = climate.estimate_columns(cells, np.repeat(LAT, 3))

    def modifier(t, w):
        return 3.0 ** ((t.astype(float) - 298.15) / 10) * w.astype(float)

    shape = (3, 3, 20, 12)
    found = modifier(
        stored["soil_temperature"].to_numpy()[:, :3], stored["w_scalar"].to_numpy()[:, :3]
    )
    expected = modifier(exact["soil_temperature"], exact["w_scalar"]).reshape(shape)
    # 255 K has a float32 step of 3e-5 K; ln(3)/10 of half of that is 1.7e-6.
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_damaged_values_are_named(tmp_path):
    """The header is whole, so that the file opens; the values of npp no longer match their sum."""
    data = made_climate()
    plain = {"zlib": False, "shuffle": False, "fletcher32": True, "chunksizes": (3, 4)}
    data.to_netcdf(tmp_path / "d.nc", encoding={"npp": plain})
    content = bytearray((tmp_path / "d.nc").read_bytes())
    start = content.find(data["npp"].to_numpy()[:, :3].tobytes()[:24])
    assert start > 0
    content[start + 5] ^= 255
    (tmp_path / "d.nc").write_bytes(bytes(content))
    with pytest.raises(FileError, match=r"d\.nc: npp cannot be read"):
        open_climate(tmp_path / "d.nc")


def test_a_store_that_lost_a_chunk_is_refused(tmp_path, path):
    lazy = climate.from_climate(open_climate(path))
    files.write_zarr(lazy, tmp_path / "f.zarr")
    for chunk in (tmp_path / "f.zarr" / "w_scalar" / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    with pytest.raises(FileError, match=r"f\.zarr/w_scalar/c/.*: missing"):
        files.open_dataset(tmp_path / "f.zarr")


def with_optional(path, drainage=(1, 2, 4)):
    """Climate with what the floor of NPP and oxygen need, and hardly any NPP in the first row."""
    data = made_climate()
    for name, rows, unit in (
        ("air_temperature_mean", (-9.0, 24.0, 12.0), "degC"),
        ("precipitation_annual", (400.0, 900.0, 40.0), "mm yr-1"),
    ):
        data[name] = (("lat", "lon"), np.repeat(np.array(rows)[:, None], 4, 1), {"units": unit})
    for name in ("npp", "metabolic_litter_input", "structural_litter_input"):
        data[name][0, :3] = [0.0, 2.0, 400.0]
    data["drainage_class"] = (
        ("lat", "lon"),
        np.repeat(np.array(drainage, dtype=np.int8)[:, None], 4, 1),
        {
            "flag_values": np.array([1, 2, 3, 4], dtype=np.int8),
            "flag_meanings": "very_poor poor imperfect moderately_well",
        },
    )
    data.to_netcdf(path)
    return path


def test_npp_is_raised_to_a_quarter_of_miami_and_no_further(tmp_path):
    found = estimate(with_optional(tmp_path / "c.nc")).sel(lat=70.0)["litter_input"]
    least = 0.25 * 0.5 * 3000 / (1 + np.exp(1.315 + 0.119 * 9))
    np.testing.assert_allclose(found[0], [0, least / 2, least / 3, least / 6], rtol=1e-6)
    np.testing.assert_allclose(found[1].sum(), least, rtol=1e-6)  # litter 4 exceeds NPP 2
    assert float(found[2].sum()) == pytest.approx(800)  # untouched
    assert "raised 22.2% of cells" in estimate(tmp_path / "c.nc").attrs["rules"]


def test_without_precipitation_the_file_says_that_npp_has_no_floor(path):
    assert "without a floor, because the climate lacks" in estimate(path).attrs["rules"]


def test_oxygen_follows_drainage_by_hand(tmp_path):
    found = estimate(with_optional(tmp_path / "c.nc"))["o_scalar"].isel(lon=0, month=0)
    np.testing.assert_allclose(found.sel(lat=70.0), 0.2)  # very poor: wet from the surface
    np.testing.assert_allclose(found.sel(lat=10.0)[:4], 1.0)  # nodes to 0.16 m
    np.testing.assert_allclose(found.sel(lat=10.0)[4:], 0.6)  # nodes from 0.26 m, half of the year
    np.testing.assert_allclose(found.sel(lat=-30.0), 1.0)


def test_drainage_of_another_file_gives_the_same(tmp_path):
    both = with_optional(tmp_path / "c.nc")
    data = xr.load_dataset(both)
    data[["drainage_class"]].to_netcdf(tmp_path / "d.nc")
    data.drop_vars("drainage_class").to_netcdf(tmp_path / "e.nc")
    joined = join_drainage(open_climate(tmp_path / "e.nc"), tmp_path / "d.nc")
    xr.testing.assert_identical(
        climate.from_climate(joined).compute()["o_scalar"], estimate(both)["o_scalar"]
    )
    with pytest.raises(ForcingError, match="already has drainage_class"):
        join_drainage(open_climate(both), tmp_path / "d.nc")
    data.isel(lat=[0, 1])[["drainage_class"]].to_netcdf(tmp_path / "f.nc")
    with pytest.raises(ForcingError, match="its lat differs from that of the climate"):
        join_drainage(open_climate(tmp_path / "e.nc"), tmp_path / "f.nc")
    with pytest.raises(ForcingError, match="has no variable drainage_class"):
        join_drainage(open_climate(tmp_path / "e.nc"), tmp_path / "e.nc")


def test_unknown_drainage_is_refused_with_its_place(tmp_path):
    with pytest.raises(ForcingError, match="drainage_class = 9 at lat 10, lon -90 has no meaning"):
        open_climate(with_optional(tmp_path / "c.nc", (1, 9, 4)))
    data = xr.load_dataset(tmp_path / "c.nc")
    data["drainage_class"].attrs["flag_meanings"] = "a poor imperfect moderately_well"
    data.to_netcdf(tmp_path / "d.nc")
    with pytest.raises(ForcingError, match=r"needs the attributes flag_values.*; it has a\."):
        open_climate(tmp_path / "d.nc")


def test_oxygen_given_twice_is_refused(tmp_path):
    data = xr.load_dataset(with_optional(tmp_path / "c.nc"))
    data["o_scalar"] = (("lat", "lon"), np.full((3, 4), 0.8), {"units": "1"})
    data.to_netcdf(tmp_path / "d.nc")
    with pytest.raises(ForcingError, match="has o_scalar and drainage_class"):
        estimate(tmp_path / "d.nc")


def test_a_cell_that_was_frozen_all_year_thaws_where_summers_are_warm(tmp_path):
    data = made_climate()
    data["soil_temperature_mean"][0, :3] = -16.0
    data.to_netcdf(tmp_path / "c.nc")
    old, new = (
        estimate(tmp_path / "c.nc", rules=RULES[n]).sel(lat=70.0) for n in ("science9", "standard")
    )
    assert float(old["altmax"].max()) == 0.0
    assert (new["soil_temperature"].sel(layer=1).max("month") > 273.15)[:3].all()
    assert 0.5 < float(new["altmax"].max()) < 3
    assert "rules: science9" in estimate(tmp_path / "c.nc", rules=RULES["science9"]).attrs["rules"]


def test_unknown_rules_are_named():
    with pytest.raises(ForcingError, match="Unknown rules 'x'; choose one of standard, science9"):
        rules_named("x")
