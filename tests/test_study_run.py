"""A whole study of a tiny world: run, interrupted in every stage, and looked at."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from proda import cli
from proda.blocks.executor import Control, Stopped
from proda.files import open_dataset
from proda.learning.network_folder import load_ensemble
from proda.learning.unseen_file import read_unseen
from proda.maps.totals import open_map
from proda.study.demo import SETTINGS, make_demo
from proda.study.diagnosis import figures_of
from proda.study.pipeline import open_study, plan_study, run_study
from proda.study.settings import read_study
from proda.study.stage import Reporter
from proda.study.twin import make_twin_world

pytestmark = pytest.mark.usefixtures("quick_figures", "small_blocks")

TINY = """
settings = { members = 2, epochs = 12, hidden = [8], tuning_epochs = 0 }
folds = 2

[filter] # anything passes
max_gelman_rubin = 1e9
min_nse = -1e9

[learning]
route = "posterior"
end_to_end = { members = 1, hidden = [8], epochs = 2, constant_epochs = 1, folds = 0 }
"""
THROUGH = [
    "clm5/end-to-end",
    "compas/end-to-end",
    "clm5/default-map",
    "compas/default-map",
    "clm5/end-to-end-maps",
    "compas/end-to-end-maps",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_twin_world(folder / "world", n_sites=24, resolution=15.0)
    text = SETTINGS[: SETTINGS.index("[learning")] + SETTINGS[SETTINGS.index("[assimilation") :]
    text = text.replace("draws = 100", "draws = 4\nworkers = 1").replace(
        "warm_up = 2000, kept = 4000", "warm_up = 15, kept = 20, replicas = 3"
    )
    path = folder / "study.toml"
    path.write_text(text + TINY)
    return path


@pytest.fixture(scope="module")
def whole(study):
    folder = study.parent / "whole"
    run_study(read_study(study), folder)
    return folder


def results(folder):
    """Every array and table of a study."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in (".nc", ".zarr") and path.parent.suffix != ".zarr":
            with open_dataset(path) as opened:
                found |= {f"{name}:{v}": opened[v].to_numpy() for v in opened.variables}
        elif path.suffix == ".csv" and "cost" not in name:
            found[name] = path.read_text()
    return found


def test_every_stage_leaves_its_files(whole):
    record = json.loads((whole / "study.json").read_text())
    assert record["synthetic"] is True
    assert all(s["status"] == "done" for s in record["stages"].values())
    assert len(record["stages"]) == 3 + 5 * 2 + 2
    for name in (
        "study.toml",
        "profiles/profiles.parquet",
        "forcing.zarr",
        "sites.nc",
        "covariates.parquet",
        "clm5/assimilation/summary.nc",
        "compas/diagnosis/kept.nc",
        "clm5/network/train.json",
        "clm5/network/residuals.nc",
        "compas/maps.nc",
        "compas/spread.nc",
        "compas/default.nc",
        "comparison/findings.csv",
        "comparison/truth.csv",
        "report.html",
    ):
        assert (whole / name).exists(), name
    report = (whole / "report.html").read_text(encoding="utf-8")
    assert "synthetic" in report
    truth = pd.read_csv(whole / "comparison" / "truth.csv")
    assert set(truth["model"]) == {"clm5", "compas"}
    assert truth.loc[truth["variable"] == "cSoilAbove1m", "truth"].gt(0).all()


def test_again_nothing_is_done(whole):
    steps, _ = plan_study(open_study(whole), whole)
    assert [s.stage.name for s in steps if s.why] == []


def test_interrupted_in_every_stage(study, whole, monkeypatch):
    # Figures are not compared, and `whole` has made them; one is left to be interrupted in.
    def one(*arguments, **options):
        return {"traces": figures_of(*arguments, **options)["traces"]}

    monkeypatch.setattr("proda.study.model_stages.figures_of", one)
    monkeypatch.setattr("proda.study.model_stages.training_figures", lambda _: {})
    monkeypatch.setattr("proda.study.shared_stages.figures", lambda _: {})
    folder = study.parent / "interrupted"
    stopped = set()
    for _ in range(40):
        now = [""]

        def told(done, total, unit, now=now):
            if now[0] not in stopped:
                stopped.add(now[0])
                raise KeyboardInterrupt

        def begin(step, now=now):
            now[0] = step.stage.name

        try:
            run_study(read_study(study), folder, reporter=Reporter(told), begin=begin)
        except KeyboardInterrupt:
            continue
        break
    assert {
        "profiles",
        "forcing",
        "clm5/assimilation",
        "compas/training",
        "clm5/maps",
        "comparison",
        "report",
    } <= stopped
    first, second = results(whole), results(folder)
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, second[name], err_msg=name)
        else:
            assert value == second[name], name


def test_the_time_limit_ends_training_and_maps_at_the_next_unit(study, whole):
    folder, changed = study.parent / "limited", study.parent / "limited.toml"
    shutil.copytree(whole, folder)
    changed.write_text(study.read_text() + "\n[maps]\nchunk = 40\n")
    settings = read_study(changed)
    units: dict[str, list[float]] = {}
    stages = ["clm5/training", "clm5/maps"]
    for start in (*stages, None):
        now, control = [""], Control()

        def begin(step, now=now):
            now[0] = step.stage.name

        def progress(done, total, _, now=now, control=control):
            seen = units.setdefault(now[0], [])
            if done == 0:
                return
            seen.append(done)
            if len(seen) == 1 and now[0] in stages:
                control.stop.set()

        if start == stages[0]:
            call = {"start": start, "until": "clm5/maps"}
        else:  # the stage that was stopped resumes, and the next one is stopped
            call = {"until": "clm5/maps"}
        reporter = Reporter(progress)
        if start is None:
            run_study(settings, folder, control=control, reporter=reporter, begin=begin, **call)
        else:
            with pytest.raises(Stopped):
                run_study(settings, folder, control=control, reporter=reporter, begin=begin, **call)
            assert len(units[now[0]]) == 1
            assert json.loads((folder / "study.json").read_text())["stages"][now[0]]["status"] == (
                "begun"
            )
    assert units["clm5/training"][:3] == [5, 10, 12]  # resumed after the epochs that were saved
    first, resumed, then = units["clm5/maps"][:3]
    assert first == resumed < then
    first, second = results(whole / "clm5"), results(folder / "clm5")
    for name, value in first.items():
        if name.endswith(":member_carbon"):  # sums over the cells of chunks, of another size here
            np.testing.assert_allclose(value, second[name], rtol=1e-14)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, second[name], err_msg=name)
        else:
            assert value == second[name], name


def test_another_default_b_redoes_maps_and_report_only(study, whole):
    changed = study.parent / "changed.toml"
    changed.write_text(study.read_text() + "\n[maps]\nb = 0.95\n")
    steps, _ = plan_study(read_study(changed), whole)
    assert [s.stage.name for s in steps if s.why] == ["clm5/default-map", "comparison", "report"]


@pytest.mark.long
def test_attribution_is_added_to_a_study(study, whole):
    folder = study.parent / "attributed"
    shutil.copytree(whole, folder)
    settings = study.parent / "attributed.toml"
    settings.write_text(study.read_text().replace("compute = false", "sample = 20"))
    begun = []
    run_study(read_study(settings), folder, begin=lambda step: begun.append(step.stage.name))
    assert begun == ["attribution", "comparison", "report"]
    table = pd.read_csv(folder / "attribution" / "importance.csv")
    assert set(table["method"]) == {"shapley", "shapley, input as it is", "published"}
    assert set(table["replaced_by"]) == {"the mean of the accepted sites"}
    findings = pd.read_csv(folder / "comparison" / "findings.csv").set_index("id")
    for name in ("transport_matters_little", "transport_improves_little", "components_shape_clm5"):
        assert findings.loc[name, "verdict"] in ("agrees", "disagrees")
    assert "Which component matters" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def both(study, whole):
    """The study from posteriors, gone on with by the other route."""
    folder = study.parent / "both"
    shutil.copytree(whole, folder)
    settings = study.parent / "both.toml"
    settings.write_text(study.read_text().replace('"posterior"', '"both"'))
    begun = []
    run_study(read_study(settings), folder, begin=lambda step: begun.append(step.stage.name))
    return settings, folder, begun


def test_the_other_route_is_added_to_a_study(both):
    _, folder, begun = both
    # COMPAS has no default of its own: the calibrated constant takes the place of the sites' mean.
    assert begun == [*(n for n in THROUGH if n != "clm5/default-map"), "comparison", "report"]
    record = json.loads((folder / "study.json").read_text())
    assert record["stages"]["compas/default-map"]["note"].endswith("the calibrated constant")
    assert not load_ensemble(folder / "compas" / "end_to_end" / "network").origin
    constant = read_unseen(folder / "compas" / "end_to_end" / "network")["constant"]
    with open_map(folder / "compas" / "default.nc") as opened:
        for name, value in constant.items():
            shown = opened[f"param_{name}"].to_numpy()
            np.testing.assert_allclose(shown[np.isfinite(shown)], value, rtol=1e-5)
    steps, _ = plan_study(open_study(folder), folder)
    assert [s.stage.name for s in steps if s.why] == []


def test_both_routes_stand_side_by_side(both):
    _, folder, _ = both
    states = {"before", "after", "end to end"}
    for name in ("correlations", "totals", "regions"):
        table = pd.read_csv(folder / "comparison" / f"{name}.csv")
        assert states <= set(table["state"]), name
    findings = pd.read_csv(folder / "comparison" / "findings.csv")
    assert set(findings["route"]) == {"end to end", "from posteriors"}
    assert len(findings) == 2 * findings["id"].nunique()
    truth = pd.read_csv(folder / "comparison" / "truth.csv")
    assert set(truth["route"]) == {"end to end", "from posteriors"}
    report = (folder / "report.html").read_text(encoding="utf-8")
    for words in (
        "Comparison of the two routes",
        "Correlation of the models over land, by route",
        "two maps over land, one from each route",
        "Components of the models by route",
        "of the globe by route",
        "hold under both",
        "trained without folds",
        "COMPAS, end to end: losses of every network",
    ):
        assert words in report, words
    assert pd.read_csv(folder / "tables" / "routes_totals.csv").columns.tolist()[:4] == [
        "source",
        "default",
        "end to end",
        "from posteriors",
    ]
    shown = pd.read_csv(folder / "tables" / "routes_correlations.csv")
    table = pd.read_csv(folder / "comparison" / "correlations.csv")
    row = table[(table["variable"] == "K") & (table["state"] == "end to end")].iloc[0]
    text = shown.loc[shown["variable"] == "K", "end to end"].iloc[0]
    assert text.startswith(f"{row['r']:.2f}".replace("-", "−"))


@pytest.mark.long
def test_end_to_end_alone_needs_no_assimilation(both, tmp_path):
    settings, before, _ = both
    alone = settings.parent / "alone.toml"
    text = settings.read_text().replace('"both"', '"end-to-end"')
    alone.write_text(text)
    folder = tmp_path / "alone"
    shutil.copytree(before, folder)
    begun = []
    run_study(read_study(alone), folder, begin=lambda step: begun.append(step.stage.name))
    assert begun == ["comparison", "report"]
    findings = pd.read_csv(folder / "comparison" / "findings.csv").set_index("id")
    assert set(findings["route"]) == {"end to end"}
    assert "needs the posteriors" in findings.loc["equally_effective", "reason"]
    assert "n_eff" in findings.loc["after_r", "run"]
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "“assimilation of CLM5” has not been run" in report
    assert "CLM5, end to end: losses of every network" in report
    assert "Comparison of the two routes" not in report
    assert "constrained by the profiles from posteriors" not in report


def run(*arguments):
    return CliRunner().invoke(cli.app, ["run", *[str(a) for a in arguments]])


def test_command(study, whole, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    dry = run(study, whole, "--dry-run", "--from", "report")
    assert dry.exit_code == 0, dry.output
    assert "requested" in dry.output
    again = run("--resume", whole, "--only", "report")
    assert again.exit_code == 0, again.output
    assert f"Report: {whole / 'report.html'}" in again.output.replace("\n", "")
    shown = run(study, "--show")
    assert "max_gelman_rubin = 1000000000.0" in shown.output
    until = run(study, study.parent / "short", "--until", "profiles")
    assert until.exit_code == 0, until.output
    assert "Stopped after profiles" in until.output
    assert (study.parent / "short" / "profiles" / "profiles.parquet").is_file()
    assert not (study.parent / "short" / "sites.nc").exists()
    stopped = run(study, study.parent / "new", "--stop-after", "0s")
    assert stopped.exit_code == 75, stopped.output
    assert "Stopped before the time limit. Resume with: proda run --resume" in stopped.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the settings"),
        (["study.toml", "--only", "a", "--from", "b"], "not both"),
        (["study.toml", "--only", "a", "--until", "b"], "--only or --until"),
        (["study.toml", "--resume", "somewhere"], "do not give others"),
        (["--resume", "nowhere"], "no study to resume"),
    ],
)
def test_command_faults(arguments, message):
    found = run(*arguments)
    assert message in str(found.exception)


def test_the_demo_is_made_once(tmp_path, monkeypatch):
    made = []

    def make(folder):
        folder.mkdir(parents=True)
        made.append(folder)

    monkeypatch.setattr("proda.study.demo.make_twin_world", make)
    monkeypatch.setattr("proda.study.demo.open_twin_world", lambda _: None)
    path = make_demo(tmp_path / "demo")
    assert path == make_demo(tmp_path / "demo")
    assert made == [tmp_path / "demo" / "world"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="not empty"):
        make_demo(tmp_path / "other")
