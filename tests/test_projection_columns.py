"""Projections of columns: what must hold whatever the model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import proda
from proda.column.column import prepare
from proda.errors import ModelError, ParameterError
from proda.models.model import Reason
from proda.projection.changed_drivers import changed
from proda.projection.experiments import EXPERIMENTS, Change, experiments_named
from proda.projection.split import PARTS
from proda.projection.steps import time_steps
from tests.conftest import defaults
from tests.test_model_contract import with_properties

TIMES = (10.0, 50.0, 100.0, 300.0)
NAMES = ["control", "plus_4K", "input_none", "plus_4K_input_plus_20_ramp", "priming"]


@pytest.fixture(scope="module", params=["clm5", "compas"])
def model(request):
    return proda.load_model(request.param)


@pytest.fixture(scope="module")
def made(model, examples):
    values = defaults(model, examples)
    return values, proda.project(model, values, examples, NAMES, bounds="physical", times=TIMES)


def total(found):
    return found["cSoil"] + found["cLitter"]


def test_control_does_not_drift(made):
    carbon = total(made[1]).sel(experiment="control")
    assert float(abs(carbon / carbon.isel(time=0) - 1.0).max()) < 1e-10


def test_carbon_in_less_carbon_out_is_the_change(made):
    found = made[1]
    change = total(found) - total(found).isel(time=0)
    assert float(abs(change - found["entered"] + found["respired"]).max()) < 1e-9
    parts = sum(found[name] for name in PARTS)
    np.testing.assert_allclose(parts, change, atol=1e-9)
    assert (found["pool_carbon"] >= 0).all()
    transit = total(found).isel(time=0) / found["carbon_input"].isel(time=0)
    age = found["mean_age"]
    assert (age > 0).all()  # old carbon leaves slowly: on the whole it is older than what leaves
    assert (age > 0.5 * transit).all()


def test_a_step_ends_at_the_new_steady_state(model, examples):
    """With carbon that is older than the projection left out: deep layers need longer."""
    values = defaults(model, examples)
    found = proda.project(
        model,
        values,
        examples,
        ["plus_4K", "priming"],
        bounds="physical",
        times=(1e6,),
        longest_step=2e4,
    )
    for name in ("soc_0_30", "cLitter", "rh"):
        end, new = found[name].isel(time=-1), found[f"{name}_new_steady_state"]
        np.testing.assert_allclose(end, new, rtol=1e-5, err_msg=name)


def test_halved_steps_agree_to_second_order(model, examples):
    values, smooth = defaults(model, examples), "plus_4K_ramp"
    ends = [
        total(
            proda.project(
                model,
                values,
                examples,
                [smooth],
                bounds="physical",
                times=(100,),
                longest_step=step,
            )
        ).isel(time=-1)
        for step in (2.0, 1.0, 0.5)
    ]
    coarse, fine = abs(ends[0] - ends[1]), abs(ends[1] - ends[2])
    ratio = (coarse / fine).to_numpy()
    assert np.median(ratio) > 3.0, ratio  # 4 at second order, 2 at first


@pytest.mark.parametrize("name", ["clm5", pytest.param("rothc", marks=pytest.mark.long)])
def test_a_linear_model_follows_the_matrix_exponential(name, examples):
    model = proda.load_model(name)
    assert model.first_order
    examples = with_properties(examples, 3)
    values = defaults(model, examples)
    short = {"first_step": 0.02, "growth": 1.1, "longest_step": 0.5}
    found = proda.project(
        model, values, examples, ["plus_4K"], bounds="physical", times=(20,), **short
    )
    warm = Change(np.full((len(examples), 12), 4.0), np.ones((len(examples), 4)))
    columns = prepare(changed(examples, warm))
    p = {str(n): jnp.asarray(values[n].to_numpy()) for n in values}
    x0 = found["pool_carbon"].isel(experiment=0, time=0).to_numpy()
    n = x0[0].size
    at = jax.jit(
        jax.vmap(
            lambda x, p, c: model.tendency(x.reshape(x0[0].shape), p, c).ravel(),
            in_axes=(0, None, None),
        )
    )
    for site in (0, 3):
        here = jax.tree.map(lambda leaf, i=site: leaf[i], (p, columns))
        constant, *columns_of = np.asarray(
            at(jnp.concatenate([jnp.zeros((1, n)), jnp.eye(n)]), *here)
        )
        matrix = np.zeros((n + 1, n + 1))
        matrix[:n, :n] = (np.array(columns_of) - constant).T
        matrix[:n, n] = constant
        exact = (expm(20.0 * matrix) @ np.append(x0[site].ravel(), 1.0))[:n].reshape(x0[0].shape)
        ours = found["pool_carbon"].isel(experiment=0, time=-1, site=site).to_numpy()
        change = np.abs(exact - x0[site]).max(axis=1, keepdims=True)
        assert (np.abs(ours - exact) / np.maximum(change, 1e-12)).max() < 2e-3


def test_compas_far_from_its_steady_state(examples):
    """Almost no microbes, or a thousand times too many: nothing negative, all carbon balanced."""
    model = proda.load_model("compas")
    values = defaults(model, examples)
    steady = proda.steady_state(model, values, examples)["pool_carbon"]
    mic = steady["pool"] == "MIC"
    for factor in (1e-9, 1e3):
        start = steady * np.where(mic, factor, 1.0)[:, None]
        found = proda.project(model, values, examples, ["plus_4K"], initial=start, times=(1, 100))
        fine = found["reason"] == 0
        assert fine.any()
        assert bool((found["pool_carbon"].notnull() == fine).all())
        assert not (found["pool_carbon"] < 0).any()
        change = total(found) - total(found).isel(time=0)
        lost = (change - found["entered"] + found["respired"]).where(fine)
        assert float(abs(lost).max()) < 1e-9 * float(total(found).max())


def test_where_there_is_no_steady_state_the_reason_says_so(examples):
    model = proda.load_model("compas")
    values = defaults(model, examples)
    slow = values["tau_decom"].to_numpy().copy()
    slow[:2] = 1.0  # supply outruns it
    values["tau_decom"] = ("site", slow)
    found = proda.project(model, values, examples, ["plus_4K"], bounds="physical", times=(10,))
    reason = found["reason"].isel(experiment=0)
    assert reason[:2].to_numpy().tolist() == [Reason.NO_STEADY_STATE] * 2
    assert found["cSoil"].isel(site=slice(2)).isnull().all()
    assert found["cSoil"].isel(site=slice(2, None)).notnull().all()


def test_soil_that_thaws_gets_its_active_layer_and_water(examples):
    n = len(examples)
    warm = changed(examples, Change(np.full((n, 12), 4.0), np.ones((n, 4))))
    thaws = (warm.soil_temperature > 273.15) & (examples.soil_temperature <= 273.15)
    assert thaws.any()
    assert (warm.altmax >= examples.altmax).all()
    for i in np.flatnonzero(thaws.any(axis=(1, 2))):
        thawed = examples.soil_temperature[i] > 273.15
        np.testing.assert_allclose(warm.w_scalar[i][thaws[i]], examples.w_scalar[i][thawed].mean())
        same = ~thaws[i]
        np.testing.assert_array_equal(warm.w_scalar[i][same], examples.w_scalar[i][same])
    nothing = changed(examples, Change(np.zeros((n, 12)), np.ones((n, 4))))
    for name in ("soil_temperature", "w_scalar", "altmax", "litter_input"):
        np.testing.assert_array_equal(getattr(nothing, name), getattr(examples, name))


def test_steps_grow_and_meet_the_times():
    steps = time_steps((1.0, 10.0, 100.0), 0.1, 1.5, 5.0)
    ends = [s.end for s in steps]
    assert {1.0, 10.0, 100.0} <= set(ends)
    lengths = np.array([s.years for s in steps])
    assert (lengths[1:] <= 1.5 * lengths[:-1] * (1 + 1e-9)).all()
    assert lengths.max() <= 5.0
    assert [s.start for s in steps[1:]] == ends[:-1]


def test_what_is_wrong_is_named(model, examples):
    with pytest.raises(ParameterError, match=r"Unknown experiment 'plus_3K'; choose from control"):
        experiments_named(["plus_3K"])
    with pytest.raises(ParameterError, match="appears twice"):
        experiments_named(["control", "control"])
    with pytest.raises(ParameterError, match="times"):
        proda.project(model, {}, examples, times=(10, 5))
    published = proda.load_model(model.name, "published")
    with pytest.raises(ModelError, match="cannot be projected"):
        proda.project(published, defaults(model, examples), examples, bounds="physical")
    assert len(EXPERIMENTS) == 15
