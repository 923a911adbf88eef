"""A study with a model from a file runs through, and a change of the file is seen."""

from __future__ import annotations

import json
import re

import pytest

from proda.errors import StudyError
from proda.files import open_dataset
from proda.learning.network_folder import load_ensemble
from proda.models.outside import CHECKSUM, SOURCE
from proda.study.demo import SETTINGS
from proda.study.pipeline import open_study, plan_study, run_study
from proda.study.settings import read_study
from proda.study.twin import make_twin_world
from tests.test_outside_models import TWO_POOL, sha

pytestmark = pytest.mark.usefixtures("quick_figures", "small_blocks")

LEAST = """
settings = { members = 2, epochs = 2, hidden = [8], tuning_epochs = 0 }
folds = 2

[filter] # anything passes
max_gelman_rubin = 1e9
min_nse = -1e9

[learning]
route = "both"
end_to_end = { members = 1, hidden = [8], epochs = 1, constant_epochs = 1, folds = 0 }
"""


def settings_with(models: str, route: str = "both") -> str:
    text = SETTINGS[: SETTINGS.index("[learning")] + SETTINGS[SETTINGS.index("[assimilation") :]
    text = text.replace("draws = 100", "draws = 4\nworkers = 1").replace(
        "warm_up = 2000, kept = 4000", "warm_up = 15, kept = 20, replicas = 3"
    )
    text, changed = re.subn(r"^\[study\]$", f"[study]\nmodels = {models}", text, flags=re.MULTILINE)
    assert changed == 1
    end = LEAST if route == "both" else LEAST[LEAST.index("[learning]") :]
    text = text if route == "both" else text[: text.index("[assimilation")]
    return text + end.replace('route = "both"', f'route = "{route}"')


@pytest.mark.parametrize("route", ["end-to-end", pytest.param("both", marks=pytest.mark.long)])
def test_a_study_with_a_model_from_a_file_runs_through(tmp_path, route):
    make_twin_world(tmp_path / "world", n_sites=24, resolution=15.0)
    model, slow = tmp_path / "two_pool.py", tmp_path / "slow_pool.py"
    model.write_text(TWO_POOL)
    slow.write_text(TWO_POOL.replace('"two_pool"', '"slow_pool"').replace("150.0", "300.0"))
    path = tmp_path / "study.toml"
    path.write_text(settings_with('["slow_pool.py:TwoPool", "two_pool.py:TwoPool"]', route))
    settings = read_study(path)
    assert settings.study.models == ("slow_pool", "two_pool")
    sources = {"slow_pool": f"{slow}:TwoPool", "two_pool": f"{model}:TwoPool"}
    assert settings.study.sources == sources
    own = settings.assimilation_of("two_pool")
    assert (own.model, own.model_source) == ("two_pool", sources["two_pool"])
    folder = tmp_path / "study"
    run_study(settings, folder)

    origin = {SOURCE: f"{model}:TwoPool", CHECKSUM: sha(model)}
    record = json.loads((folder / "study.json").read_text())
    assert record["models"] == {
        "slow_pool": {SOURCE: sources["slow_pool"], CHECKSUM: sha(slow)},
        "two_pool": origin,
    }
    assert all(stage["status"] == "done" for stage in record["stages"].values())
    posterior = (
        ["assimilation/summary.nc", "assimilation/posterior.zarr", "diagnosis/kept.nc", "maps.nc"]
        if route == "both"
        else []
    )
    for name in ("default.nc", "end_to_end/maps.nc", *posterior):
        with open_dataset(folder / "two_pool" / name) as opened:
            assert {k: opened.attrs[k] for k in origin} == origin, name
            assert opened.attrs["model"] == "two_pool"
    networks = ["end_to_end/network", *(["network"] if route == "both" else [])]
    for network in networks:
        assert load_ensemble(folder / "two_pool" / network).origin == origin
        assert json.loads((folder / "two_pool" / network / "train.json").read_text())[
            CHECKSUM
        ] == sha(model)
    assert load_ensemble(folder / "slow_pool" / "end_to_end" / "network").origin[CHECKSUM] == sha(
        slow
    )
    report = (folder / "report.html").read_text()
    assert sha(model) in report
    assert "TWO_POOL" in report
    assert (folder / "figures" / "two_pool_pools_and_flows.png").is_file()

    again = open_study(folder)
    assert again.study == settings.study
    steps, _ = plan_study(again, folder)
    assert not [step for step in steps if step.why]
    model.write_text(TWO_POOL + "\n")
    steps, _ = plan_study(open_study(folder), folder)
    why = {step.stage.name: step.why for step in steps if step.why}
    if route == "both":
        assert why["two_pool/assimilation"] == f"changed: file {model}"
    assert why["two_pool/end-to-end"] == f"changed: file {model}"
    assert "comparison" in why
    assert not [name for name in why if name.startswith(("slow_pool", "forcing"))]
    model.unlink()
    with pytest.raises(StudyError, match=rf"study: {model}: there is no such file"):
        open_study(folder)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ('["two_pool.py:TwoPool", "two_pool.py:TwoPool"]', "appears twice"),
        ('["two_pool.py:TwoPool", "copy.py:TwoPool"]', "two models have the name two_pool"),
        ('["none.py:TwoPool"]', r"none\.py: there is no such file"),
        ('["two_pool.py:Three"]', "contains no class Three; its models are TwoPool"),
        ('["clm5"]\nsources = { two_pool = "two_pool.py:TwoPool" }', "not among the models"),
        ('["clm5"]\nsources = { clm5 = "two_pool.py:TwoPool" }', "is called two_pool, not clm5"),
    ],
)
def test_faults_of_the_models_of_a_study(tmp_path, models, message):
    for name in ("two_pool.py", "copy.py"):
        (tmp_path / name).write_text(TWO_POOL)
    path = tmp_path / "study.toml"
    path.write_text(settings_with(models))
    with pytest.raises(StudyError, match=message):
        read_study(path)
