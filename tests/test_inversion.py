"""Inversion of expected carbon, and members that correct it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.column import prepare
from proda.errors import LearningError
from proda.learning import boosted_carbon
from proda.learning.boosted_carbon import crossed_carbon, frequent
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.families import correcting_runs
from proda.learning.features import fit_features
from proda.learning.inversion import invert, log_profile
from proda.learning.inverted_members import InvertedMembers, boosted_table
from proda.learning.splits import NO_FOLD, TrainingPlan
from tests.training_worlds import make_world

pytestmark = pytest.mark.usefixtures("small_blocks")


@partial(jax.jit, static_argnums=0)
def profiles_of(model, logits, columns):
    return jax.vmap(partial(log_profile, model))(logits, columns)


def profiles(model, forcing, logits):
    return profiles_of(model, jnp.asarray(logits), prepare(forcing))


@pytest.fixture(scope="module")
def forcing():
    return proda.Forcing.from_dataset(proda.example_columns())


@pytest.mark.parametrize("name", ["clm5", "compas"])
def test_inversion_lowers_misfit_plus_distance(name, forcing):
    """Towards the carbon of other parameters; the sum is at most what the start has."""
    model = proda.load_model(name)
    rng = np.random.default_rng(1)
    start = np.zeros(len(model.rows))
    logs, feasible = profiles(model, forcing, np.tile(start, (len(forcing), 1)))
    goal = np.asarray(logs) + rng.normal(0.0, 0.5, logs.shape)
    found = invert(forcing, model, start, goal, np.ones(len(start)))
    after, still = profiles(model, forcing, found)
    alive = np.asarray(feasible) & (np.asarray(logs) > np.log(10.0) + 1e-9).any(axis=1)
    assert alive.sum() >= 3
    assert np.asarray(still)[np.asarray(feasible)].all()
    before = ((np.asarray(logs) - goal) ** 2).sum(axis=1)
    misfit = ((np.asarray(after) - goal) ** 2).sum(axis=1)
    total = misfit + ((found - start) ** 2).sum(axis=1)
    assert (total <= before + 1e-9).all()
    assert (misfit[alive] < before[alive]).all()


def test_inversion_of_the_constants_own_carbon_stays_there(forcing):
    model = proda.load_model("clm5")
    start = np.full(len(model.rows), 0.3)
    goal = np.asarray(profiles(model, forcing, np.tile(start, (len(forcing), 1)))[0])
    found = invert(forcing, model, start, goal, np.ones(len(start)))
    np.testing.assert_allclose(found, np.tile(start, (len(forcing), 1)), atol=1e-9)


def test_inversion_keeps_what_is_the_same_everywhere(forcing):
    model = proda.load_model("clm5")
    start, varies = np.zeros(len(model.rows)), np.ones(len(model.rows))
    varies[[3, 10]] = 0.0
    logs = np.asarray(profiles(model, forcing, np.tile(start, (len(forcing), 1)))[0])
    found = invert(forcing, model, start, logs + 0.7, varies)
    assert (found[:, [3, 10]] == 0.0).all()
    assert np.abs(found).max() > 0.01


def test_inversion_leaves_a_column_that_is_lost(forcing):
    """Catalyst that dies at once: no steady state, no derivative, and nothing to change."""
    model = proda.load_model("compas")
    rng = np.random.default_rng(0)
    for _ in range(200):
        start = rng.normal(0.0, 4.0, len(model.rows))
        _, feasible = profiles(model, forcing, np.tile(start, (len(forcing), 1)))
        if not np.asarray(feasible).all():
            break
    lost = ~np.asarray(feasible)
    assert lost.any()
    goal = np.full((len(forcing), 5), 9.0)
    found = invert(forcing, model, start, goal, np.ones(len(start)))
    assert np.isfinite(found).all()
    moved = found[lost] != start
    _, now = profiles(model, forcing, found)
    assert (np.asarray(now)[lost] == moved.any(axis=1)).all()


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("twin"), 48)
    return read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "clm5"
    )


def test_boosted_carbon_of_a_site_comes_from_trees_that_have_not_seen_it(sites, monkeypatch):
    monkeypatch.setattr(boosted_carbon, "SETTINGS", {"max_iter": 5, "learning_rate": 0.3})
    n = len(sites)
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1.0, 1.0, (n, 3)).astype(np.float32)
    fold, group = np.arange(n) % 3, np.arange(n) % 4
    columns = np.arange(3)
    _, carbon = crossed_carbon(sites, inputs, columns, fold, group, (NO_FOLD, 0), 0)
    changed = sites.layers.profiles.carbon.copy()
    of_one = sites.layers.row_site == 7  # group 3, fold 1
    changed[of_one] *= 50.0
    other = replace(
        sites,
        layers=replace(sites.layers, profiles=replace(sites.layers.profiles, carbon=changed)),
    )
    _, again = crossed_carbon(other, inputs, columns, fold, group, (NO_FOLD, 0), 0)
    np.testing.assert_array_equal(carbon[:, group == 3], again[:, group == 3])
    assert not np.array_equal(carbon[0, group != 3], again[0, group != 3])
    of_fold = sites.layers.row_site == 3  # group 3, fold 0: left out of the second entry
    changed[of_fold] *= 50.0
    _, third = crossed_carbon(other, inputs, columns, fold, group, (NO_FOLD, 0), 0)
    np.testing.assert_array_equal(again[1], third[1])


def test_rare_classes_do_not_enter():
    inputs = np.zeros((100, 3), np.float32)
    inputs[:, 0] = np.linspace(-1.0, 1.0, 100)
    inputs[:2, 1] = 1.0
    inputs[:30, 2] = 1.0
    assert frequent(inputs, np.arange(3)).tolist() == [0, 2]


def plan_of(members, fold_members):
    fold = np.array([NO_FOLD] * members + [0] * fold_members + [1] * fold_members)
    member = np.array([*range(members), *range(fold_members), *range(fold_members)])
    rows = np.zeros((len(fold), 1), int)
    return TrainingPlan(rows, rows, fold, member)


def test_the_last_half_of_the_members_corrects():
    settings = EndToEndSettings()
    assert correcting_runs(plan_of(3, 2), settings).tolist() == [
        False,
        True,
        True,
        False,
        True,
        False,
        True,
    ]
    assert not correcting_runs(plan_of(1, 2), settings).any()
    assert not correcting_runs(plan_of(4, 2), replace(settings, inverted_share=0.0)).any()
    with pytest.raises(LearningError, match="at least 2 networks in each fold"):
        correcting_runs(plan_of(4, 1), settings)
    with pytest.raises(LearningError, match="inverted_share = 1"):
        EndToEndSettings(inverted_share=1)


def test_columns_that_are_absent_are_named(sites):
    carbon = np.random.default_rng(0).normal(9.0, 1.0, (20, 5))
    table = boosted_table(carbon)
    members = InvertedMembers(None, fit_features(table), None, np.zeros(1), np.ones(1))
    with pytest.raises(LearningError, match="lacks inversion_q10"):
        members.read(table, ("q10",))
