"""The whole way on a twin world: skill, spread, files, validation."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from proda.errors import FileError, LearningError
from proda.learning.calibration import Calibration, calibrated_members, fit_calibration
from proda.learning.join import join
from proda.learning.learn import learn
from proda.learning.learning_settings import LearningSettings
from proda.learning.network_diagnosis import learning_curve, permutation_importance
from proda.learning.network_folder import load_ensemble, save_ensemble
from proda.learning.skill import skill
from proda.learning.targets import targets
from proda.learning.validation import cross_validate, folds_of
from proda.parameters import Parameter
from tests.learning_worlds import LOWER, NAMES, UPPER, covariates, posterior, truth

SETTINGS = LearningSettings(
    hidden=(32,), epochs=60, batch_size=64, members=6, patience=None, learning_rate=0.01
)
DEFAULT = LOWER + 0.9 * (UPPER - LOWER)


@pytest.fixture(scope="module")
def world():
    return covariates(700, 11), covariates(400, 12)


@pytest.fixture(scope="module")
def learned(world):
    return learn(
        world[0],
        posterior(world[0], 11),
        SETTINGS,
        folds=4,
        fold_members=3,
        methods=("mean", "nearest_site", "random_forest"),
        default=DEFAULT,
        trees=30,
    )


@pytest.fixture(scope="module")
def predicted(world, learned):
    return learned.ensemble.predict(world[1], draws=True)


def test_twin_is_recovered_better_than_by_any_baseline(world, learned):
    table = learned.validation.skill().pivot(index="method", columns="parameter", values="skill")
    others = table.drop(index="network")
    assert (table.loc["network", list(NAMES[:3])] > others[list(NAMES[:3])].max()).all()
    sites = learned.sites.targets.sites
    known = truth(world[0])
    assert (world[0]["site"].to_numpy() == sites).all()

    def error(method):
        off = learned.validation.predicted[method] - known
        return (off[:, :3] ** 2).mean(axis=0)

    for method in ("mean", "nearest_site", "random_forest", "default"):
        assert (error("network") < 0.7 * error(method)).all()


def test_prediction_has_its_form_and_keeps_to_the_prior(predicted):
    assert predicted["parameters"].dims == ("member", "site", "parameter")
    for name in ("parameters", "mean", "draws", "interval_lower", "interval_upper"):
        values = predicted[name].to_numpy()
        assert (values >= LOWER - 1e-9).all(), name
        assert (values <= UPPER + 1e-9).all(), name
    np.testing.assert_allclose(predicted["mean"], predicted["parameters"].mean("member"))
    np.testing.assert_allclose(predicted["spread"], predicted["parameters"].std("member", ddof=1))
    assert (predicted["sd"] > 0).all()


def test_interval_covers_the_truth_and_the_bare_spread_does_not(world, predicted):
    known = LOWER + truth(world[1]) * (UPPER - LOWER)
    inside = (predicted["interval_lower"] <= known) & (known <= predicted["interval_upper"])
    covered = inside.mean("site").to_numpy()
    assert 0.82 < covered[:3].mean() < 0.99
    assert covered[3] > 0.9  # unconstrained: as wide as the prior
    bare = (np.abs(known - predicted["mean"]) <= 1.645 * predicted["spread"]).mean("site")
    assert bare[:3].mean() < covered[:3].mean()


def test_unconstrained_parameter_stays_at_the_middle_with_the_priors_spread(predicted):
    share = (predicted["mean"].to_numpy() - LOWER) / (UPPER - LOWER)
    assert np.abs(share[:, 3] - 0.5).max() < 0.05
    np.testing.assert_allclose(
        predicted["sd"][:, 3] / (UPPER - LOWER)[3], np.sqrt(1 / 12), rtol=0.1
    )


def test_a_row_does_not_depend_on_the_others_and_missing_ones_are_told(world, learned, predicted):
    some = world[1].iloc[[5, 300]].copy()
    alone = learned.ensemble.predict(some)
    np.testing.assert_allclose(alone["mean"], predicted["mean"][[5, 300]], rtol=1e-5)
    some.loc[5, "clay"] = np.nan
    part = learned.ensemble.predict(some)
    assert part["usable"].to_numpy().tolist() == [False, True]
    assert np.isnan(part["mean"][0]).all()
    np.testing.assert_allclose(part["mean"][1], alone["mean"][1])
    assert "1 of 2 rows left out for missing covariates: clay (1)" in part.attrs["report"]
    assert learned.ensemble.predict(some, missing="median")["usable"].all()
    nothing = learned.ensemble.predict(some.iloc[:1], draws=True)
    assert np.isnan(nothing["draws"]).all()


def test_ensemble_survives_its_folder(tmp_path, world, learned):
    save_ensemble(learned.ensemble, tmp_path / "network")
    save_ensemble(learned.ensemble, tmp_path / "network")  # replaces its own kind
    rows = [
        Parameter(n, n, "1", a, b, a, "K", "") for n, a, b in zip(NAMES, LOWER, UPPER, strict=True)
    ]
    again = load_ensemble(tmp_path / "network", "clm5", "default", rows)
    xr.testing.assert_identical(again.predict(world[1]), learned.ensemble.predict(world[1]))
    assert again.settings == SETTINGS
    np.testing.assert_allclose(
        again.history["validation_loss"], learned.ensemble.history["validation_loss"]
    )
    assert again.history["kept"].sum() == SETTINGS.members


def test_networks_of_others_are_refused(tmp_path, learned):
    folder = tmp_path / "network"
    save_ensemble(learned.ensemble, folder)
    with pytest.raises(LearningError, match="for the model clm5, not compas"):
        load_ensemble(folder, "compas")
    with pytest.raises(LearningError, match="for the variant default, not published"):
        load_ensemble(folder, "clm5", "published")
    rows = [
        Parameter(n, n, "1", a, b, a, "K", "") for n, a, b in zip(NAMES, LOWER, UPPER, strict=True)
    ]
    with pytest.raises(LearningError, match="different: silent"):
        load_ensemble(folder, rows=rows[:3])
    moved = [*rows[:3], Parameter("silent", "", "1", 0.0, 4.0, 0.0, "K", "")]
    with pytest.raises(LearningError, match=r"prior range \[0, 3\] of silent"):
        load_ensemble(folder, rows=moved)


def test_damaged_networks_are_refused_by_file(tmp_path, learned):
    folder = tmp_path / "network"
    save_ensemble(learned.ensemble, folder)
    weights, header = folder / "weights.npz", folder / "network.json"
    content, text = weights.read_bytes(), header.read_text()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match=r"weights\.npz"):
        load_ensemble(folder)
    weights.write_bytes(content)
    changed = json.loads(text)
    header.write_text(json.dumps({**changed, "n_sites": 1}))
    with pytest.raises(FileError, match=r"network\.json: changed"):
        load_ensemble(folder)
    header.write_text(json.dumps({**changed, "format": 99}))
    with pytest.raises(FileError, match="format 99"):
        load_ensemble(folder)
    header.write_text(text[:50])
    with pytest.raises(FileError, match=r"network\.json: not a readable"):
        load_ensemble(folder)
    header.unlink()
    with pytest.raises(FileError, match="not a trained network"):
        load_ensemble(folder)
    with pytest.raises(FileError, match="is not a network; it was not changed"):
        save_ensemble(learned.ensemble, folder)


def test_losses_and_what_lies_beside_a_network_are_guarded(tmp_path, learned):
    folder = tmp_path / "network"
    save_ensemble(learned.ensemble, folder, lambda f: (f / "more.csv").write_text("a\n") and None)
    history = folder / "history.csv"
    text = history.read_text()
    history.write_text(text.replace("1", "2", 1))
    with pytest.raises(FileError, match=r"history\.csv: changed since it was written"):
        load_ensemble(folder)
    history.write_text(text)
    load_ensemble(folder)
    (folder / "more.csv").unlink()
    with pytest.raises(FileError, match=r"more\.csv: missing"):
        load_ensemble(folder)


def test_draws_need_a_calibration(world, learned):
    bare = dataclasses.replace(learned.ensemble, calibration=None)
    assert "sd" not in bare.predict(world[1])
    with pytest.raises(LearningError, match="calibrated by folds"):
        bare.predict(world[1], draws=True)


def test_calibration_finds_the_error_it_was_made_with():
    table = covariates(4000, 5)
    goal = targets(posterior(table, 5, noise=0.1), LearningSettings(target="likelihood"))
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.01, 0.08, goal.value.shape)
    error = np.sqrt((1.5 * spread) ** 2 + 0.03**2) * rng.standard_normal(spread.shape)
    found = fit_calibration(goal, truth(table) + error, spread)
    np.testing.assert_allclose(found.sd(0.05)[:3], np.hypot(0.075, 0.03), rtol=0.08)


def test_calibrated_members_have_the_sd_asked_for():
    rng = np.random.default_rng(0)
    members = 0.5 + 0.01 * rng.standard_normal((200, 5, 2))
    calibration = Calibration(np.array([2.0, 1.0]), np.array([0.05, 0.4]))
    drawn = calibrated_members(members, calibration, seed=0)
    sd = calibration.sd(members.std(axis=0, ddof=1))
    np.testing.assert_allclose(drawn.std(axis=0)[:, 0], sd[:, 0], rtol=0.15)
    assert (drawn > 0).all()
    assert (drawn < 1).all()


def test_importance_finds_what_matters(learned):
    table = permutation_importance(learned.validation, repeats=1).set_index("group")["increase"]
    assert set(table.index) == set(learned.sites.features.names)
    assert (table > 0.02).all()  # each of the four carries something in this world
    grouped = permutation_importance(
        learned.validation, {"climate": ["temperature", "rain"], "clay": ["clay"]}, repeats=1
    )
    assert grouped["group"][0] == "climate"
    with pytest.raises(LearningError, match="not predictors: moon"):
        permutation_importance(learned.validation, {"x": ["moon"]})


def test_more_sites_are_better(learned):
    table = learning_curve(learned.sites, learned.validation.folds, (40, 400), SETTINGS)
    mean = table[table["parameter"] != "silent"].groupby("sites_trained")["skill"].mean()
    assert mean[400] > mean[40]
    with pytest.raises(LearningError, match="Sizes"):
        learning_curve(learned.sites, learned.validation.folds, (700,), SETTINGS)


def test_left_out_posteriors_are_never_seen(world):
    table = world[0].iloc[:200]
    settings = LearningSettings(hidden=(4,), epochs=2, members=1)
    one = posterior(table, 1)
    sites = join(table, one, settings)
    folds = folds_of(sites, settings, 3)
    other = one.copy(deep=True)
    hidden = folds == 0
    other["posterior_mean"].values[hidden] = LOWER + 0.2 * (UPPER - LOWER)
    other["posterior_sd"].values[hidden] = 0.05 * (UPPER - LOWER)
    a, b = (
        cross_validate(join(table, p, settings), folds, settings, 1, trees=3).predicted
        for p in (one, other)
    )
    for method in a:
        np.testing.assert_allclose(a[method][hidden], b[method][hidden], atol=1e-6)
        assert not np.allclose(a[method][~hidden], b[method][~hidden], atol=1e-6)
    with pytest.raises(LearningError, match="Unknown method: kriging"):
        cross_validate(sites, folds, settings, 1, methods=("kriging",))


def test_skill_in_closed_form():
    goal = targets(posterior(covariates(50, 0), 0), LearningSettings())
    reference = np.full((50, 4), 0.4)
    half = goal.value + 0.5 * (reference - goal.value)
    table = skill(goal, {"half": half, "self": goal.posterior}, reference)
    part = table[table["method"] == "half"]
    np.testing.assert_allclose(part["skill"][:3], 0.75)
    assert np.isnan(part["skill"][3])  # nobody constrains it
    own = table[table["method"] == "self"]
    np.testing.assert_allclose(own["r2"], 1.0)
    np.testing.assert_allclose(own["correlation"], 1.0)
    assert (own["sites"].to_numpy() == [50, 50, 50, 0]).all()


def test_validation_as_dataset(learned):
    data = learned.validation.as_dataset()
    assert data["predicted"].sizes == {"method": 5, "site": 700, "parameter": 4}
    assert np.isfinite(data["predicted"]).all()
    np.testing.assert_allclose(data["predicted"].to_numpy()[-1, 3], DEFAULT)
