"""The commands of docs/profiles.md and docs/drivers.md run as they are written there.

Made-up files stand under the names that the pages use; only the download is not real.
"""

import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import files
from proda.cli import app
from proda.drivers import download
from proda.observations.build_summary import read_build
from tests import clm_files
from tests.test_climate import made_climate

DOCS = Path(__file__).parents[1] / "docs"
PLACES = ((70.0, -90.0), (10.0, 0.0), (-30.0, 90.0), (10.0, 45.0))
"""Three land cells of the synthetic climate, and a place 5,000 km from any."""


def blocks(page, language):
    """Fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)


def commands(page):
    """Lines `proda ...` of the page's shell blocks, in order, without their comments."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("proda ")]


def layers(n, shift):
    """Three layers of each of n profiles: (profile, lat, lon, top, bottom, carbon %, density)."""
    for i in range(n):
        lat, lon = PLACES[i % 4]
        for k, (top, bottom) in enumerate(((0, 20), (20, 50), (50, 100))):
            carbon = 0.3 + (i * 37 + k * 11) % 400 / 10
            density = 0.1 + 1.4 * np.exp(-0.06 * 1.724 * carbon) + 0.01 * ((i * 5 + k) % 7 - 3)
            yield i, lat + shift, lon + 0.001 * i, top, bottom, round(carbon, 1), round(density, 4)


def survey(path):
    rows = [
        f"P{i},{lat},{lon:.3f},{top},{bottom},{carbon},{density}"
        for i, lat, lon, top, bottom, carbon, density in layers(60, 0.0)
    ]
    path.write_text("\n".join(["PEDON,Y,X,top,bottom,OC,BD", *rows]) + "\n")


def wosis(folder):
    """Write the three tables, of the columns that are needed."""
    folder.mkdir()
    profiles = {"profile_id\tlatitude\tlongitude": None}
    chemical = ["profile_id\tprofile_layer_id\tupper_depth\tlower_depth\torgc_value_avg"]
    physical = ["profile_id\tprofile_layer_id\tbdfiod_value_avg"]
    for i, lat, lon, top, bottom, carbon, density in layers(40, 0.2):
        profiles[f"{i}\t{lat}\t{lon:.3f}"] = None
        chemical.append(f"{i}\t{i}-{top}\t{top}\t{bottom}\t{10 * carbon:.1f}")
        physical.append(f"{i}\t{i}-{top}\t{density}")
    for name, lines in (
        ("profiles", profiles),
        ("layers_chemical", chemical),
        ("layers_physical", physical),
    ):
        (folder / f"wosis_201909_{name}.tsv").write_text("\n".join(lines) + "\n")


def with_soil(dataset):
    """Add the properties of the soil that `proda forcing add-properties` takes."""
    made_up = {
        "clay": (20.0, "%"),
        "silt": (30.0, "%"),
        "ph_water": (6.0, "1"),
        "bulk_density": (1.3, "g cm-3"),
        "coarse_fragments": (5.0, "%"),
    }
    shape = {d: dataset.sizes[d] for d in ("lat", "lon")}
    for name, (value, unit) in made_up.items():
        for depth in (0, 30, 100):
            full = np.full(tuple(shape.values()), value)
            dataset[f"{name}_{depth}cm"] = (tuple(shape), full, {"units": unit})
    return dataset


def covariates():
    climate = made_climate()
    zone = {"flag_values": np.array([1, 2, 3], np.int8), "flag_meanings": "ET Aw Cfa"}
    zones = np.repeat([[1.0], [2.0], [3.0]], 4, 1)
    return climate[["land_mask", "npp"]].assign(koppen_class=(("lat", "lon"), zones, zone))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run all commands once, in one folder; return it and what each printed."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(download, "get_file", fake_download)
        (settings,) = (b for b in blocks("profiles.md", "toml") if "[[source]]" in b)
        Path("profiles.toml").write_text(settings)
        lat, lon = np.arange(-89.5, 90), np.arange(-179.5, 180)
        land = xr.DataArray(np.ones((180, 360)), {"lat": lat, "lon": lon}, ("lat", "lon"))
        land.to_dataset(name="land_fraction").to_netcdf("land.nc")
        survey(Path("layers.csv"))
        wosis(Path("WoSIS_2019_September"))
        made_climate().to_netcdf("climate_halfdeg.nc")
        with_soil(covariates()).to_netcdf("covariates_halfdeg.nc")
        clm_files.write_surface("surfdata.nc")
        for year in range(1901, 1921):
            months = [(year, month) for month in range(1, 13)]
            clm_files.write_month(f"run.clm2.h0.{year}.nc", months)
        done = []
        for words in (*commands("profiles.md"), *commands("drivers.md")):
            spread = [
                name
                for w in words[1:]
                for name in (sorted(map(str, Path().glob(w))) if "*" in w else [w])
            ]
            result = CliRunner().invoke(app, spread)
            assert result.exit_code == 0, (words, result.output, result.exception)
            done.append((words, result.stdout))
        yield folder, done


def fake_download(remote, folder, on_bytes=None, pause_s=0.0):
    path = Path(folder) / remote.name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "made up")
    return path


def every_command_is_on_the_pages_and_prints_a_table(ran):
    _, done = ran
    assert {" ".join(words[1:3]) for words, _ in done if words[1] not in ("get", "column")} == {
        "profiles check",
        "profiles build",
        "profiles summary",
        "forcing from-clm",
        "forcing from-climate",
        "forcing at-sites",
        "forcing add-properties",
        "forcing summary",
        "forcing plot",
        "covariates build",
    }
    for words, printed in done:
        assert "─" in printed or words[2] == "plot", words


def the_same_sites_from_profiles_to_forcing_and_covariates(ran):
    folder, _ = ran
    summary, profiles, layers = read_build(folder / "out")
    assert summary.total("profile") == 100
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (example,) = blocks("profiles.md", "python")
        names = {}
        exec(example, names)
    assert names["profiles"].equals(profiles)
    assert names["layers"].equals(layers)
    assert len(profiles) == summary.total("profile", "kept") == 100
    assert set(layers["profile_id"]) == set(profiles["profile_id"])
    forcing = files.open_dataset(folder / "sites.zarr")
    table = pd.read_parquet(folder / "sites.parquet")
    near = profiles["profile_id"][~profiles["lon"].between(44, 46)]
    assert forcing["site"].to_numpy().tolist() == table["site"].tolist() == near.tolist()
    for written in ("sites.zarr", "sites.parquet"):
        left_out = pd.read_csv(folder / f"{written}.left_out.csv")
        assert set(left_out["site"]) == set(profiles["profile_id"]) - set(near)
        assert set(left_out["reason"]) == {"beyond_distance_limit"}
    np.testing.assert_allclose(table["distance_km"], forcing["distance_km"])
    zones = dict(zip(table["site"], table["koppen_class"], strict=True))
    assert {zones[s] for s in near[profiles["lat"].round() == 70]} == {"ET"}


def site_forcing_moves_the_models(ran):
    """`proda column` takes what `proda forcing at-sites` wrote, as Zarr."""
    folder, _ = ran
    result = files.open_dataset(folder / "steady.nc")
    assert result.sizes["site"] == 75
    assert (result["reason"] == 0).all()


def test_documented_commands(ran):
    """One test, because one run takes 14 s, half of them to compile the model's columns."""
    every_command_is_on_the_pages_and_prints_a_table(ran)
    the_same_sites_from_profiles_to_forcing_and_covariates(ran)
    site_forcing_moves_the_models(ran)
