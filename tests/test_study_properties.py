"""A study of a model that needs properties of the soil adds them to the forcing itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from proda import files
from proda.drivers.properties import COVARIATES, DEPTHS_CM
from proda.errors import ForcingError, StudyError
from proda.study.pipeline import run_study
from proda.study.settings import StudySettings, parse
from proda.study.twin import make_twin_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world, and covariates that have the properties of the soil by depth."""
    folder = tmp_path_factory.mktemp("soil")
    make_twin_world(
        folder / "world", n_sites=24, resolution=30.0, measured_model="compas", models=("compas",)
    )
    with files.open_dataset(folder / "world/covariates.nc") as opened:
        grid = opened.load()
    values = {"clay": 22.0, "silt": 40.0, "ph": 6.0, "bulk_density": 1300.0, "coarse": 5.0}
    units = {"clay": "%", "silt": "%", "ph": "1", "bulk_density": "kg m-3", "coarse": "%"}
    for name, theirs in COVARIATES.items():
        for depth in DEPTHS_CM:
            where = np.where(np.isfinite(grid["clay"]), values[name], np.nan)
            grid[f"{theirs}_{depth}cm"] = (("lat", "lon"), where, {"units": units[name]})
    files.write_netcdf(grid, folder / "soil.nc")
    return folder


def _settings(world: Path, covariates: str, **forcing: str) -> StudySettings:
    source = {"reader": "tidy", "name": "twin", "folder": "world/profiles"}
    return parse(
        {
            "study": {"name": "Clay", "models": ["compas", "rothc"]},
            "profiles": {"source": [source]},
            "forcing": forcing or {"climate": "world/climate.nc"},
            "covariates": {"grid": covariates},
        },
        "test",
        world,
    )


def test_properties_are_added_from_the_covariates(world: Path) -> None:
    settings = _settings(world, "soil.nc")
    assert settings.needed_properties() == ("clay",)
    run_study(settings, world / "added", until="forcing")
    with files.open_dataset(world / "added/forcing.zarr") as grid:
        usable = grid["status"].to_numpy() == 0
        assert usable.any()
        assert np.isfinite(grid["clay"].to_numpy()[usable]).all()
    with files.open_dataset(world / "added/sites.nc") as sites:
        np.testing.assert_allclose(sites["clay"], 22.0, rtol=1e-6)


def test_covariates_without_properties_are_named(world: Path) -> None:
    with pytest.raises(ForcingError, match="covariates lack clay_0cm, clay_30cm, clay_100cm"):
        run_study(_settings(world, "world/covariates.nc"), world / "lacking", until="forcing")


def test_a_file_without_properties_names_the_command(world: Path) -> None:
    plain = parse(
        {
            "study": {"name": "Plain", "models": ["compas"]},
            "profiles": {
                "source": [{"reader": "tidy", "name": "twin", "folder": "world/profiles"}]
            },
            "forcing": {"climate": "world/climate.nc"},
            "covariates": {"grid": "soil.nc"},
        },
        "test",
        world,
    )
    run_study(plain, world / "plain", until="forcing")
    settings = _settings(world, "soil.nc", file="plain/forcing.zarr")
    with pytest.raises(StudyError, match=r"lacks clay.*proda forcing add-properties"):
        run_study(settings, world / "file", until="forcing")
