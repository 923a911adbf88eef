"""Forcing in and out, and every fault named."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

import proda
from proda.forcing import FORCING_VARIABLES
from tests.conftest import rough_forcing


def faulty(change) -> xr.Dataset:
    dataset = proda.example_columns()
    result = change(dataset)
    return dataset if result is None else result


def put(name, index, value):
    def change(dataset):
        dataset[name] = dataset[name].astype(float)
        dataset[name][index] = value

    return change


def with_unit(name, unit):
    def change(dataset):
        dataset[name].attrs["units"] = unit

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("n_scalar"), r"lacks n_scalar\. It has: soil_temperature"),
        (lambda d: d.drop_vars(list(d.data_vars)), "It has: no variables"),
        (
            put("soil_temperature", (1, 4, 6), np.nan),
            r"soil_temperature is missing \(NaN\) at site boreal forest, layer 5, month 7",
        ),
        (put("soil_temperature", (0, 0, 0), 5.0), r"= 5 K at site tundra.*Celsius"),
        (put("w_scalar", (2, 3, 1), 1.2), "w_scalar = 1.2 1 at site temperate forest, layer 4"),
        (put("w_scalar", (2, 3, 1), -0.1), r"expected 0 to 1"),
        (put("litter_input", (4, 2), -3.0), r"litter_input = -3 .* at site savanna, CL|litter CL"),
        (put("litter_input", (4, 2), np.inf), "litter_input = inf"),
        (put("nbedrock", 3, 0), "nbedrock = 0 1 at site prairie"),
        (put("nbedrock", 3, 21), "nbedrock = 21"),
        (put("nbedrock", 3, 7.5), "nbedrock = 7.5 at site prairie is not a whole number"),
        (put("sand", (0, 0), 101.0), "sand = 101"),
        (put("altmax", (0, 0), -1.0), "altmax = -1 m at site tundra, month 1"),
        (with_unit("altmax", "furlong"), r"altmax is in 'furlong', .*known units: 'm'"),
        (lambda d: d.isel(layer=slice(10)), "has 10 layers; expected 20"),
        (lambda d: d.isel(month=slice(3)), "has 3 months; expected 12"),
        (lambda d: d.pad(layer=(0, 5), mode="edge"), "keep the first 20"),
        (lambda d: d.assign(sand=d["nbedrock"]), r"sand has the dimensions \(site\); expected"),
        (lambda d: d.assign(sand=d["sand"].astype(str) + "x"), "sand does not hold numbers"),
        (lambda d: d.assign_coords(litter=["CWD", "a", "b", "c"]), "litter pools are CWD, a"),
        (lambda d: d.assign_coords(month=np.arange(12)), "months are"),
        (lambda d: d.isel(site=[]), "holds no site"),
        (lambda d: d.assign_coords(layer=np.arange(20)), r"layers are \[0, 1"),
        (
            lambda d: d.assign_coords(depth=("layer", np.linspace(0.1, 8.0, 20))),
            "depth of layer 1 is 0.1 m; expected 0.01 m",
        ),
    ],
)
def test_faults_are_named(change, message):
    with pytest.raises(proda.ForcingError, match=message):
        proda.Forcing.from_dataset(faulty(change))


def test_the_number_of_wrong_values_is_told():
    dataset = proda.example_columns()
    dataset["w_scalar"][1:3, 0, :] = np.nan
    with pytest.raises(proda.ForcingError, match="24 such values at 2 sites"):
        proda.Forcing.from_dataset(dataset)


@pytest.mark.parametrize(
    ("name", "unit", "convert"),
    [
        ("soil_temperature", "degC", lambda x: x - 273.15),
        ("w_scalar", "%", lambda x: 100 * x),
        ("sand", "1", lambda x: x / 100),
        ("altmax", "cm", lambda x: 100 * x),
        ("litter_input", "kg m-2 yr-1", lambda x: x / 1000),
        ("litter_input", "gC m-2 s-1", lambda x: x / (365 * 86400)),
    ],
)
def test_units_are_converted(name, unit, convert):
    dataset = proda.example_columns()
    expected = proda.Forcing.from_dataset(dataset)
    dataset[name] = convert(dataset[name]).assign_attrs(units=unit)
    got = proda.Forcing.from_dataset(dataset)
    np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_forcing_survives_its_dataset(seed):
    forcing = rough_forcing(seed, 5)
    again = proda.Forcing.from_dataset(forcing.to_dataset())
    for variable in FORCING_VARIABLES:
        np.testing.assert_array_equal(
            getattr(again, variable.name), getattr(forcing, variable.name)
        )


def test_order_of_dimensions_litter_months_and_layers_does_not_matter():
    dataset = proda.Forcing.from_dataset(proda.example_columns()).to_dataset()
    shuffled = dataset.isel(
        litter=[2, 0, 3, 1], month=[*range(6, 12), *range(6)], layer=slice(None, None, -1)
    ).transpose()
    one, other = (proda.Forcing.from_dataset(d) for d in (dataset, shuffled))
    for variable in FORCING_VARIABLES:
        np.testing.assert_array_equal(getattr(one, variable.name), getattr(other, variable.name))


def test_one_column_needs_no_site():
    forcing = proda.Forcing.from_dataset(proda.example_columns().isel(site=2, drop=True))
    assert len(forcing) == 1
    assert forcing.soil_temperature.shape == (1, 20, 12)


def test_coordinates_and_attributes_are_kept(tmp_path):
    from proda.files import open_netcdf, write_netcdf

    forcing = proda.Forcing.from_dataset(proda.example_columns())
    write_netcdf(forcing.to_dataset(), tmp_path / "forcing.nc")
    again = proda.Forcing.from_dataset(open_netcdf(tmp_path / "forcing.nc"))
    np.testing.assert_array_equal(again.coords["latitude"], forcing.coords["latitude"])
    assert list(again.site) == list(forcing.site)
    assert again.attrs["source"] == "proda.example_columns"
    assert forcing.to_dataset()["soil_temperature"].attrs["units"] == "K"


def test_blocks_are_the_whole():
    forcing = rough_forcing(0, 10)
    parts = list(forcing.blocks(4))
    assert [len(p) for p in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([p.sand for p in parts]), forcing.sand)
