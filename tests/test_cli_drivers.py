import re
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from proda import cli, files
from proda.cli import console
from proda.errors import CovariateError, DownloadError, ForcingError, SiteError
from proda.forcing import Forcing
from tests import clm_files as made
from tests.test_climate import made_climate
from tests.test_covariates import made_grid


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def folder(tmp_path):
    made_climate().to_netcdf(tmp_path / "climate.nc")
    made_grid().to_netcdf(tmp_path / "covariates.nc")
    sites = pd.DataFrame(
        {"profile_id": ["p1", "p2", "p3"], "lat": [70.0, 10.0, 40.0], "lon": [0.5, 90.0, 0.0]}
    )
    sites.to_csv(tmp_path / "sites.csv", index=False)
    return tmp_path


def plain(text):
    return re.sub(r"[│┃\s]+", " ", text)


def test_climate_to_sites_to_figure(run, folder):
    out = plain(run("forcing", "from-climate", folder / "climate.nc", folder / "f.zarr").stdout)
    assert "estimated yes" in out
    assert "usable 9" in out
    assert "all 12" in out
    out = plain(
        run(
            "forcing", "at-sites", folder / "f.zarr", folder / "sites.csv", folder / "s.zarr"
        ).stdout
    )
    assert "taken 2" in out
    assert "beyond_distance_limit 1" in out
    left_out = pd.read_csv(folder / "s.zarr.left_out.csv")
    assert left_out["site"].tolist() == ["p3"]
    assert left_out["reason"].tolist() == ["beyond_distance_limit"]
    assert len(Forcing.from_dataset(files.open_dataset(folder / "s.zarr"))) == 2
    for place in (("--site", "p1"), ("--lat", 10, "--lon", 89)):
        run("forcing", "plot", folder / "s.zarr", folder / "a.png", *place)
    run("forcing", "plot", folder / "f.zarr", folder / "b.png", "--lat", 70, "--lon", 0)
    assert (folder / "a.png").stat().st_size > 10_000
    with pytest.raises(SiteError, match="no site p3; the file has 2 others"):
        run("forcing", "plot", folder / "s.zarr", folder / "a.png", "--site", "p3")
    with pytest.raises(SiteError, match="Give either a site, or both"):
        run("forcing", "plot", folder / "s.zarr", folder / "a.png", "--lat", 3)


def test_clm(run, tmp_path):
    paths = made.write_history(tmp_path, (1901, 1901))
    surface = made.write_surface(tmp_path / "surface.nc")
    out = plain(
        run(
            "forcing",
            "from-clm",
            *paths,
            tmp_path / "f.zarr",
            "--surface",
            surface,
            "--years",
            "1901-1901",
        ).stdout
    )
    assert "1901-1901 (1 years)" in out
    assert "usable 23" in out
    with pytest.raises(ForcingError, match="expected FIRST-LAST"):
        run("forcing", "from-clm", *paths, tmp_path / "f.zarr", "--years", "1901")
    with pytest.raises(ForcingError, match="last the store to write"):
        run("forcing", "from-clm", *paths)
    run("forcing", "plot", tmp_path / "f.zarr", tmp_path / "a.png", "--lat", 45, "--lon", 0)


def test_covariates(run, folder):
    out = plain(run("covariates", "build", folder / "covariates.nc", folder / "g.parquet").stdout)
    assert "2 of 2 covariates have missing values" in out
    assert "elevation 20.000%" in out
    assert "5 rows x 2 covariates" in out
    sites = pd.DataFrame({"site": ["a", "b"], "latitude": [1, 45], "longitude": [11, 100]})
    sites.to_csv(folder / "two.csv", index=False)
    out = plain(
        run(
            "covariates",
            "build",
            folder / "covariates.nc",
            folder / "s.parquet",
            "--sites",
            folder / "two.csv",
            "--limit-km",
            200,
        ).stdout
    )
    assert "taken 1" in out
    assert pd.read_parquet(folder / "s.parquet")["zone"].tolist() == ["Dfc"]


def test_get_lists_and_refuses(run):
    out = plain(run("get").stdout)
    assert "wosis-2023-december" in out
    with pytest.raises(DownloadError, match="No data set nothing in the catalogue"):
        run("get", "nothing")


def test_errors_exit_with_2_and_are_one_message(monkeypatch, capsys, folder):
    monkeypatch.setattr(sys, "argv", ["proda", "forcing", "summary", str(folder / "climate.nc")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "This is not forcing: it lacks soil_temperature" in capsys.readouterr().err


def test_names_and_messages_are_printed_as_they_are(monkeypatch, capsys, folder):
    """Brackets are no markup and colons no emoji: both stand in names of sites and settings."""
    wrong = folder / "own.toml"
    wrong.write_text('["mine:x:"]\ntitle = "a"\n')
    monkeypatch.setattr(sys, "argv", ["proda", "get", "mine", "--catalogue", str(wrong)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "own.toml: [mine:x:] is not understood" in capsys.readouterr().err
    console.print_table("Sites", ["site", "n"], [("[b]:x:1 " * 12, 1_234_567)], right=[1])
    shown = plain(capsys.readouterr().out)
    assert "[b]:x:1 [b]:x:1" in shown
    assert "1234567" in shown


def test_help_has_examples(run):
    for words in (
        ("forcing", "from-climate"),
        ("forcing", "from-clm"),
        ("forcing", "at-sites"),
        ("forcing", "summary"),
        ("covariates", "build"),
        ("get",),
    ):
        assert "Example" in run(*words, "--help").stdout


def test_an_older_store_is_replaced_only_when_the_new_one_is_whole(folder):
    first = made_climate()[["npp"]]
    files.write_zarr(first, folder / "x.zarr")
    broken = first.chunk(lat=1).map(lambda a: a.copy())
    broken["npp"].data = broken["npp"].data.map_blocks(_fail, dtype=float)
    with pytest.raises(RuntimeError, match="on purpose"):
        files.write_zarr(broken, folder / "x.zarr")
    kept = files.open_dataset(folder / "x.zarr")["npp"].to_numpy()
    np.testing.assert_array_equal(kept, first["npp"])
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def _fail(_):
    raise RuntimeError("on purpose")


def test_a_folder_that_is_no_store_is_left_alone(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(files.FileError, match="is not a Zarr store; it was not changed"):
        files.write_zarr(made_climate()[["npp"]], folder / "mine")
    assert (folder / "mine" / "letter.txt").read_text() == "keep"
    with pytest.raises(files.FileError, match="holds no zarr"):
        files.open_dataset(folder / "mine")


def test_an_older_result_stays_where_the_new_one_is_refused(run, folder):
    """Whatever is wrong with the new input, only a judged result replaces what lies at OUT."""
    grid, sites = folder / "ok.nc", folder / "s.csv"
    made_climate().to_netcdf(grid)
    sites.write_text("site,lat,lon\na,10,0\n")
    cases = []
    for verb, source, out, more in (
        ("from-climate", grid, folder / "f.zarr", ()),
        ("at-sites", folder / "f.zarr", folder / "f.nc", (sites,)),
    ):
        assert run("forcing", verb, source, *more, out).exit_code == 0
        cases.append((verb, out, more))
    empty = made_climate()
    empty["npp"][:] = np.nan
    empty.to_netcdf(folder / "empty.nc")
    lost = files.open_dataset(folder / "f.zarr").load()
    lost["sand"][1, 1] = 300.0
    files.write_zarr(lost, folder / "wrong.zarr")
    for (verb, out, more), bad in zip(cases, ("empty.nc", "wrong.zarr"), strict=True):
        before = files.open_dataset(out).load()
        with pytest.raises(ForcingError):
            run("forcing", verb, folder / bad, *more, out)
        assert files.open_dataset(out).load().identical(before)
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_an_older_table_of_covariates_stays(run, folder):
    made_grid().to_netcdf(folder / "g.nc")
    assert run("covariates", "build", folder / "g.nc", folder / "c.parquet").exit_code == 0
    before = (folder / "c.parquet").read_bytes()
    made_grid().isel(lat=slice(0)).to_netcdf(folder / "rows.nc")
    sea = made_grid()
    sea["land_mask"][:] = 0
    sea.to_netcdf(folder / "sea.nc")
    for name in ("rows.nc", "sea.nc"):
        with pytest.raises((CovariateError, ForcingError)):
            run("covariates", "build", folder / name, folder / "c.parquet")
        assert (folder / "c.parquet").read_bytes() == before


def test_a_column_that_is_there_twice_is_named(folder):
    from proda.drivers.site_tables import read_sites

    (folder / "twice.csv").write_text("site,lat,lon,lat\na,1,2,3\n")
    with pytest.raises(SiteError, match=r"twice\.csv: the column lat appears 2 times"):
        read_sites(folder / "twice.csv")
    (folder / "other.csv").write_text("site,lat,lon,note,note\na,1,2,3,4\n")
    assert read_sites(folder / "other.csv")["latitude"].tolist() == [1.0]
