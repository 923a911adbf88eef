"""End-to-end training on a twin world: what it learns, writes and refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.errors import FileError, LearningError
from proda.inference.profiles import from_tables
from proda.learning.boosted_residual import fit_share, read_residual
from proda.learning.carbon_baselines import BASELINES, as_arrays, fit_baseline, from_arrays
from proda.learning.carbon_loss import floored_log, judge, site_weights
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.conformal import LEAST
from proda.learning.end_to_end import (
    default_share,
    fit_constants,
    problem_of,
    starts_of,
    train_through,
)
from proda.learning.end_to_end_inputs import end_to_end_inputs
from proda.learning.end_to_end_loss import end_to_end_loss, initial_learners
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.evaluate import evaluate_network
from proda.learning.forcing_covariates import forcing_summary
from proda.learning.forcing_inputs import beside, forcing_inputs, response
from proda.learning.learning_settings import LearningSettings
from proda.learning.network_folder import load_ensemble
from proda.learning.predict import predict_table
from proda.learning.program import runs_of
from proda.learning.splits import NO_FOLD, TrainingPlan, plan
from proda.learning.train import train
from proda.learning.unseen import COLUMNS, Answer, ceiling, log_carbon, skill_table
from proda.simulate import MEAN_B
from tests.training_worlds import QUICK

pytestmark = pytest.mark.usefixtures("small_blocks")

SETTINGS = QUICK

judged = eqx.filter_jit(judge)
"""Called outside of a compiled program, `judge` would be compiled anew for each call."""


@pytest.fixture(scope="module")
def world(twin_world):
    return twin_world


@pytest.fixture(scope="module")
def trained(twin_trained):
    return twin_trained


def test_plain_network_leaves_out_what_did_not_vary():
    """A class that no training site has (a column of one value) must not count elsewhere."""
    rng = np.random.default_rng(0)
    site, depth = np.arange(40), np.full(40, 0.2)
    inputs = rng.uniform(-1.0, 1.0, (40, 3)).astype(np.float32)
    inputs[:, 2] = -1.0
    carbon = np.exp(9.0 + inputs[:, 0])
    fitted = fit_baseline("plain_network", inputs, site, depth, carbon, (8,), 0)
    other = inputs.copy()
    other[:, 2] = 1.0
    np.testing.assert_array_equal(
        fitted.predict(other, site, depth), fitted.predict(inputs, site, depth)
    )


@pytest.fixture(scope="module")
def small(world):
    """Sites, problem, plan and start of a few runs that tests may train."""
    sites = read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "clm5"
    )
    settings = replace(SETTINGS, epochs=2, members=1)
    p = sites.layers.profiles
    design = plan(p.latitude, p.longitude, settings.network())
    return sites, problem_of(sites.layers, settings), design, settings


def data(world):
    return [str(world.path(n)) for n in ("profiles", "sites.nc", "sites.parquet")]


def test_network_beats_the_constant_at_places_left_out(trained):
    skill = trained.skill[trained.skill["by"] == "all"].set_index("method")
    assert skill["rmse_log"]["network"] < 0.8 * skill["rmse_log"]["constant"]
    assert skill["rmse_log"]["constant"] < skill["rmse_log"]["default"]
    assert skill["lost"]["network"] == 0
    assert set(BASELINES) | {"ceiling"} <= set(skill.index)
    kinds = {"all", "depth", "zone", "koeppen", "soil", "source"}
    assert set(trained.skill["by"]) == kinds


def test_intervals_hold_at_places_left_out(trained):
    inside = trained.skill.query("by == 'all'").set_index("method")["interval90"]
    assert 0.8 <= inside["network"] <= 0.97
    assert 0.8 <= inside["boosting"] <= 0.97


def inputs_of(sites, fold):
    """Inputs as `train_end_to_end` makes them."""
    p = sites.layers.profiles
    problem, start = problem_of(sites.layers, SETTINGS), default_share(sites.layers)
    design = plan(p.latitude, p.longitude, SETTINGS.network(), fold, 1, 1)
    constants, fitted = fit_constants(problem, start, design, SETTINGS)
    assert constants.shape == (3, len(sites.layers.model.rows))
    assert ((constants > 0) & (constants < 1)).all()
    assert (fitted.history[-1, :, 0] < fitted.history[0, :, 0]).all()
    known = dict(zip(design.fold.tolist(), constants, strict=True))
    return end_to_end_inputs(sites, known, SETTINGS)


def test_response_comes_from_a_constant_that_has_not_seen_the_fold(world, trained):
    rows = pd.read_parquet(world.path("through") / "held_out.parquet")
    sites = read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "clm5"
    )
    fold = rows.groupby("site", sort=False)["fold"].first().to_numpy()
    inputs = inputs_of(sites, fold)
    assert inputs.folds == (NO_FOLD, 0, 1)
    for a, b in ((NO_FOLD, 0), (0, 1)):
        assert (inputs.of(a) != inputs.of(b)).any()
    np.testing.assert_array_equal(inputs.own(fold)[fold == 1], inputs.of(1)[fold == 1])
    assert trained.ensemble.reference == pytest.approx(trained.constant, rel=1e-12)
    again = load_ensemble(world.path("through"))
    assert again.reference == trained.ensemble.reference
    made = forcing_inputs(
        again.features.names, sites.layers.forcing, sites.layers.model, again.reference
    )
    encoded = again.features.encode(beside(sites.table, made)).inputs
    np.testing.assert_allclose(encoded, inputs.of(NO_FOLD), rtol=1e-6, atol=1e-6)


def test_response_is_the_models_carbon_and_empty_without_steady_state():
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    model = proda.load_model("compas")
    values = {row.name: row.default for row in model.rows}
    values["b"] = MEAN_B
    table = response(forcing, model, values)
    state = proda.steady_state(model, values, forcing)
    node = forcing.grid.node
    for i in range(len(forcing)):
        soil = slice(0, forcing.nbedrock[i])
        own = np.log(np.maximum(state["soil_carbon"].to_numpy()[i, soil], 10.0))
        expected = np.interp(np.log([0.05, 0.2, 0.5, 1.0, 2.0]), np.log(node[soil]), own)
        np.testing.assert_allclose(table.iloc[i], expected, rtol=1e-10)
    empty = response(forcing, model, values | {"tau_enz_decay": 1e-9})
    np.testing.assert_allclose(empty.to_numpy(), np.log(10.0))
    with pytest.raises(LearningError, match="forcing_inputs = 'none'; choose one of response"):
        replace(SETTINGS, forcing_inputs="none")
    with pytest.raises(LearningError, match="does not contain the parameters of the response"):
        forcing_inputs(["response_5cm"], forcing, model, None)


def test_residual_is_judged_by_folds_that_it_has_not_seen(world, trained):
    rows = pd.read_parquet(world.path("through") / "held_out.parquet")
    sites = read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "clm5"
    )
    site = sites.layers.row_site
    known, goal = np.log(rows["network"]).to_numpy(), np.log(rows["observed"]).to_numpy()
    expected = np.log(rows["boosting"]).to_numpy()
    rest, test = (rows["fold"] == 1).to_numpy(), (rows["fold"] == 0).to_numpy()
    share = fit_share(known[rest], expected[rest], goal[rest], site[rest])
    np.testing.assert_allclose(
        np.log(rows["network_and_residual"][test]),
        (1.0 - share) * known[test] + share * expected[test],
        rtol=1e-9,
    )
    kept = read_residual(world.path("through"))
    assert kept.share == pytest.approx(fit_share(known, expected, goal, site))


def test_share_of_boosting_has_the_least_error():
    rng = np.random.default_rng(0)
    site, known = np.arange(50), rng.normal(size=50)
    expected = known + rng.normal(size=50)
    for true, share in ((0.3, 0.3), (1.7, 1.0), (-0.5, 0.0)):
        goal = known + true * (expected - known)
        assert fit_share(known, expected, goal, site) == pytest.approx(share)
    assert fit_share(known, known, known + 1.0, site) == 0.0


def test_stocks_of_places_left_out(world, trained):
    sites = world.covariates
    header = json.loads((world.path("through") / "train.json").read_text())
    stock = header["stocks_left_out"]["network"]["0-100 cm"]
    assert stock["sites"] == len(sites)
    assert 0.8 <= stock["interval90"] <= 0.97


def test_empty_layers_and_lost_sites_are_outside_every_interval(small):
    sites, *_ = small
    layers = sites.layers
    n = len(layers.row_site)
    observed = layers.profiles.carbon / 1000.0
    carbon = np.where(layers.row_site % 4 == 0, 0.0, observed)
    found = np.arange(len(sites)) % 4 != 1
    wide = np.full(n, 50.0)
    answer = Answer(carbon, found, np.zeros(n))
    answer = replace(answer, lower=log_carbon(answer) - wide, upper=log_carbon(answer) + wide)
    by = {"all": np.full(n, "all", object)}
    row = skill_table(sites, {"some": answer}, by).query("method == 'some'").iloc[0]
    assert row["interval90"] == pytest.approx(0.5, abs=0.01)
    assert row["lost"] == (~found).sum()
    assert row["no_logarithm"] == (layers.row_site % 4 == 0).sum()
    kept = found[layers.row_site]
    off = np.log(np.maximum(carbon, LEAST) / observed)[kept]
    assert row["rmse_log"] == pytest.approx(np.sqrt((off**2).mean()))
    assert row["mean_site_rmse_log"] == pytest.approx(np.sqrt((off**2).mean()))  # 4 layers each


def test_source_is_the_collection_of_pooled_profiles():
    sites = pd.DataFrame(
        {
            "profile_id": ["pool:a", "pool:b", "own:c", "d"],
            "lat": 0.0,
            "lon": 0.0,
            "source": ["pool", "pool", "own", ""],
            "collection": ["wise", "afsp", None, None],
        }
    )
    layers = pd.DataFrame(
        {
            "profile_id": sites["profile_id"],
            "upper_depth": 0.0,
            "lower_depth": 0.1,
            "soc_stock": 1.0,
        }
    )
    found = from_tables(sites, layers)
    assert found.collections.tolist() == ["wise", "afsp", "own", "d"]
    assert found.select([2, 0]).collections.tolist() == ["own", "wise"]
    plain = from_tables(sites[["profile_id", "lat", "lon"]], layers)
    assert plain.collections.tolist() == ["pool", "pool", "own", "d"]


def test_folder_is_whole_and_its_skill_is_that_of_its_rows(world, trained):
    folder = world.path("through")
    assert {path.name for path in folder.iterdir()} == {
        "network.json",
        "weights.npz",
        "history.csv",
        "skill_carbon.csv",
        "held_out.parquet",
        "held_out_parameters.parquet",
        "unseen.json",
        "baselines.npz",
        "left_out.csv",
        "train.json",
        "residual.npz",
    }
    rows = pd.read_parquet(folder / "held_out.parquet")
    off = np.log(rows["network"] / rows["observed"])
    skill = trained.skill.query("by == 'all' and method == 'network'").iloc[0]
    assert np.sqrt((off**2).mean()) == pytest.approx(skill["rmse_log"], rel=1e-9)
    assert json.loads((folder / "train.json").read_text())["route"] == "end-to-end"


def test_evaluate_writes_one_row_per_method(world, trained):
    out = world.path("skill.csv")
    result = CliRunner().invoke(
        app,
        ["evaluate", str(world.path("through")), *data(world), "--output", str(out)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out).set_index("method")
    assert ["method", *table.columns] == list(COLUMNS)
    assert list(table.index) == [
        "network",
        "network_and_residual",
        "constant",
        *BASELINES,
        "default",
        "ceiling",
    ]
    assert (table["sites"] == len(world.covariates)).all()
    assert table["log_r2"]["network"] > 0.5


def test_evaluate_does_not_depend_on_the_order_of_rows(world, trained):
    mixed = world.path("mixed.parquet")
    world.covariates.sample(frac=1.0, random_state=1).to_parquet(mixed, index=False)
    plain = evaluate_network(world.path("through"), *data(world))
    other = evaluate_network(world.path("through"), *data(world)[:2], mixed)
    pd.testing.assert_frame_equal(plain.skill, other.skill)


def test_evaluate_lists_what_it_leaves_out(world, trained):
    short = world.path("short.parquet")
    table = world.covariates.iloc[3:].copy()
    table.loc[table.index[0], "clay"] = np.nan
    table.to_parquet(short, index=False)
    found = evaluate_network(world.path("through"), *data(world)[:2], short)
    assert found.left_out["reason"].value_counts().to_dict() == {
        "no covariates": 3,
        "lacks clay": 1,
    }
    assert found.skill["sites"].iloc[0] == len(world.covariates) - 4


def test_evaluate_says_what_is_not_new_to_the_network(world, trained):
    plain = evaluate_network(world.path("through"), *data(world))
    n = len(world.covariates)
    assert [note.split(";")[0] for note in plain.notes] == [
        f"The network was trained on {n} of these {n} profiles"
    ]


def test_evaluate_says_what_is_unlike_the_training(world, trained, tmp_path):
    network = shutil.copytree(world.path("through"), tmp_path / "network")
    about = json.loads((network / "train.json").read_text())
    (network / "train.json").write_text(json.dumps(about | {"forcing_rules": "rules: standard"}))
    strange = world.covariates["koppen_class"].astype(str)
    strange.iloc[:2] = "lava"
    world.covariates.assign(koppen_class=strange).to_parquet(tmp_path / "strange.parquet")
    forcing = tmp_path / "other_rules.nc"
    xr.load_dataset(world.path("sites.nc")).assign_attrs(rules="rules: mine").to_netcdf(forcing)
    odd = evaluate_network(network, data(world)[0], forcing, tmp_path / "strange.parquet")
    message = "koppen_class has classes that are absent from the training data: lava (sites: 2)."
    assert message in odd.notes
    assert "with other rules" in odd.notes[-1]
    assert "rules: mine; training: rules: standard" in odd.notes[-1]


def test_evaluate_names_the_file_of_other_covariates(world, trained, tmp_path):
    lacking = tmp_path / "lacking.parquet"
    world.covariates.drop(columns="clay").to_parquet(lacking, index=False)
    with pytest.raises(
        LearningError, match=r"lacking\.parquet: .*lack clay.*proda covariates build"
    ):
        evaluate_network(world.path("through"), *data(world)[:2], lacking)


def test_evaluate_refuses_other_sites_and_damaged_files(world, trained, tmp_path):
    other = tmp_path / "other.parquet"
    world.covariates.assign(site=[f"x{i}" for i in range(len(world.covariates))]).to_parquet(other)
    with pytest.raises(LearningError, match="names of the sites match"):
        evaluate_network(world.path("through"), *data(world)[:2], other)
    broken = tmp_path / "broken"
    shutil.copytree(world.path("through"), broken)
    (broken / "unseen.json").write_text("{")
    with pytest.raises(FileError, match=r"unseen\.json: damaged"):
        evaluate_network(broken, *data(world))


def test_predict_needs_the_forcing_and_takes_it(world, trained):
    with pytest.raises(LearningError, match="--forcing"):
        predict_table(world.path("through"), world.path("sites.parquet"))
    found = predict_table(
        world.path("through"), world.path("sites.parquet"), forcing=world.path("sites.nc")
    )
    assert found["usable"].to_numpy().all()
    ensemble = load_ensemble(world.path("through"))
    forcing = proda.Forcing.from_dataset(xr.load_dataset(world.path("sites.nc")))
    made = ensemble.made_of_forcing(world.covariates, forcing, proda.load_model("clm5"))
    same = ensemble.predict(beside(world.covariates, made))
    np.testing.assert_array_equal(found["mean"], same["mean"])


def test_train_command_without_posteriors(world, tmp_path):
    words = [
        "train",
        str(world.path("sites.parquet")),
        str(tmp_path / "net"),
        "--model",
        "clm5",
        "--profiles",
        str(world.path("profiles")),
        "--forcing",
        str(world.path("sites.nc")),
        "--members",
        "1",
        "--epochs",
        "1",
        "--folds",
        "0",
        "--start",
        "random",
        "--start-weight",
        "0",
    ]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "1 networks for clm5" in result.stdout
    settings = json.loads((tmp_path / "net" / "train.json").read_text())["settings"]
    assert (settings["start"], settings["start_weight"], settings["epochs"]) == ("random", 0.0, 1)
    assert not (tmp_path / "net" / "residual.npz").exists()
    with pytest.raises(LearningError, match="A residual needs folds"):
        CliRunner().invoke(app, [*words, "--residual"], catch_exceptions=False)
    for more, what in (
        (["--assimilation", "run"], "--assimilation: not available with --model"),
        (["--random-folds"], "--split random"),
    ):
        with pytest.raises(LearningError, match=what):
            CliRunner().invoke(app, [*words, *more], catch_exceptions=False)
    with pytest.raises(LearningError, match="KEPT COVARIATES NETWORK"):
        CliRunner().invoke(app, words[:3], catch_exceptions=False)
    for option in (["--start", "random"], ["--start-weight", "0"]):
        with pytest.raises(LearningError, match="--stream need --model"):
            CliRunner().invoke(app, [*words[:3], *option], catch_exceptions=False)


def test_interrupted_training_resumes_bit_for_bit(small, tmp_path):
    sites, problem, design, settings = small
    inputs = forcing_summary(sites.layers.forcing).to_numpy(np.float32)
    inputs = (inputs - inputs.mean(axis=0)) / np.maximum(inputs.std(axis=0), 1e-3)
    starts = np.zeros((1, len(sites.layers.model.rows)))
    whole = train_through(inputs, problem, starts, design, settings)
    file = tmp_path / "training"

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_through(inputs, problem, starts, design, settings, file, stop)
    resumed = train_through(inputs, problem, starts, design, settings, file)
    for a, b in zip(
        jax.tree.leaves(whole.networks), jax.tree.leaves(resumed.networks), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FileError, match=r"covariates and forcing: .* before"):
        train_through(inputs + 1, problem, starts, design, settings, file)


def test_global_parameters_are_learnt_but_the_same_everywhere(small):
    """From random starts, from which a member moves no further than its steps can take it."""
    sites, problem, design, settings = small
    inputs = np.random.default_rng(0).normal(size=(len(sites), 3))
    settings = replace(settings, global_parameters=("q10",), start="random")
    starts = starts_of(design, {}, default_share(sites.layers, 0.966), settings)
    trained = train_through(inputs, problem, starts, design, settings)
    names = [row.name for row in sites.layers.model.rows]
    last, bias = trained.networks.weights[-1][0], trained.networks.biases[-1][0]
    q10, tau = names.index("q10"), names.index("tau4s3")
    assert (last[:, q10] == 0).all()
    assert bias[q10] != starts[0, q10]
    assert (last[:, tau] != 0).any()
    steps = settings.epochs * -(-design.train.shape[1] // settings.batch_size)
    furthest = steps * settings.learning_rate
    assert furthest < 0.3 * np.std(starts)
    np.testing.assert_allclose(bias, starts[0], rtol=0, atol=furthest)
    with pytest.raises(LearningError, match="global_parameters: q11 unknown"):
        train_through(
            inputs, problem, starts, design, replace(settings, global_parameters=("q11",))
        )


def test_site_without_steady_state_is_drawn_to_the_start(world):
    """COMPAS: enzyme that decays at once cannot turn over what arrives."""
    sites = read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "compas"
    )
    problem = problem_of(sites.layers, SETTINGS)
    names = [row.name for row in sites.layers.model.rows]
    start = np.log(default_share(sites.layers, 0.966))[None] - np.log1p(
        -default_share(sites.layers, 0.966)
    )
    logit = start.copy()
    logit[0, names.index("tau_enz_decay")] = -12.0
    scale = jnp.log(jnp.full((1, 3), 0.6))
    rows = jnp.zeros(1, int)
    good = judged(jnp.asarray(start), scale, jnp.asarray(start), rows, problem)
    lost = judged(jnp.asarray(logit), scale, jnp.asarray(start), rows, problem)
    assert bool(good.good[0])
    assert not bool(lost.good[0])
    assert float(lost.loss[0]) == pytest.approx(SETTINGS.lost * float(problem.weight[0]))
    step = -np.asarray(lost.by_logit[0])
    assert step[names.index("tau_enz_decay")] > 0
    assert (np.delete(step, names.index("tau_enz_decay")) == 0).all()


def test_site_that_loses_its_steady_state_in_training_finds_it_again(world):
    """Random starts and no pull: what draws the site back is the start, not `start_weight`."""
    sites = read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "compas"
    ).select(np.arange(12))
    settings = replace(
        SETTINGS,
        hidden=(1,),
        start="random",
        start_weight=0.0,
        epochs=20,
        batch_size=12,
        learning_rate=0.05,
        weight_decay=0.0,
        members=1,
    )
    problem = problem_of(sites.layers, settings)
    names = [row.name for row in sites.layers.model.rows]
    decay = names.index("tau_enz_decay")
    every = np.arange(12, dtype=np.int32)[None]
    design = TrainingPlan(every, every, np.array([-1]), np.array([0]))
    starts = starts_of(design, {}, default_share(sites.layers, 0.966), settings)
    inputs = np.zeros((12, 1))
    inputs[3] = 1.0  # only this site is moved away from the start
    loss = end_to_end_loss(inputs[None], np.zeros(1, int), problem, np.ones(len(names)), settings)
    runs = runs_of(design, starts, settings.seed)
    learner = initial_learners(runs, 1, settings, problem.own_start)
    last = jnp.zeros((1, 1, len(names)), jnp.float32).at[0, 0, decay].set(-12.0)
    network = replace(learner.network, weights=(jnp.ones((1, 1, 1), jnp.float32), last))
    trained = train(
        loss, learner._replace(network=network), runs, design, settings, {}, "end-to-end"
    )
    assert trained.history[0, 0, 2] == pytest.approx(1 / 12)
    assert trained.history[-1, 0, 2] == 0.0
    assert np.isfinite(trained.history).all()


def test_starts_are_the_constant_the_default_or_each_members_own(small):
    sites, *_ = small
    p = sites.layers.profiles
    design = plan(p.latitude, p.longitude, SETTINGS, np.arange(len(sites)) % 2, 2)
    default = default_share(sites.layers, 0.966)
    constants = {-1: default * 0.9, 0: default * 0.8, 1: default * 0.7}

    def found(**changes):
        own = replace(SETTINGS, **changes)
        return 1 / (1 + np.exp(-starts_of(design, constants, default, own)))

    np.testing.assert_allclose(found(), [constants[f] for f in design.fold], rtol=1e-12)
    np.testing.assert_allclose(found(start="default"), np.tile(default, (6, 1)), rtol=1e-12)
    random = found(start="random")
    assert ((random > 0.1) & (random < 0.9)).all()
    assert len(np.unique(random)) == random.size
    np.testing.assert_array_equal(random, found(start="random", members=7))
    assert (random != found(start="random", seed=1)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "middle"}, "start = 'middle'; choose one of constant, default, random"),
        ({"loss": "study"}, "loss applies to training on posteriors"),
        ({"tuning_epochs": 3}, "tuning_epochs applies to training on posteriors"),
        ({"start_weight": -1.0}, "start_weight = -1.0; it must be at least 0"),
        ({"floor": 0.0}, "floor = 0.0; it must be above 0"),
        ({"epochs": 0}, "epochs = 0; it must be above 0"),
    ],
)
def test_settings_that_make_no_sense_here_are_refused(changes, message):
    with pytest.raises(LearningError, match=message):
        EndToEndSettings(**changes)


def test_settings_of_networks_are_those_of_every_training():
    settings = replace(SETTINGS, resample="bootstrap", seed=4)
    own = settings.network()
    assert type(own) is LearningSettings
    assert LearningSettings.from_dict(own.as_dict()) == own
    assert (own.hidden, own.epochs, own.resample, own.seed) == ((16,), 20, "bootstrap", 4)
    assert "tuning_rate" not in settings.as_dict()
    assert settings.as_dict()["resample"] == "bootstrap"


def test_gradient_of_the_loss_is_that_of_finite_differences(small):
    sites, problem, _, _ = small
    d = len(sites.layers.model.rows)
    logit = jnp.asarray(np.random.default_rng(1).normal(size=(1, d)) * 0.3)
    scale, rows = jnp.log(jnp.full((1, 3), 0.6)), jnp.array([5])
    problem = replace_steepest(problem)
    found = judged(logit, scale, jnp.zeros((1, d)), rows, problem)
    h = 1e-5
    for k in range(0, d, 5):
        ends = [
            judged(logit.at[0, k].add(s * h), scale, jnp.zeros((1, d)), rows, problem).loss[0]
            for s in (1, -1)
        ]
        slope = (float(ends[0]) - float(ends[1])) / (2 * h)
        assert float(found.by_logit[0, k]) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def replace_steepest(problem):
    return type(problem)(
        problem.model, problem.sites, problem.weight, problem.floor, 1e9, problem.lost, problem.back
    )


def test_floored_log_is_smooth_and_never_far_below_the_floor():
    x = np.array([0.0, 150.0, 299.999, 300.001, 5000.0])
    y = np.asarray(floored_log(jnp.asarray(x), 300.0))
    assert y[0] == pytest.approx(np.log(300.0) - 1.0)
    assert y[2] == pytest.approx(y[3], abs=1e-5)
    assert y[4] == pytest.approx(np.log(5000.0))
    slope = jax.vmap(jax.grad(lambda c: floored_log(c, 300.0)))(jnp.asarray(x))
    assert np.isfinite(slope).all()
    assert (np.asarray(slope) > 0).all()


def test_site_weights():
    w = site_weights(np.array([1.0, 4.0, 100.0]))
    assert w.mean() == pytest.approx(1.0)
    assert w[2] / w[0] == pytest.approx(10.0)


def test_summary_of_forcing_is_by_site_and_refuses_taken_names():
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    table = forcing_summary(forcing)
    alone = forcing_summary(forcing.select([2]))
    np.testing.assert_allclose(table.iloc[2], alone.iloc[0], rtol=1e-12)
    assert np.isfinite(table.to_numpy()).all()
    total = forcing.litter_input.sum(axis=1)
    np.testing.assert_allclose(np.expm1(table["forcing_log_input"]), total)
    with pytest.raises(LearningError, match="forcing_log_input"):
        beside(table, table)
    with pytest.raises(LearningError, match="5 rows of covariates, 6 of forcing"):
        beside(pd.DataFrame({"a": np.zeros(5)}), table)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_learn_and_come_back_from_arrays(name):
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1, 1, (200, 3))
    site = np.repeat(np.arange(200), 4)
    depth = np.tile([0.05, 0.2, 0.5, 1.0], 200)
    carbon = np.exp(9.0 - depth * 2 + inputs[site, 0] + 0.05 * rng.standard_normal(800))
    fitted = fit_baseline(name, inputs, site, depth, carbon, hidden=(16, 16))
    found = fitted.predict(inputs, site, depth)
    limit = 0.7 if name == "depth" else 0.5
    assert np.sqrt(np.mean((found - np.log(carbon)) ** 2)) < limit
    again = from_arrays(as_arrays([fitted]))[0]
    np.testing.assert_array_equal(again.predict(inputs, site, depth), found)


def test_ceiling_is_the_variance_within_cells(small):
    sites, *_ = small
    layers = sites.layers.select(np.arange(40))
    p = layers.profiles
    pair = np.repeat(np.arange(20), 2)
    rng = np.random.default_rng(0)
    place = rng.normal(0, 1.0, 20)[pair] + rng.normal(0, 0.5, 40)
    moved = replace(
        layers,
        profiles=replace(
            p,
            latitude=pair * 2.0 - 20.0,
            longitude=np.zeros(40),
            carbon=np.exp(place[layers.row_site]),
        ),
    )
    found = ceiling(moved, np.ones(len(layers.row_site), bool))
    assert found["rmse_log"] == pytest.approx(0.5, rel=0.35)
    assert found["log_r2"] < 1.0
