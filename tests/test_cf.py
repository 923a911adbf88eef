"""Gridded files as others write them: what their attributes and axes mean, and what is refused."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from proda import cf, units
from proda.drivers import climate, covariates, grids
from proda.drivers.climate_input import open_climate
from proda.drivers.forcing_summary import litter_totals
from proda.errors import CovariateError, FileError, ForcingError, MapError
from proda.maps.reference_maps import reference_maps
from tests.clm_files import write_month

LAT = np.arange(-75.0, 90.0, 30.0)
LON = np.arange(-165.0, 180.0, 30.0)
VALUES = {
    "soil_temperature_mean": (10.0, "degC"),
    "tmax_warmest_month": (25.0, "degC"),
    "tmin_coldest_month": (-5.0, "degC"),
    "liquid_saturation": (0.4, "1"),
    "frozen_saturation": (0.0, "1"),
    "sand_fraction_testbed": (0.4, "1"),
    "clay_fraction_testbed": (0.2, "1"),
    "npp": (500.0, "g m-2 yr-1"),
    "metabolic_litter_input": (200.0, "g m-2 yr-1"),
    "structural_litter_input": (200.0, "g m-2 yr-1"),
}


def made(lat=LAT, lon=LON):
    shape = (len(lat), len(lon))
    data = {n: (("lat", "lon"), np.full(shape, v), {"units": u}) for n, (v, u) in VALUES.items()}
    data["land_fraction"] = (("lat", "lon"), np.full(shape, 0.5), {"units": "1"})
    if len(lat) > 1:
        area = grids.cell_area(LAT, LON)[: shape[0], :1].repeat(shape[1], 1)
        data["cell_area"] = (("lat", "lon"), area, {"units": "km2"})
    return xr.Dataset(data, coords={"lat": lat, "lon": lon})


def total(data, path):
    """Carbon input of the forcing made from a climate, Pg yr-1, by way of a file."""
    data.to_netcdf(path) if path.suffix == ".nc" else data.to_zarr(path, zarr_format=2)
    return sum(litter_totals(climate.from_climate(open_climate(path)).compute()).values())


RIGHT = 500.0 * 0.5 * 4 * np.pi * (grids.EARTH_RADIUS_KM * 1e3) ** 2 / 1e15


# Units of areas, land fractions, fluxes (NCAR/PyCECT, CMIP: areacella in m2, sftlf in %)


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("cell_area", "km2", 1.0),
        ("cell_area", "m2", 1e6),
        ("cell_area", "m^2", 1e6),
        ("cell_area", "m**2", 1e6),
        ("cell_area", "km^2", 1.0),
        ("cell_area", "ha", 100.0),
        ("land_fraction", "%", 100.0),
        ("land_fraction", "percent", 100.0),
        ("land_fraction", "0.01", 100.0),
        ("land_fraction", "fraction", 1.0),
        ("npp", "kg m-2 yr-1", 1e-3),
        ("npp", "gC m^-2 a-1", 1.0),
        ("npp", "kg m-2 s-1", 1e-3 / (365 * 86400)),
    ],
)
def test_units_are_converted(tmp_path, name, unit, factor):
    data = made()
    data[name] = (data[name] * factor).assign_attrs(units=unit)
    assert total(data, tmp_path / "c.nc") == pytest.approx(RIGHT, rel=1e-3)


def test_names_of_cmip_are_understood(tmp_path):
    data = made().rename(cell_area="areacella", land_fraction="sftlf")
    data["areacella"] = (data["areacella"] * 1e6).assign_attrs(units="m2")
    data["sftlf"] = (data["sftlf"] * 100).assign_attrs(units="%")
    assert total(data, tmp_path / "c.nc") == pytest.approx(RIGHT, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "unit", "factor", "what"),
    [
        ("cell_area", "m", 1.0, "'m', which is not recognised"),
        ("cell_area", None, 1e6, "cell_area is .* Is its unit right"),
        ("cell_area", None, 1e-6, "times the size of the cells"),
        ("land_fraction", None, 100.0, "land_fraction is 50"),
        ("land_fraction", "kg", 1.0, "'kg', which is not recognised"),
        ("npp", "g m-2", 1.0, "'g m-2', which is not recognised"),
    ],
)
def test_units_that_do_not_fit_are_refused(tmp_path, name, unit, factor, what):
    data = made()
    data[name] = data[name] * factor
    data[name].attrs = {} if unit is None else {"units": unit}
    with pytest.raises(ForcingError, match=what):
        total(data, tmp_path / "c.nc")


@pytest.mark.parametrize("value", [-1e30, 0.0, np.nan, 1e12])
def test_an_area_that_no_cell_has_is_named(tmp_path, value):
    data = made()
    data["cell_area"][1, 2] = value
    with pytest.raises(ForcingError, match=r"cell_area is .* at lat -45, lon -105"):
        total(data, tmp_path / "c.nc")


def test_units_are_parsed_by_their_parts():
    for text in ("t/ha", "t C ha-1", "Mg ha-1", "MgC/ha", "tonnes/ha", "tonne ha^-1"):
        assert units.factor(text, units.STOCK) == pytest.approx(0.1), text
    for text in ("kg m-3", "tons/ha", "tCO2 ha-1", "kg m-2 yr-1", "%", "kg m-2/", ""):
        assert units.factor(text, units.STOCK) is None, text
    assert units.factor("g cm-2", units.STOCK) == pytest.approx(10.0)
    assert units.factor("gC m-2", units.STOCK) == pytest.approx(1e-3)


# Valid ranges and packing (CF 2.5.1; MODIS MOD17: fill codes beyond valid_range)


def packed(path, limits, scale=1e-4, dtype="i2", fill=32767, **more):
    data = np.full((6, 12), round(0.5 / scale), dtype)
    data[0, :6] = np.arange(32761, 32767)
    data[0, 6] = fill
    with netCDF4.Dataset(path, "w") as file:
        for name, axis in (("lat", LAT), ("lon", LON)):
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        variable = file.createVariable("npp", dtype, ("lat", "lon"), fill_value=fill)
        variable.set_auto_maskandscale(False)
        variable[:] = data
        variable.setncatts({"units": "kg m-2 yr-1", "scale_factor": scale, **limits, **more})


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_range": np.array([-30000, 32700], "i2")},
        {"valid_max": np.int16(32700)},
        {"valid_min": np.int16(0), "valid_max": np.int16(32760)},
        {"valid_range": np.array([-30000.0, 32700.0])},
        {"valid_range": "-30000, 32700"},
        {"valid_range": "-30000s 32700s"},
        {"valid_range": np.array([-3.0, 3.2700001])},
        {"missing_value": np.arange(32761, 32767, dtype="i2")},
    ],
)
def test_values_outside_of_their_valid_range_are_missing(tmp_path, limits):
    packed(tmp_path / "c.nc", limits)
    values = cf.open_grid(tmp_path / "c.nc")["npp"].to_numpy()
    assert np.isnan(values).sum() == 7
    np.testing.assert_allclose(values[~np.isnan(values)], 0.5)
    table = covariates.on_grid(covariates.open_covariates(tmp_path / "c.nc"))
    assert table["npp"].max() == pytest.approx(0.5)


def test_without_limits_packed_values_are_all_data(tmp_path):
    packed(tmp_path / "c.nc", {})
    assert np.isnan(cf.open_grid(tmp_path / "c.nc")["npp"].to_numpy()).sum() == 1


@pytest.mark.parametrize(
    ("attrs", "what"),
    [
        ({"valid_range": np.array([0.0, 2.0])}, "npp: its valid range .* before or after"),
        ({"valid_range": np.array([1, 2, 3], "i2")}, "npp: valid_range has 3 values"),
        ({"valid_max": "high"}, "npp: valid_max is 'high'; it must be numbers"),
        ({"scale_factor": "abc"}, "npp: scale_factor is 'abc'"),
        ({"scale_factor": 0.0}, "scale_factor is 0"),
    ],
)
def test_attributes_that_make_no_sense_are_named(tmp_path, attrs, what):
    packed(tmp_path / "c.nc", attrs)
    with pytest.raises(FileError, match=what):
        cf.open_grid(tmp_path / "c.nc")


def test_a_factor_written_as_text_counts(tmp_path):
    packed(tmp_path / "c.nc", {"scale_factor": "0.0002"})
    assert cf.open_grid(tmp_path / "c.nc")["npp"][2, 2] == pytest.approx(1.0)


def test_unsigned_bytes_and_a_missing_value_in_double_precision(tmp_path):
    data = xr.Dataset(
        {
            "byte": (
                ("lat", "lon"),
                np.array([[-56, -2, -1]], "i1"),
                {"_Unsigned": "true", "valid_range": np.array([0, -6], "i1")},
            ),
            "single": (
                ("lat", "lon"),
                np.array([[1.0, -9999.9, 2.0]], "f4"),
                {"missing_value": -9999.9},
            ),
        },
        coords={"lat": [0.0], "lon": [0.0, 1.0, 2.0]},
    )
    data.to_netcdf(tmp_path / "c.nc", encoding={n: {"_FillValue": None} for n in data})
    found = cf.open_grid(tmp_path / "c.nc")
    np.testing.assert_array_equal(found["byte"], [[200.0, np.nan, np.nan]])
    np.testing.assert_array_equal(found["single"], [[1.0, np.nan, 2.0]])


def test_days_stay_numbers(tmp_path):
    """pydata/xarray 1621: a unit of days is no span of time."""
    frost = np.arange(72.0).reshape(6, 12)
    frost[0, :4] = np.nan
    data = xr.Dataset(
        {
            "frost": (("lat", "lon"), frost, {"units": "days"}),
            "since": (("lat", "lon"), frost, {"units": "days since 2000-01-01"}),
        },
        coords={"lat": LAT, "lon": LON},
    )
    data.to_netcdf(tmp_path / "c.nc")
    table = covariates.on_grid(covariates.open_covariates(tmp_path / "c.nc"))
    assert table["frost"].max() == 71.0
    assert table["since"].max() == 71.0


# Axes that repeat, wrap, are not in order or not there


@pytest.mark.parametrize(
    "halo", [[0], [-1, 12], [12], [-1]], ids=["none", "both", "after", "before"]
)
def test_columns_that_repeat_are_dropped_and_named(tmp_path, halo):
    columns = sorted({*range(12), *halo})
    data = made(lon=np.arange(0.0, 360.0, 30.0))
    data["npp"][:, 0] = 600.0  # litter of 400 and 200 of wood, at longitude 0 only
    data = data.isel(lon=np.array(columns) % 12).assign_coords(lon=30.0 * np.array(columns))
    data.to_netcdf(tmp_path / "c.nc")
    forcing = climate.from_climate(open_climate(tmp_path / "c.nc"))
    assert forcing.sizes["lon"] == 12
    assert np.array_equal(forcing["lon"], np.arange(-180.0, 180.0, 30.0))
    assert sum(litter_totals(forcing.compute()).values()) == pytest.approx(
        RIGHT * (1 + 0.2 / 12), rel=1e-3
    )
    notes = forcing.attrs.get(grids.NOTES, "")
    assert ("repeat" in notes) == (len(columns) > 12)


def test_the_same_place_with_other_values_is_refused(tmp_path):
    data = made(lon=np.arange(0.0, 361.0, 30.0))
    data["npp"][:, 12] = 100.0
    data.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(ForcingError, match="longitudes 0 and 360 are the same place, but npp"):
        open_climate(tmp_path / "c.nc")


@pytest.mark.parametrize(
    ("axis", "values", "what"),
    [
        ("lat", [-75, -45, -45, 15, 45, 75], "lat contains -45 twice"),
        ("lat", [-75, -45, 45, 15, -15, 75], "lat is not monotonic: 45 is followed by 15"),
        ("lat", [-75, -45, np.nan, 15, 45, 75], r"lat\[2\] is nan"),
        ("lat", [-75, -45, -15, 15, 45, 105], "must lie in -90..90"),
        ("lon", [-165, -105, -135, *LON[3:]], "lon is not monotonic"),
        ("lon", [-165, -135, -135, *LON[3:]], "lon contains -135 twice"),
    ],
)
def test_axes_that_cannot_be_are_named(tmp_path, axis, values, what):
    data = made().assign_coords({axis: np.array(values, dtype=float)})
    data.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(ForcingError, match=what):
        open_climate(tmp_path / "c.nc")


@pytest.mark.parametrize("turn", ["south", "names", "late", "date line"])
def test_axes_in_any_usual_form_give_the_same(tmp_path, turn):
    data, right = made(), RIGHT
    if turn == "south":
        data = data.isel(lat=slice(None, None, -1))
    elif turn == "names":
        data = data.rename(lat="y", lon="x")
        data["y"].attrs["units"], data["x"].attrs["standard_name"] = "degrees_north", "longitude"
    elif turn == "late":  # 0..180, then -180..0
        data = data.isel(lon=[*range(6, 12), *range(6)])
    else:  # a region across the date line, area not given
        data = data.isel(lon=[10, 11, 0, 1]).drop_vars("cell_area")
        right = RIGHT / 3
    assert total(data, tmp_path / "c.nc") == pytest.approx(right, rel=1e-3)


def test_an_axis_without_values_is_refused(tmp_path):
    made().drop_vars("lat").to_netcdf(tmp_path / "c.nc")
    with pytest.raises(ForcingError, match="no axis `lat`"):
        open_climate(tmp_path / "c.nc")


def test_one_cell_without_area_says_so(tmp_path):
    data = made().isel(lat=[2], lon=[3])
    data.drop_vars("cell_area").to_netcdf(tmp_path / "c.nc")
    forcing = climate.from_climate(open_climate(tmp_path / "c.nc"))
    assert "cell_area" not in forcing
    assert "area of the cells is unknown" in forcing.attrs[grids.NOTES]
    (tmp_path / "with").mkdir()
    assert total(data, tmp_path / "with" / "c.nc") > 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("consolidated", [True, False])
def test_zarr_of_version_2_is_read(tmp_path, consolidated):
    made().to_zarr(tmp_path / "c.zarr", zarr_format=2, consolidated=consolidated)
    assert (tmp_path / "c.zarr" / ".zmetadata").is_file() == consolidated
    found = climate.from_climate(open_climate(tmp_path / "c.zarr")).compute()
    assert sum(litter_totals(found).values()) == pytest.approx(RIGHT, rel=1e-3)


# Classes, and variables that are not data


@pytest.mark.parametrize(
    ("values", "meanings"),
    [
        (np.array([1, 2, 3], "i1"), "forest steppe tundra"),
        ("1 2 3", "forest steppe tundra"),
        ("1, 2, 3", "forest, steppe, tundra"),
        ("1b, 2b, 3b", "forest;steppe;tundra"),
        (np.array([1.0, 2.0, 3.0]), "forest | steppe | tundra"),
    ],
)
def test_classes_however_they_are_written(values, meanings):
    """CNRM-CM6 writes flag_values as text."""
    found = cf.classes({"flag_values": values, "flag_meanings": meanings}, "biome")
    assert found == {1: "forest", 2: "steppe", 3: "tundra"}


@pytest.mark.parametrize(
    ("attrs", "what"),
    [
        ({"flag_values": "a b", "flag_meanings": "x y"}, "flag_values is 'a b'"),
        ({"flag_values": [1.5, 2], "flag_meanings": "x y"}, "whole numbers"),
        ({"flag_values": [1, 1], "flag_meanings": "x y"}, "a code appears twice"),
        ({"flag_values": [1, 2], "flag_meanings": "x"}, "2 flag_values but 1 different"),
        ({"flag_meanings": "x y"}, "no flag_values"),
        ({"flag_masks": [1, 2], "flag_meanings": "x y"}, "flag_masks"),
    ],
)
def test_classes_that_cannot_be_told_are_refused(attrs, what):
    with pytest.raises(CovariateError, match=what):
        cf.classes(attrs, "c.nc: biome", CovariateError)


def test_a_missing_class_stays_missing_whatever_the_codes(tmp_path):
    data = xr.Dataset(
        {
            "kind": (
                ("lat", "lon"),
                [[-999.0, 1.0, np.nan]],
                {"flag_values": [-999, 1], "flag_meanings": "bog fen"},
            ),
            "ph": (("lat", "lon"), [[5.0, 6.0, 7.0]]),
        },
        coords={"lat": [0.0], "lon": [0.0, 1.0, 2.0]},
    )
    data.to_netcdf(tmp_path / "c.nc")
    table = covariates.on_grid(covariates.open_covariates(tmp_path / "c.nc"))
    assert table["kind"].tolist()[:2] == ["bog", "fen"]
    assert table["kind"].isna().tolist() == [False, False, True]


def test_variables_that_describe_others_are_no_covariates(tmp_path):
    grid = made()[["npp", "cell_area"]]
    grid["npp"].attrs |= {"grid_mapping": "crs", "ancillary_variables": "npp_error"}
    grid["crs"] = ((), np.int32(0), {"grid_mapping_name": "latitude_longitude"})
    grid["npp_error"] = grid["npp"] * 0
    grid["lat"].attrs["bounds"] = "lat_bnds"
    grid["lat_bnds"] = (("lat", "bnds"), np.stack([LAT - 15, LAT + 15], 1))
    grid["lon_bnds"] = (("lon", "bnds"), np.stack([LON - 15, LON + 15], 1))
    grid.to_netcdf(tmp_path / "c.nc")
    opened = covariates.open_covariates(tmp_path / "c.nc")
    assert [c.name for c in opened.covariates] == ["npp"]
    assert "npp_error" in opened.dataset.attrs[grids.NOTES]


# References


def reference(unit, value=100.0, name="soc_0_100"):
    attrs = {} if unit is None else {"units": unit}
    return xr.Dataset(
        {name: (("lat", "lon"), np.full((6, 12), value), attrs)}, coords={"lat": LAT, "lon": LON}
    )


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("t ha-1", 100.0),
        ("t/ha", 100.0),
        ("tonnes/ha", 100.0),
        ("Mg ha-1", 100.0),
        ("gC m-2", 1e4),
        ("g cm-2", 1.0),
        ("kg/m2", 10.0),
        ("kg C m-2", 10.0),
        ("kg m-2", 10.0),
    ],
)
def test_references_are_brought_to_one_unit(unit, value):
    (found,) = reference_maps(reference(unit, value)).values()
    np.testing.assert_allclose(found, 10.0)
    assert found.attrs["units"] == "kg m-2"


@pytest.mark.parametrize(
    ("unit", "value", "what"),
    [
        (None, 1.0, "soc_0_100 has no unit"),
        ("kg m-3", 1.0, "'kg m-3'"),
        ("%", 1.0, "'%'"),
        ("kg m-2", -9999.0, "soc_0_100 is -9999 kg m-2 at lat -75, lon -165"),
    ],
)
def test_references_that_are_no_stock_are_refused(unit, value, what):
    with pytest.raises(MapError, match=what):
        reference_maps(reference(unit, value))


def test_a_reference_by_year_counts_where_it_is_steady():
    steady = reference("kg m-2", 10.0, "cSoil").expand_dims(time=3).copy(deep=True)
    (found,) = reference_maps(steady).values()
    assert found.dims == ("lat", "lon")
    steady["cSoil"][1] = 11.0
    with pytest.raises(MapError, match="cSoil differs along time"):
        reference_maps(steady)


# Months


def restamp(path, shift):
    """Take the bounds away and move every stamp by some months of CLM's calendar."""
    with netCDF4.Dataset(path, "a") as file:
        starts = np.concatenate([[0], np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])])
        file["time"][:] = starts[shift : shift + 12]


def test_stamps_at_the_start_of_months_are_not_taken_for_ends(tmp_path):
    """Monthly means of xarray's resample(time="MS"), as ERA5 has them."""
    from proda.drivers.history import scan

    months = [(1901, m) for m in range(1, 13)]
    write_month(tmp_path / "ends.nc", months, bounds=False)
    assert sorted(scan([tmp_path / "ends.nc"], ["TSOI"]).field("TSOI").records) == months
    write_month(tmp_path / "starts.nc", months, bounds=False)
    restamp(tmp_path / "starts.nc", 0)
    with pytest.raises(ForcingError, match="seem to be starts of months"):
        scan([tmp_path / "starts.nc"], ["TSOI"])


def test_only_means_over_months_are_taken(tmp_path):
    from proda.drivers.history import scan

    write_month(tmp_path / "h.nc", [(1901, m) for m in range(1, 13)])
    for methods, right in (("time: mean", True), ("time: point", False), ("time: sum", False)):
        with netCDF4.Dataset(tmp_path / "h.nc", "a") as file:
            file["TSOI"].cell_methods = methods
        if right:
            scan([tmp_path / "h.nc"], ["TSOI"])
        else:
            with pytest.raises(ForcingError, match=f"cell_methods of TSOI are '{methods}'"):
                scan([tmp_path / "h.nc"], ["TSOI"])


@pytest.mark.parametrize("limits", [{"valid_range": [-90.0, 90.0]}, {"valid_min": -90.0}])
def test_an_axis_with_limits_is_read(tmp_path, limits):
    data = xr.Dataset({"x": ("lat", [1.0, 2.0])}, {"lat": ("lat", [10.0, 20.0], limits)})
    data.to_netcdf(tmp_path / "a.nc")
    np.testing.assert_array_equal(cf.open_grid(tmp_path / "a.nc")["lat"], [10.0, 20.0])


def test_a_packed_axis_is_unpacked_and_one_outside_its_limits_is_missing(tmp_path):
    packed = {"scale_factor": 0.5, "valid_range": np.array([0, 30], np.int16)}
    lat = ("lat", np.array([20, 40], np.int16), packed)
    xr.Dataset({"x": ("lat", [1.0, 2.0])}, {"lat": lat}).to_netcdf(tmp_path / "a.nc")
    np.testing.assert_array_equal(cf.open_grid(tmp_path / "a.nc")["lat"], [10.0, np.nan])
