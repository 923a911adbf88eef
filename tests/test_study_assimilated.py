"""A study that takes finished assimilations from elsewhere."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from proda.checksums import tree_digest
from proda.errors import StudyError
from proda.files import open_dataset
from proda.inference.assimilation_run import create, open_posterior
from proda.inference.runner import work
from proda.study.pipeline import plan_study, run_study
from proda.study.settings import read_study
from proda.study.twin import make_twin_world

SETTINGS = """
[study]
name = "Posteriors from elsewhere"
models = ["clm5", "compas"]
[[profiles.source]]
name = "twin"
reader = "tidy"
folder = "world/profiles"
[forcing]
climate = "world/climate.nc"
[covariates]
grid = "world/covariates.nc"
[learning]
route = "posterior"
[assimilation]
chains = 2
draws = 4
sampler = "tempered"
options = { warm_up = 5, kept = 4, replicas = 2 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study up to its covariates, and a run of its sites in a folder of its own."""
    folder = tmp_path_factory.mktemp("elsewhere")
    make_twin_world(folder / "world", n_sites=24, resolution=15.0)
    (folder / "study.toml").write_text(SETTINGS)
    settings = read_study(folder / "study.toml")
    study = folder / "study"
    run_study(settings, study, until="covariates")
    run = create(
        folder / "gpu_clm5",
        settings.assimilation_of("clm5"),
        study / "profiles",
        study / "sites.nc",
        n_sites=2,
    )
    work(run)
    return folder


def with_runs(folder, **runs):
    path = folder / "with_runs.toml"
    named = ", ".join(f'{model} = "{run}"' for model, run in runs.items())
    path.write_text(f"{SETTINGS}runs = {{ {named} }}\n")
    return read_study(path)


def run_until_assimilation(folder, model="clm5", **runs):
    study = folder / "study"
    return run_study(with_runs(folder, **runs), study, until=f"{model}/assimilation")


def test_a_finished_run_is_taken(made):
    record = run_until_assimilation(made, clm5="gpu_clm5")
    entry = record.stages["clm5/assimilation"]
    assert entry.note == "2 sites, taken from gpu_clm5 (tempered, 2 chains of 4 draws)"
    draws, summary = open_posterior(made / "study" / "clm5" / "assimilation")
    with open_dataset(made / "gpu_clm5" / "posterior.zarr") as before:
        np.testing.assert_array_equal(draws["posterior"], before["posterior"])
    assert summary.sizes["site"] == 2
    steps, _ = plan_study(with_runs(made, clm5="gpu_clm5"), made / "study")
    assert {s.stage.name for s in steps if not s.why} >= {"profiles", "clm5/assimilation"}


def test_the_run_of_another_model_is_refused(made):
    with pytest.raises(StudyError, match=r"gpu_clm5: .* of model 'clm5'; expected 'compas'"):
        run_study(with_runs(made, compas="gpu_clm5"), made / "study", only="compas/assimilation")


def test_an_unfinished_run_is_refused(made, tmp_path):
    half = shutil.copytree(made / "gpu_clm5", tmp_path / "half")
    (half / "summary.nc").unlink()
    with pytest.raises(StudyError, match=f"not finished.*proda assimilate --resume {half}"):
        run_until_assimilation(made, clm5=half)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("profile_tables", {"x": "0"}, "profiles were rebuilt"),
        ("forcing_files", "0", "forcing has changed"),
    ],
)
def test_a_run_of_other_data_is_refused(made, tmp_path, entry, value, message):
    other = shutil.copytree(made / "gpu_clm5", tmp_path / "other")
    text = json.loads((other / "run.json").read_text()) | {entry: value}
    (other / "run.json").write_text(json.dumps(text))
    with pytest.raises(StudyError, match=f"other: .*{message}.*proda assimilate .*/profiles"):
        run_until_assimilation(made, clm5=other)
    assert not (made / "study" / "clm5" / "assimilation").exists()


def test_forcing_with_more_variables_is_the_same(made, tmp_path):
    """Such as that with soil properties, which other models need."""
    more = made / "sites_and_clay.nc"
    with open_dataset(made / "study" / "sites.nc") as forcing:
        forcing.isel(site=slice(None, None, -1)).assign(clay=forcing["sand"]).to_netcdf(more)
    run = create(
        tmp_path / "run",
        with_runs(made).assimilation_of("clm5"),
        made / "study" / "profiles",
        more,
        n_sites=2,
    )
    shutil.copy(made / "gpu_clm5" / "summary.nc", run.folder)
    shutil.copytree(made / "gpu_clm5" / "posterior.zarr", run.folder / "posterior.zarr")
    run_until_assimilation(made, clm5=run.folder)
    with open_dataset(more) as forcing:
        colder = forcing.assign(soil_temperature=forcing["soil_temperature"] - 1.0).load()
    more.unlink()
    colder.to_netcdf(more)
    text = json.loads((run.folder / "run.json").read_text()) | {"forcing_files": tree_digest(more)}
    (run.folder / "run.json").write_text(json.dumps(text))
    with pytest.raises(StudyError, match="soil_temperature differs"):
        run_until_assimilation(made, clm5=run.folder)


def test_runs_of_unknown_models_are_refused(made):
    with pytest.raises(StudyError, match=r"runs names rothc.*choose one of clm5, compas"):
        with_runs(made, rothc="gpu_clm5")
