"""What `proda export` writes, read back by xarray and, where it is installed, by ArviZ."""

from __future__ import annotations

import json

import netCDF4
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import cli, files
from proda.errors import AssimilationError, FileError, MapError
from proda.inference.arviz import to_datatree, write_arviz
from proda.inference.assimilation_run import open_posterior
from proda.maps.ilamb import write_ilamb
from tests.run_folders import NAMES, made_run

N_LAT, N_LON = 4, 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def map_file(tmp_path_factory):
    """A map from north to south, as far as the export reads it, with the units of real ones."""
    path = tmp_path_factory.mktemp("map") / "maps.nc"
    grid = ("lat", "lon")
    rng = np.random.default_rng(0)
    sea = rng.random((N_LAT, N_LON)) < 0.3
    data = {
        name: (grid, np.where(sea, np.nan, rng.uniform(1.0, 50.0, sea.shape)), {"units": "kg m-2"})
        for name in ("cSoil", "cSoilAbove1m")
    }
    xr.Dataset(
        data
        | {
            "cell_area": (grid, np.full(sea.shape, 2500.0), {"units": "km2"}),
            "land_fraction": (grid, np.where(sea, np.nan, 0.25)),
            "reason": (grid, np.where(sea, np.nan, 0.0)),
            "member_carbon": (("realization", "lat"), np.ones((1, N_LAT))),
        },
        {"lat": 60.0 - 30.0 * np.arange(N_LAT), "lon": -150.0 + 60.0 * np.arange(N_LON)},
        {"title": "t", "source": "s", "references": "r", "model": "clm5"},
    ).to_netcdf(path)
    return path


def test_posterior_is_what_was_drawn_with_chains_and_draws_first(run, tmp_path):
    draws, summary = open_posterior(run)
    write_arviz(run, tmp_path / "p.nc")
    with xr.open_datatree(tmp_path / "p.nc", engine="netcdf4") as tree:
        assert set(tree.children) == {
            "posterior",
            "sample_stats",
            "observed_data",
            "constant_data",
        }
        posterior = tree["posterior"].to_dataset()
        assert list(posterior.data_vars) == NAMES
        sampled = summary["site"].to_numpy()[summary["reason"].to_numpy() == 0]
        assert posterior["site"].to_numpy().tolist() == sampled.tolist()
        for i, name in enumerate(NAMES):
            assert posterior[name].dims == ("chain", "draw", "site")
            expected = draws["posterior"].sel(site=sampled).isel(parameter=i)
            np.testing.assert_array_equal(
                posterior[name].transpose("site", "chain", "draw"), expected
            )
            assert posterior[name].attrs["units"] == str(summary["unit"].to_numpy()[i])
            assert posterior[name].attrs["prior_upper"] == float(summary["upper"][i])
        assert posterior.attrs["inference_library"] == "proda"
        assert json.loads(tree.attrs["settings"])["model"] == "clm5"


def test_chosen_sites_come_in_the_order_asked_for_with_their_layers(run):
    draws, summary = open_posterior(run)
    tree = to_datatree(draws, summary, ["s4", "s0"], thin=7)
    assert tree["posterior"]["site"].to_numpy().tolist() == ["s4", "s0"]
    assert tree["posterior"].sizes["draw"] == -(-draws.sizes["draw"] // 7)
    np.testing.assert_array_equal(
        tree["posterior"]["b"].sel(site="s0").to_numpy(),
        draws["posterior"].sel(site="s0", parameter="b")[:, ::7],
    )
    rows = tree["constant_data"]["row_site"].to_numpy().tolist()
    assert rows == ["s4"] * 3 + ["s0"] * 3
    assert tree["observed_data"]["soil_carbon"].attrs["units"] == "g m-3"
    np.testing.assert_allclose(tree["observed_data"]["soil_carbon"][:2], [20000, 12130.6], 1e-5)
    assert "pareto_k" in tree["constant_data"]


@pytest.mark.parametrize(
    ("sites", "thin", "message"),
    [
        (["s0", "s99"], 1, "1 of the sites are not part of this run, such as s99"),
        (["s5"], 1, "s5 has no posterior: no start"),
        (None, 0, "thin = 0"),
    ],
)
def test_wrong_sites_are_named(run, sites, thin, message):
    with pytest.raises(AssimilationError, match=message):
        to_datatree(*open_posterior(run), sites, thin)


def test_arviz_reads_it(run, tmp_path):
    """Its R-hat of the file is ours of the draws."""
    pytest.importorskip("arviz_stats.base", reason="ArviZ is not installed")
    from arviz_stats.base import array_stats

    from proda.inference.diagnostics import convergence

    write_arviz(run, tmp_path / "p.nc")
    with xr.open_datatree(tmp_path / "p.nc", engine="netcdf4") as tree:
        b = tree["posterior"]["b"]
        assert b.dims[:2] == ("chain", "draw")
        theirs = array_stats.rhat(b.to_numpy(), chain_axis=0, draw_axis=1)
    ours = convergence.rank_rhat(np.moveaxis(b.to_numpy(), 2, 0)[..., None])[:, 0]
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_annealed_draws_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    folder = made_run(tmp_path / "run", published=True)
    result = CliRunner().invoke(
        cli.app, ["export", "posterior", str(folder), "-o", str(tmp_path / "p.nc")]
    )
    assert result.exit_code == 0, result.output
    assert "NO POSTERIOR" in result.output


def test_maps_are_what_ilamb_looks_for(map_file, tmp_path):
    """Names, units, bounds, calendar as its ModelResult and Variable read them."""
    written = write_ilamb(map_file, tmp_path / "MODELS" / "proda-clm5", years=(1990, 1994))
    assert [p.name.split("_")[0] for p in written] == [
        "cSoil",
        "cSoilAbove1m",
        "areacella",
        "sftlf",
    ]
    with files.open_netcdf(map_file) as source:
        source = source.sortby("lat").load()
    for path in written[:2]:
        name = path.name.split("_")[0]
        with xr.open_dataset(path) as file:
            assert list(file.data_vars) == ["time_bnds", "lat_bnds", "lon_bnds", name]
            data = file[name].load()
            assert data.dims == ("time", "lat", "lon")
            for year in range(5):
                np.testing.assert_array_equal(data[year], source[name].astype(np.float32))
            assert [t.year for t in data["time"].to_numpy()] == [1990, 1991, 1992, 1993, 1994]
            assert data["time"].dt.calendar == "noleap"
            ends = file["time_bnds"].to_numpy()
            assert str(ends[0, 0]) == "1990-01-01 00:00:00"
            assert str(ends[-1, 1]) == "1995-01-01 00:00:00"
            assert (np.diff(file["lat"]) > 0).all()
            assert file["lat_bnds"].min() >= -90.0


def test_cf_attributes_are_complete(map_file, tmp_path):
    """A short list of what CF asks of every file that is written."""
    for path in write_ilamb(map_file, tmp_path / "m"):
        with netCDF4.Dataset(path) as file:
            assert file.Conventions.startswith("CF-1.")
            for attribute in ("title", "source", "references"):
                assert getattr(file, attribute)
            name = path.name.split("_")[0]
            for axis, unit, letter in (("lat", "degrees_north", "Y"), ("lon", "degrees_east", "X")):
                variable = file[axis]
                assert (variable.units, variable.axis) == (unit, letter)
                assert file[variable.bounds].shape == (len(variable), 2)
                assert (file[variable.bounds][:, 0] < variable[:]).all()
            assert file[name].standard_name in (
                "soil_mass_content_of_carbon",
                "cell_area",
                "land_area_fraction",
            )
            expected = {"areacella": "m2", "sftlf": "%"}.get(name, "kg m-2")
            assert file[name].units == expected
            assert file[name]._FillValue == np.float32(1e20)
            assert file[name].cell_methods
            if "time" in file.variables:
                assert file["time"].units.startswith("days since 1850-01-01")
                assert file[file["time"].bounds].shape == (len(file["time"]), 2)
            if name == "areacella":
                np.testing.assert_allclose(file[name][:], 2.5e9)
            if name == "sftlf":
                assert set(np.unique(file[name][:])) == {0.0, 25.0}


def test_wrong_requests_are_named(map_file, tmp_path):
    with pytest.raises(MapError, match="K is not available for ILAMB"):
        write_ilamb(map_file, tmp_path / "m", ["K"])
    with pytest.raises(MapError, match="years 2000 to 1999"):
        write_ilamb(map_file, tmp_path / "m", years=(2000, 1999))
    with pytest.raises(FileError, match="no such file"):
        write_ilamb(tmp_path / "absent.nc", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_commands(run, map_file, tmp_path):
    invoke = CliRunner().invoke
    result = invoke(
        cli.app, ["export", "posterior", str(run), "-o", str(tmp_path / "p.nc"), "--site", "s0"]
    )
    assert result.exit_code == 0, result.output
    assert "posterior" in result.output
    result = invoke(
        cli.app,
        [
            "export",
            "maps",
            str(map_file),
            "-o",
            str(tmp_path / "clm5"),
            "--first-year",
            "2000",
            "--last-year",
            "2001",
        ],
    )
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "clm5").glob("*.nc"))) == 4
