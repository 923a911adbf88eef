"""A study that takes networks that were trained end to end elsewhere."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from proda.errors import StudyError
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.network_folder import load_ensemble
from proda.learning.through_model import train_end_to_end
from proda.study.pipeline import plan_study, run_study
from proda.study.settings import parse
from proda.study.twin import make_twin_world

pytestmark = pytest.mark.usefixtures("quick_figures", "small_blocks")


def study_with(folder, **networks):
    source = {"reader": "tidy", "name": "twin", "folder": "world/profiles"}
    values = {
        "study": {"name": "Networks from elsewhere", "models": ["clm5", "compas"]},
        "profiles": {"source": [source]},
        "forcing": {"climate": "world/climate.nc"},
        "covariates": {"grid": "world/covariates.nc"},
        "learning": {"route": "end-to-end", "end_to_end": {"networks": networks}},
    }
    return parse(values, "test", folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study up to its covariates, and networks trained with its data beside it."""
    folder = tmp_path_factory.mktemp("trained_elsewhere")
    make_twin_world(folder / "world", n_sites=24, resolution=30.0)
    study = folder / "study"
    run_study(study_with(folder), study, until="covariates")
    train_end_to_end(
        study / "covariates.parquet",
        folder / "gpu_clm5",
        profiles=study / "profiles",
        forcing=study / "sites.nc",
        model="clm5",
        settings=EndToEndSettings(members=2, hidden=(8,), epochs=1, constant_epochs=1),
        folds=2,
        fold_members=2,
        baselines=("depth",),
    )
    return folder


def take(folder, **networks):
    stage = f"{next(iter(networks))}/end-to-end"
    return run_study(study_with(folder, **networks), folder / "study", only=stage)


def test_trained_networks_are_taken(made):
    record = take(made, clm5="gpu_clm5")
    note = record.stages["clm5/end-to-end"].note
    assert note.startswith("2 networks on ")
    assert note.endswith("sites, taken from gpu_clm5")
    ours, theirs = (load_ensemble(made / p) for p in ("study/clm5/end_to_end/network", "gpu_clm5"))
    for a, b in zip(ours.networks.weights, theirs.networks.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (made / "study/figures/clm5_end_to_end_skill.png").is_file()
    steps, _ = plan_study(study_with(made, clm5="gpu_clm5"), made / "study")
    assert "clm5/end-to-end" in {step.stage.name for step in steps if not step.why}


def test_networks_of_another_model_are_refused(made):
    with pytest.raises(StudyError, match=r"gpu_clm5: .*networks names it for compas.*clm5"):
        take(made, compas="gpu_clm5")
    assert not (made / "study/compas/end_to_end/network").exists()


def test_networks_of_other_data_are_refused(made, tmp_path):
    other = shutil.copytree(made / "gpu_clm5", tmp_path / "other")
    about = other / "train.json"
    text = about.read_text()
    begin = text.index('"covariates": "', text.index('"data"')) + len('"covariates": "')
    about.write_text(text[:begin] + "0" + text[begin + 1 :])
    with pytest.raises(StudyError, match=r"other covariates\).*proda train .*--model clm5"):
        take(made, clm5=str(other))
    about.write_text("{}")
    with pytest.raises(StudyError, match="does not say on which data"):
        take(made, clm5=str(other))


def test_networks_of_unknown_models_are_refused(made):
    with pytest.raises(StudyError, match=r"networks names rothc.*choose one of clm5, compas"):
        study_with(made, rothc="gpu_clm5")
