"""Evidence and stacking of several models, where the answer can be written down."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import optimize, stats
from typer.testing import CliRunner

from proda import files
from proda.cli import app
from proda.comparison.choice_inputs import open_choice
from proda.comparison.choice_of_many import (
    LOG_EVIDENCE,
    PSIS_LOO,
    Choice,
    Scores,
    block_error,
    evidence_table,
    site_scores,
    stacking_table,
)
from proda.comparison.compare_models import choice_tables
from proda.comparison.left_out import (
    cross_density,
    left_out_choice,
    left_out_measure,
    skill_table,
    student_scale,
)
from proda.comparison.model_files import END_TO_END, OpenedModel
from proda.comparison.stacking import (
    groups_of_blocks,
    jackknife_error,
    stacking_weights,
)
from proda.errors import ComparisonError, FileError
from proda.inference.assimilation_settings import AssimilationSettings
from proda.learning.carbon_loss import DEGREES
from proda.plots.evidence import evidence_figure
from tests.comparison_worlds import made_summary

THREE = {"clm5": np.zeros(60), "mimics": np.linspace(-1.0, 3.0, 60), "rothc": np.full(60, -2.0)}


def opened(evidence=None, kept=None):
    """Return models with summaries, of a given log evidence and sites kept."""
    found = {}
    for name, values in (THREE if evidence is None else evidence).items():
        summary = made_summary("clm5", values).assign_attrs(model=name)
        table = None
        if kept is not None:
            table = pd.DataFrame({"kept": kept[name]}, index=summary["site"].to_numpy())
        found[name] = OpenedModel(name, {}, summary, table)
    return found


def test_identical_models_share_their_weight():
    one = np.random.default_rng(1).normal(size=(200, 1))
    np.testing.assert_allclose(stacking_weights(np.repeat(one, 4, axis=1)), 0.25, atol=1e-9)
    # Two that are the same beside a third that is better at half of the data.
    third = np.where(np.arange(200)[:, None] % 2, one + 2.0, one - 2.0)
    found = stacking_weights(np.hstack([one, one, third]))
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_a_dominated_model_has_no_weight():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 300))
    worse = np.minimum(first, second) - 0.5 - rng.random(300)
    assert stacking_weights(np.stack([first, second, worse], axis=1))[2] == 0.0
    assert stacking_weights(np.stack([first - 0.2, first], axis=1)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("q", "r", "s"), [(0.5, 0.2, 0.2), (0.7, 0.3, 0.1), (0.3, 0.0, 0.0)])
def test_weights_of_two_kinds_of_data(q, r, s):
    """A share q has the densities (1, r), the rest (s, 1): the score's derivative is 0 at w."""
    with np.errstate(divide="ignore"):
        log = np.log(np.array([[1.0, r], [s, 1.0]]))
    a, b = 1.0 - r, 1.0 - s
    w = (q * a - (1.0 - q) * b * r) / (a * b)
    found = stacking_weights(log, np.array([q, 1.0 - q]))
    np.testing.assert_allclose(found, [w, 1.0 - w], atol=1e-4)
    n = round(10 * q)
    same = stacking_weights(np.repeat(log, [n, 10 - n], axis=0))
    np.testing.assert_allclose(same, found, atol=1e-6)


def test_no_other_weights_are_better():
    rng = np.random.default_rng(3)
    log = stats.norm.logpdf(rng.normal(size=(400, 1)), rng.normal(size=5), [0.5, 0.8, 1, 2, 3])
    found = stacking_weights(log)
    score = np.log(np.exp(log) @ found).mean()
    others = rng.dirichlet(np.full(5, 0.3), 4000)
    assert (np.log(np.exp(log) @ others.T).mean(axis=0) <= score + 1e-9).all()
    assert found.sum() == pytest.approx(1.0)


def test_data_that_no_model_allows_are_refused():
    for bad in (np.full((2, 2), -np.inf), np.array([[0.0, np.nan]]), np.zeros((0, 2))):
        with pytest.raises(ComparisonError, match="Stacking needs data"):
            stacking_weights(bad)


def test_jackknife_is_that_of_the_mean():
    values = np.random.default_rng(4).normal(size=50)
    group = groups_of_blocks(np.arange(50))
    assert np.bincount(group).tolist() == [5] * 10
    error = jackknife_error(lambda use: np.atleast_1d(values[use].mean()), group)
    means = np.array([values[group == g].mean() for g in range(10)])
    assert error[0] == pytest.approx(means.std(ddof=1) / np.sqrt(10))
    assert np.isnan(jackknife_error(lambda use: np.ones(1), np.array([0, 1, 1]))).all()


def test_error_of_a_mean_between_blocks():
    values = np.random.default_rng(5).normal(size=30)
    assert block_error(values, np.arange(30)) == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    doubled = block_error(np.repeat(values, 4), np.repeat(np.arange(30), 4))
    assert doubled == pytest.approx(values.std(ddof=1) / np.sqrt(30))  # copies tell nothing new
    assert np.isnan(block_error(values, np.zeros(30, int)))


def test_evidence_of_known_log_densities():
    choice = site_scores(opened(), None)
    assert choice.reasons == {}
    table = evidence_table(choice)
    whole = table[(table["measure"] == LOG_EVIDENCE) & (table["zone"] == "all")].set_index("model")
    assert whole["sites"].tolist() == [60] * 3
    np.testing.assert_allclose(whole["total"], [0.0, 60.0, -120.0], atol=1e-9)
    np.testing.assert_allclose(whole["mean"], [0.0, 1.0, -2.0], atol=1e-9)
    np.testing.assert_allclose(whole["difference"], [-1.0, 0.0, -3.0], atol=1e-9)
    above = THREE["mimics"] > 0
    np.testing.assert_allclose(whole["share_preferred"], [1 - above.mean(), above.mean(), 0.0])
    behind = np.where(above, THREE["mimics"], 0.0).mean()
    np.testing.assert_allclose(
        whole["behind_best_of_site"], [-behind, 1.0 - behind, -2.0 - behind], atol=1e-9
    )
    # Two chains, 0.2 apart: the mean of one site has the variance 0.02 / 2.
    np.testing.assert_allclose(whole["sampling_error"], np.sqrt(60 * 0.01), rtol=1e-9)
    assert whole.loc["mimics", "standard_error"] == 0.0
    sites = choice.scores[0]
    away = THREE["clm5"] - THREE["mimics"]
    assert whole.loc["clm5", "standard_error"] == pytest.approx(block_error(away, sites.block))
    zones = table[(table["measure"] == LOG_EVIDENCE) & (table["grouping"] == "latitude")]
    assert zones.groupby("model")["sites"].sum().tolist() == [60] * 3
    np.testing.assert_allclose(zones.groupby("model")["total"].sum(), whole["total"], atol=1e-9)


def test_models_as_good_share_a_site():
    table = evidence_table(site_scores(opened({"a": np.zeros(12), "b": np.zeros(12)}), None))
    assert table["share_preferred"].dropna().tolist() == [0.5] * len(table)


def test_only_sites_that_pass_for_every_model_count():
    kept = {name: np.arange(60) % 3 != k for k, name in enumerate(THREE)}
    models = opened(kept={**kept, "rothc": np.ones(60, bool)})
    models["rothc"] = OpenedModel(
        "rothc",
        {},
        models["rothc"].summary.assign(
            reason=("site", np.where(np.arange(60) < 6, 1, 0).astype(np.int8)),
            n_layers=("site", np.where(np.arange(60) == 59, 5, 4)),
        ),
    )
    scores = site_scores(models, None).scores[0]
    expected = [f"s{i}" for i in range(6, 59) if i % 3 == 2]
    assert scores.site.tolist() == expected
    loo = site_scores(models, None).scores[1]
    assert loo.measure == PSIS_LOO  # Pareto k exceeds 0.7 at odd sites
    assert loo.site.tolist() == [s for s in expected if int(s[1:]) % 2 == 0]
    assert loo.left_out == len(expected) - len(loo.site)


def test_models_that_cannot_be_compared_say_why():
    models = opened()
    settings = AssimilationSettings(model="clm5", error_sd=0.5).model_dump_json()
    models["rothc"] = OpenedModel(
        "rothc", {}, models["rothc"].summary.assign_attrs(settings=settings)
    )
    models["third"] = OpenedModel("third", {})
    table = evidence_table(site_scores(models, None))
    reasons = table[table["measure"] == LOG_EVIDENCE].set_index("model")
    assert "error_sd 0.25, rothc with 0.5" in reasons.loc["rothc", "reason"]
    assert "no summary of the assimilation of third" in reasons.loc["third", "reason"]
    assert set(reasons[reasons["sites"] > 0].index) == {"clm5", "mimics"}
    apart = {n: np.arange(60) % 3 == k for k, n in enumerate(THREE)}
    none = evidence_table(site_scores(opened(kept=apart), None))
    assert (none["sites"] == 0).all()
    assert set(none["reason"]) == {"no site passed for every model"}


def test_climate_zones_are_those_of_the_covariates():
    sites = [f"s{i}" for i in range(60)]
    climate = pd.DataFrame({"site": sites, "koppen_class": np.repeat(["Af", "Dfc"], 30)})
    choice = site_scores(opened(), climate)
    table = evidence_table(choice).query("measure == @LOG_EVIDENCE and grouping == 'koppen'")
    assert table.groupby("zone")["sites"].first().to_dict() == {"A": 30, "D": 30}
    cold = table[table["zone"] == "D"].set_index("model")
    assert cold.loc["mimics", "total"] == pytest.approx(THREE["mimics"][30:].sum())
    weights = stacking_table(choice)
    sums = weights.groupby(["measure", "grouping", "zone"])["weight"].sum()
    np.testing.assert_allclose(sums, 1.0)
    mine = weights.query("measure == @LOG_EVIDENCE and zone == 'D'").set_index("model")["weight"]
    assert mine["mimics"] > 0.99  # better at all of these sites


def test_stacking_of_scores_gains_over_the_best_model():
    values = np.log(np.tile([[0.9, 0.1], [0.1, 0.9]], (20, 1)))
    site = np.arange(40).astype(str)
    scores = Scores("x", ("a", "b"), values, site, pd.DataFrame(index=range(40)), np.arange(40))
    table = stacking_table(Choice((scores,)))
    np.testing.assert_allclose(table["weight"], 0.5, atol=1e-6)
    gain = np.log(0.5) - 0.5 * (np.log(0.9) + np.log(0.1))
    np.testing.assert_allclose(table["gain_over_best_model"], gain, atol=1e-9)


def test_the_scale_is_the_most_likely_one():
    rng = np.random.default_rng(6)
    off, weight = 0.7 * stats.t.rvs(DEGREES, size=400, random_state=rng), rng.random(400)

    def loss(log_scale):
        density = stats.t.logpdf(off / np.exp(log_scale), DEGREES) - log_scale
        return -np.average(density, weights=weight)

    best = optimize.minimize_scalar(loss, (-2.0, 1.0), tol=1e-10).x
    assert np.log(student_scale(off, weight)) == pytest.approx(best, abs=1e-6)


def test_no_layer_is_judged_by_a_scale_that_it_made():
    off = np.array([0.1, -0.1, 3.0, 0.2])
    depth = np.array([0.1, 0.1, 0.1, 0.5])
    group = np.array([0, 1, 2, 2])
    found = cross_density(off, depth, group, np.ones(4))
    scale = student_scale(off[:2], np.ones(2))
    assert found[2] == pytest.approx(stats.t.logpdf(3.0 / scale, DEGREES) - np.log(scale))
    # Nobody else measured this depth: all other layers count.
    assert found[3] == pytest.approx(stats.t.logpdf(0.2 / scale, DEGREES) - np.log(scale))


def made_network(folder: Path, model: str, error: float, places=True, shift=0.0) -> Path:
    """Write what `proda train --model` leaves of places left out: two layers of 40 sites."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([7, len(model)])
    site = np.repeat([f"p{i}" for i in range(40)], 2)
    observed = np.tile([20.0, 5.0], 40)
    table = pd.DataFrame(
        {
            "site": site,
            "upper": np.tile([0.0, 0.3], 40),
            "lower": np.tile([0.3, 0.6], 40),
            "fold": np.repeat(np.arange(40) % 2, 2),
            "used": True,
            "observed": observed + shift,
            "network": observed * np.exp(error * rng.standard_normal(80)),
        }
    )
    if places:
        table["latitude"] = np.repeat(np.linspace(-60.0, 70.0, 40), 2)
        table["longitude"] = np.repeat(np.linspace(-170.0, 170.0, 40), 2)
    table.loc[table["site"] == "p3", "network"] = np.nan if model == "rothc" else 1.0
    table.to_parquet(folder / "held_out.parquet", index=False)
    rows = [
        f"{method},{by},{group},{r2},0.5,80,40"
        for by, group in (("all", "all"), ("zone", "tropics"))
        for method, r2 in (
            ("network", 1.0 - error),
            ("constant", 0.1),
            ("boosting", 0.3),
            ("ceiling", 0.6),
        )
    ]
    head = "method,by,group,log_r2,rmse_log,layers,sites\n"
    (folder / "skill_carbon.csv").write_text(head + "\n".join(rows) + "\n")
    (folder / "network.json").write_text(json.dumps({"model": model}))
    (folder / "unseen.json").write_text("{}")
    return folder


@pytest.fixture
def networks(tmp_path):
    return {
        name: made_network(tmp_path / name, name, error)
        for name, error in (("clm5", 0.3), ("mimics", 0.6), ("rothc", 0.9))
    }


def with_networks(folders):
    return {n: OpenedModel(n, {}, networks={END_TO_END: f}) for n, f in folders.items()}


def test_places_left_out_are_judged_on_layers_that_all_models_answer(networks):
    choice = left_out_choice(with_networks(networks), None)
    (scores,) = choice.scores
    assert scores.models == ("clm5", "mimics", "rothc")
    assert len(scores.density) == 78  # one site has no answer by one model
    assert scores.left_out == 1
    table = evidence_table(choice)
    assert set(table["measure"]) == {left_out_measure(END_TO_END)}
    whole = table[table["grouping"] == "all"].set_index("model")
    assert whole["sites"].tolist() == [39] * 3
    assert whole["mean"].is_monotonic_decreasing  # the larger its error, the worse a model is
    assert whole.loc["clm5", "difference"] == 0.0
    assert set(table["grouping"]) == {"all", "latitude", "depth"}
    depth = table[table["grouping"] == "depth"]
    assert set(depth["zone"]) == {"0-30 cm", "30-100 cm"}
    weights = stacking_table(choice).query("zone == 'all'").set_index("model")["weight"]
    assert weights.idxmax() == "clm5"


def test_skill_has_baselines_and_ceiling_once(networks):
    table = skill_table(with_networks(networks))
    whole = table[table["by"] == "all"].set_index(["model", "method"])["log_r2"]
    assert whole["clm5", "network"] == pytest.approx(0.7)
    assert whole["rothc", "network"] == pytest.approx(0.1)
    assert whole["none", "ceiling"] == pytest.approx(0.6)
    assert sorted(whole["none"].index) == ["boosting", "ceiling"]
    assert set(table["group"]) == {"all", "tropics"}


def test_networks_of_other_profiles_are_refused(networks, tmp_path):
    other = made_network(tmp_path / "other", "corpse", 0.2, shift=1.0)
    with pytest.raises(ComparisonError, match="clm5 and corpse were evaluated on different"):
        left_out_choice(with_networks({"clm5": networks["clm5"], "corpse": other}), None)
    plain = made_network(tmp_path / "plain", "corpse", 0.2, places=False)
    found = left_out_choice(with_networks({"corpse": plain, "mimics": networks["mimics"]}), None)
    assert list(found.scores[0].groups) == ["depth"]  # nobody says where these sites lie
    (plain / "held_out.parquet").unlink()
    choice = left_out_choice(with_networks({"clm5": networks["clm5"], "corpse": plain}), None)
    assert choice.scores == ()
    assert (
        "corpse was trained without folds" in choice.reasons[left_out_measure(END_TO_END), "corpse"]
    )


def test_layers_of_networks_from_posteriors(tmp_path):
    folders = {}
    for name, factor in (("clm5", 1.2), ("mimics", 2.0)):
        folder = tmp_path / name
        folder.mkdir()
        held = xr.Dataset(
            {
                "row_site": ("row", np.repeat(["a", "b", "c"], 4)),
                "row_upper": ("row", np.tile([0.0, 0.2, 0.4, 0.6], 3)),
                "row_lower": ("row", np.tile([0.2, 0.4, 0.6, 0.8], 3)),
                "row_used": ("row", np.ones(12, bool)),
                "row_observed": ("row", np.full(12, 10.0)),
                "row_modelled": (
                    ("carbon_method", "row"),
                    np.stack([np.full(12, 1.0), np.full(12, 10.0 * factor)]),
                ),
            },
            coords={"carbon_method": ["network", "network_members"]},
        )
        files.write_netcdf(held, folder / "held_out.nc")
        folders[name] = OpenedModel(name, {}, networks={"after": folder})
    table = evidence_table(left_out_choice(folders, None))
    assert set(table["measure"]) == {"places left out, from posteriors"}
    assert table.set_index(["model", "zone"])["difference"]["clm5", "all"] == 0.0


def test_evidence_needs_no_map(networks, tmp_path):
    runs = []
    for name in ("clm5", "mimics"):
        folder = tmp_path / f"{name}_run"
        folder.mkdir()
        summary = made_summary("clm5", THREE[name]).assign_attrs(model=name)
        n, d = summary.sizes["site"], summary.sizes["parameter"]
        summary = summary.assign(
            rank_rhat=(("site", "parameter"), np.ones((n, d))),
            ess_bulk=(("site", "parameter"), np.full((n, d), 900.0)),
            ess_tail=(("site", "parameter"), np.full((n, d), 900.0)),
            acceptance=(("site", "chain"), np.full((n, 2), 0.3)),
            rmse=("site", np.ones(n)),
            nash_sutcliffe=("site", np.where(np.arange(n) < 10, -1.0, 0.8)),
            posterior_sd=(("site", "parameter"), np.ones((n, d))),
            row_quantile=(("quantile", "row"), np.ones((2, summary.sizes["row"]))),
        )
        files.write_netcdf(summary, folder / "summary.nc")
        runs += [str(folder), str(networks[name])]
    out = tmp_path / "evidence"
    result = CliRunner().invoke(
        app,
        ["evidence", *runs, f"third={networks['rothc']}", "-o", str(out), "--plots", str(out)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "log evidence, all sites" in result.stdout
    assert "third" in result.stdout
    table = pd.read_csv(out / "evidence.csv")
    judged = table[(table["measure"] == LOG_EVIDENCE) & (table["zone"] == "all")]
    # Sites with an NSE below 0 do not pass the default limits.
    assert judged.set_index("model")["sites"].to_dict() == {"clm5": 50, "mimics": 50, "third": 0}
    assert {p.name for p in out.iterdir()} == {
        "evidence.csv",
        "stacking.csv",
        "skill_left_out.csv",
        "evidence.png",
    }
    with pytest.raises(ComparisonError, match="Two assimilations of clm5 were given"):
        open_choice([runs[0], runs[0]])
    with pytest.raises(ComparisonError, match="contain results of 1 models"):
        open_choice(runs[:2])
    with pytest.raises(ComparisonError, match="not a folder of a study"):
        open_choice([str(tmp_path / "nothing")])
    with pytest.raises(ComparisonError, match="none of the given folders belongs to corpse"):
        open_choice(runs, {"corpse": "x.csv"})
    (networks["clm5"] / "network.json").write_text("{}")
    with pytest.raises(FileError, match="damaged"):
        open_choice(runs)


def test_the_figure_says_who_is_first(networks):
    models = opened()
    models = {
        n: OpenedModel(n, {}, m.summary, networks={END_TO_END: networks[n]})
        for n, m in models.items()
    }
    tables = choice_tables(models, None)
    figure = evidence_figure(tables["evidence"], tables["stacking"])
    title = figure.get_suptitle()
    assert "log evidence: MIMICS first" in title
    assert "places left out, end to end: CLM5 first" in title
    plt.close(figure)
    with pytest.raises(ComparisonError, match="nothing to draw"):
        evidence_figure(tables["evidence"].iloc[:0], tables["stacking"])
