"""Properties of the soil in the forcing: read, kept, asked for, added."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.drivers.properties import DEPTHS_CM, add_properties
from proda.errors import ForcingError
from proda.forcing import SITE_PROPERTIES
from proda.grid import CLM5_GRID
from tests.conftest import one_column
from tests.test_new_model import OnePool


class Thirsty(OnePool):
    name = "thirsty"
    needs = ("clay", "ph")


def with_clay(value=20.0):
    dataset = proda.example_columns()
    dataset["clay"] = (("site", "layer"), np.full((6, 20), value), {"units": "%"})
    return dataset


def covariates():
    """Return a 10-degree grid; clay rises with depth, and is unknown below 30 cm in the north."""
    lat, lon = np.arange(-85.0, 90.0, 10.0), np.arange(-175.0, 180.0, 10.0)
    shape = (lat.size, lon.size)
    values = {
        "clay": (10, 20, 40),
        "silt": (30, 30, 30),
        "ph_water": (5, 6, 7),
        "bulk_density": (1.1, 1.3, 1.5),
        "coarse_fragments": (0, 10, 20),
    }
    units = {"ph_water": "1", "bulk_density": "g cm-3"}
    data = {}
    for name, row in values.items():
        for depth, value in zip(DEPTHS_CM, row, strict=True):
            full = np.full(shape, float(value))
            if depth == 100:
                full[lat > 60] = np.nan
            data[f"{name}_{depth}cm"] = (("lat", "lon"), full, {"units": units.get(name, "%")})
    return xr.Dataset(
        data,
        coords={
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
    )


def test_forcing_without_any_is_what_it_was(examples):
    assert examples.properties == {}
    assert not [v.name for v in SITE_PROPERTIES if v.name in examples.to_dataset()]
    assert one_column(examples).properties == {}


def test_properties_are_read_kept_selected_and_written():
    dataset = with_clay()
    dataset["bulk_density"] = (("layer", "site"), np.full((20, 6), 1.3), {"units": "g cm-3"})
    forcing = proda.Forcing.from_dataset(dataset)
    np.testing.assert_allclose(forcing.properties["bulk_density"], 1300.0)
    again = proda.Forcing.from_dataset(forcing.to_dataset())
    np.testing.assert_array_equal(again.properties["clay"], forcing.properties["clay"])
    part = forcing.select([4, 2])
    assert part.properties["clay"].shape == (2, 20)
    np.testing.assert_array_equal(one_column(part).site_property("clay"), 20.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [(120.0, "clay = 120 % at site tundra, layer 1"), (np.nan, "clay is missing")],
)
def test_impossible_properties_are_refused(value, message):
    with pytest.raises(ForcingError, match=message):
        proda.Forcing.from_dataset(with_clay(value))


def test_a_model_says_what_it_lacks(examples):
    model = Thirsty()
    values = {row.name: row.default for row in model.rows}
    for call in (proda.steady_state, proda.components):
        with pytest.raises(ForcingError, match="lacks clay, ph, which thirsty needs"):
            call(model, values, examples)
    only_clay = proda.Forcing.from_dataset(with_clay())
    with pytest.raises(ForcingError, match=r"lacks ph, which thirsty needs\. Add them with `proda"):
        proda.default_parameters(model, only_clay)
    with pytest.raises(ForcingError, match="lacks ph"):
        one_column(only_clay).site_property("ph")


def test_numbers_do_not_depend_on_properties_that_a_model_does_not_need(model, examples):
    values = proda.default_parameters(model, examples, b=0.95)
    once = proda.steady_state(model, values, examples, "physical")
    twice = proda.steady_state(model, values, proda.Forcing.from_dataset(with_clay()), "physical")
    np.testing.assert_array_equal(once["pool_carbon"], twice["pool_carbon"])


def test_covariates_are_put_on_layers_and_measured_ones_count_instead():
    forcing = proda.Forcing.from_dataset(proda.example_columns()).to_dataset()
    layers = pd.DataFrame(
        {
            "profile_id": ["prairie"] * 3,
            "upper_depth": [0.0, 0.2, 0.6],
            "lower_depth": [0.2, 0.6, 1],
            "clay": [30.0, 50.0, np.nan],
            "fine_earth_density": [1000.0, 1000.0, 1000.0],
            "density_origin": ["measured", "pedotransfer", "pedotransfer"],
        }
    )
    found = add_properties(forcing, covariates(), layers, limit_km=1000.0)
    z = CLM5_GRID.node
    np.testing.assert_allclose(
        found["clay"].sel(site="savanna"), np.interp(z, [0, 0.3, 1.0], [10, 20, 40])
    )
    np.testing.assert_allclose(found["clay"].sel(site="tundra")[z > 0.3], 20.0)
    np.testing.assert_allclose(
        found["clay"].sel(site="prairie"), np.interp(z, [0.1, 0.4], [30, 50])
    )
    np.testing.assert_allclose(found["bulk_density"].sel(site="prairie"), 1000.0)
    np.testing.assert_allclose(found["bulk_density"].sel(site="savanna")[z > 1.0], 1500.0)
    assert "from measured layers at 1 sites" in found["clay"].attrs["comment"]
    assert proda.Forcing.from_dataset(found).properties["ph"].shape == (6, 20)
    with pytest.raises(ForcingError, match=r"5 sites are more than 1 km .*first: tundra"):
        add_properties(forcing, covariates(), limit_km=1.0)
    with pytest.raises(ForcingError, match="lack silt_30cm"):
        add_properties(forcing, covariates().drop_vars("silt_30cm"))


def test_the_command_adds_them(tmp_path):
    proda.Forcing.from_dataset(proda.example_columns()).to_dataset().to_netcdf(tmp_path / "f.nc")
    covariates().to_netcdf(tmp_path / "c.nc")
    arguments = [str(tmp_path / name) for name in ("f.nc", "c.nc", "out.nc")]
    result = CliRunner().invoke(
        app, ["forcing", "add-properties", *arguments, "--limit-km", "1000"]
    )
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "out.nc") as written:
        assert proda.Forcing.from_dataset(written).properties.keys() == {
            v.name for v in SITE_PROPERTIES
        }
