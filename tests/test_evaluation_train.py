"""`proda train` and `proda predict` on a twin world: what they write, and whether it is right."""

from __future__ import annotations

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import files
from proda.cli import app
from proda.errors import FileError, LearningError
from proda.learning.from_posteriors import train_network
from proda.learning.learning_settings import LearningSettings, study
from proda.learning.network_folder import load_ensemble
from proda.learning.predict import predict_table
from tests.conftest import HERE
from tests.test_docs import code
from tests.training_worlds import make_world

OPTIONS = {"members": 2, "epochs": 30, "tuning_epochs": 12}
SETTINGS = LearningSettings(**OPTIONS)
FOLDS = {"folds": 3, "fold_members": 2, "trees": 20}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="module")
def trained(world):
    """Run the commands of docs/learning.md, the training cut short; return what each printed."""
    lines = [
        line
        for block in code(HERE.parent / "docs" / "learning.md", "bash")
        for line in block.splitlines()
    ]
    short = [f"--{k.replace('_', '-')}={v}" for k, v in {**OPTIONS, **FOLDS}.items()]
    stages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.folder)
        for words in map(shlex.split, lines):
            more = [*short, "--no-curve"] if words[1] == "train" else []
            result = CliRunner().invoke(app, [*words[1:], *more], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            stages.append(result.stdout)
    return stages


def again(world, name, settings=SETTINGS, **changes):
    return train_network(
        *world.arguments(),
        world.path(name),
        settings,
        **{**FOLDS, **world.data(), "curve": False, **changes},
    )


def test_folder_is_whole_and_says_how_it_was_made(world, trained):
    folder = world.path("network")
    written = {path.name for path in folder.iterdir()}
    assert written == {
        "network.json",
        "weights.npz",
        "history.csv",
        "skill_parameters.csv",
        "skill_carbon.csv",
        "importance.csv",
        "held_out.nc",
        "left_out.csv",
        "train.json",
    }
    header = json.loads((folder / "train.json").read_text())
    assert header["tuned"] is True
    assert header["settings"] == SETTINGS.as_dict()
    assert header["sites"] == len(world.covariates)
    assert not list(world.folder.glob(".network*"))
    history = load_ensemble(folder).history
    assert set(history["stage"]) == {"parameters", "carbon"}
    assert history[history["stage"] == "carbon"]["epoch"].min() == 0
    assert "Carbon of held-out profiles" in trained[0]
    drawn = {path.name for path in world.path("figures").iterdir()}
    assert drawn == {"training.png", "parameters.png", "carbon.png", "skill.png", "importance.png"}


def test_tuned_network_beats_the_untuned_and_the_baselines_where_marginals_mislead(world, trained):
    table = pd.read_csv(world.path("network") / "skill_carbon.csv")
    assert set(table["by"]) == {"all", "depth", "zone", "koeppen"}
    whole = table[table["by"] == "all"].set_index("method")
    assert (whole["sites"] == len(world.covariates)).all()
    assert (whole["lost"] == 0).all()
    best = whole.loc["network", "rmse_log"]
    for other in ("default", "mean", "nearest_site", "random_forest", "network_untuned"):
        assert best < 0.8 * whole.loc[other, "rmse_log"], other
    assert abs(whole.loc["network", "bias_log"]) < 0.5 * abs(
        whole.loc["network_untuned", "bias_log"]
    )


def test_an_interrupted_call_goes_on_to_the_same_network(world, trained):
    def interrupt(stage, epoch):
        def told(progress):
            if (progress.stage, progress.epoch) == (stage, epoch):
                raise KeyboardInterrupt

        return told

    for stage, epoch in (("parameters", 10), ("carbon", 3)):
        with pytest.raises(KeyboardInterrupt):
            again(world, "resumed", progress=interrupt(stage, epoch))
        assert not world.path("resumed").exists()
    seen = []
    result = again(world, "resumed", progress=lambda p: seen.append((p.stage, p.epoch)))
    assert seen[0] == ("carbon", 4)
    first = load_ensemble(world.path("network"))
    for a, b in zip(first.networks.weights, result.learned.ensemble.networks.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    pd.testing.assert_frame_equal(
        pd.read_csv(world.path("network") / "skill_carbon.csv"),
        pd.read_csv(world.path("resumed") / "skill_carbon.csv"),
    )
    assert not list(world.folder.glob(".resumed*"))


def test_without_profiles_nothing_is_tuned_and_that_is_said(world, trained):
    result = again(world, "bare", profiles=None, forcing=None, folds=0, importance=0)
    assert result.learned.tuned is None
    assert result.skill_carbon is None
    assert "neither tuned" in " ".join(result.notes)
    assert study().tuning_epochs == 0
    with pytest.raises(
        LearningError, match="both the profiles and the forcing at sites, or neither"
    ):
        again(world, "bare", forcing=None)


def test_predictions_of_a_table_and_flags(world, trained):
    assert "wetness" in trained[1]
    found = files.open_netcdf(world.path("parameters.nc")).load()
    assert found["parameters"].dims == ("member", "site", "parameter")
    assert found["draws"].sizes == {"member": 2, "site": 5, "parameter": 21}
    assert found["usable"].to_numpy().tolist() == [1, 0, 1, 1, 1]
    assert found["flag"].to_numpy()[0] == 1
    assert np.isnan(found["mean"][1]).all()
    rows = pd.read_parquet(world.path("cells.parquet"))
    direct = load_ensemble(world.path("network")).predict(rows, draws=True)
    np.testing.assert_array_equal(found["draws"], direct["draws"])


def test_predictions_of_a_grid_take_its_land_cells(world, trained):
    found = files.open_netcdf(world.path("parameters_grid.nc")).load()
    assert found.sizes["site"] == 4
    assert found["row"].to_numpy().tolist() == [0, 0, 1, 1]
    assert found["latitude"].to_numpy().tolist() == [40.0, 40.0, 50.0, 50.0]


def test_bad_input_is_named(world, trained):
    network = world.path("network")
    world.covariates.drop(columns="clay").to_parquet(world.path("less.parquet"), index=False)
    with pytest.raises(LearningError, match="lack clay"):
        predict_table(network, world.path("less.parquet"))
    with pytest.raises(LearningError, match="trained for the model clm5, not compas"):
        predict_table(network, world.path("sites.parquet"), model="compas")
    with pytest.raises(FileError, match=r"absent\.parquet: there is no such file"):
        predict_table(network, world.path("absent.parquet"))
    world.path("broken.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(FileError, match="not a readable Parquet"):
        predict_table(network, world.path("broken.parquet"))
    broken = world.path("broken")
    shutil.copytree(network, broken)
    content = bytearray((broken / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (broken / "weights.npz").write_bytes(content)
    with pytest.raises(FileError, match=r"weights\.npz"):
        predict_table(broken, world.path("sites.parquet"))
    some = xr.load_dataset(world.path("sites.nc")).isel(site=slice(0, 90))
    some.to_netcdf(world.path("some.nc"))
    with pytest.raises(LearningError, match=r"some\.nc: 30 of the 120 sites"):
        again(world, "never", forcing=world.path("some.nc"))
    with pytest.raises(LearningError, match="needs bounded = True"):
        again(world, "unbounded", LearningSettings(**OPTIONS, bounded=False))
    assert not world.path("never").exists()
    assert not world.path("unbounded").exists()
