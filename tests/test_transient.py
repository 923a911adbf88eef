"""Models forward in time: carbon is conserved and the end is the steady state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.column import prepare
from proda.models.transient import advance
from tests.conftest import defaults, one_column, one_set, rough_forcing, rough_parameters


def stock(pools, grid):
    return (np.asarray(pools) * grid.thickness).sum(axis=(-2, -1))


@pytest.mark.parametrize("step", ["year", "month"])
def test_carbon_is_conserved(model, examples, step):
    """Each year's change is what entered minus what was respired, from a random state."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0.0, 1e4, (len(examples), len(model.pools), 20))
    start *= (np.arange(20) < examples.nbedrock[:, None])[:, None, :]
    values = defaults(model, examples)
    run = proda.integrate(
        model, values, examples, 6, _as_state(model, start), step, bounds="physical"
    )
    assert run["converged"].all()
    assert (run["pool_carbon"] >= 0).all()
    carbon = np.concatenate(
        [stock(start, examples.grid)[:, None], stock(run["pool_carbon"], examples.grid)], axis=1
    )
    balance = np.diff(carbon, axis=1) - (run["carbon_input"] - run["respiration"]).to_numpy()
    assert np.abs(balance / carbon[:, :1]).max() < 1e-12
    np.testing.assert_allclose(
        run["carbon_input"], np.repeat(examples.litter_input.sum(axis=1)[:, None], 6, 1)
    )


def _as_state(model, pools):
    import xarray as xr

    return xr.DataArray(pools, dims=("site", "pool", "layer"), coords={"pool": list(model.pools)})


def test_a_steady_state_stays(model, examples):
    values = defaults(model, examples)
    steady = proda.steady_state(model, values, examples, bounds="physical")
    run = proda.integrate(model, values, examples, 100, steady, save_every=50, bounds="physical")
    np.testing.assert_allclose(
        run["pool_carbon"].isel(time=-1), steady["pool_carbon"], rtol=1e-8, atol=1e-12
    )


def test_spun_up_from_nothing_both_models_meet_their_steady_state(model, examples):
    """Implicit steps that grow from 1 to 1e9 years, a spin-up of 2e10 years in all.

    Layers whose soil carbon is older than 1e7 years are left out. In COMPAS mineral carbon does
    not depend on how little carbon arrives, so where there are no roots it is older than that.
    """
    values = defaults(model, examples)
    steady = proda.steady_state(model, values, examples, bounds="physical")
    assert (steady["reason"] == 0).all()
    columns = prepare(examples)
    p = {str(name): jnp.asarray(values[name].to_numpy()) for name in values}
    grow = jax.jit(
        jax.vmap(lambda x, p, c, dt: advance(model, x, p, c, dt), in_axes=(0, 0, 0, None))
    )
    pools = jnp.zeros(steady["pool_carbon"].shape)
    for years in [*np.geomspace(1.0, 1e9, 35), *([1e9] * 20)]:
        step = grow(pools, p, columns, years)
        assert step.converged.all()
        pools = step.pools
    expected = steady["pool_carbon"].to_numpy()
    out = jax.vmap(lambda x, p, c: model.outflow(x, model.transfers(x, p, c)))
    leaving = np.asarray(jax.jit(out)(jnp.asarray(expected), p, columns))
    held = expected > 0
    age = np.where(held, expected / np.where(held, leaving, 1.0), 0.0).max(axis=1)
    fast = held & (age < 1e7)[:, None, :]
    assert fast[held].mean() > 0.85
    np.testing.assert_allclose(np.asarray(pools)[fast], expected[fast], rtol=1e-10)


def test_yearly_steps_approach_the_steady_state_near_the_surface(examples):
    """As a user would: 3000 years of yearly steps, tropical soil."""
    model = proda.load_model("clm5")
    tropics = examples.select([5])
    values = defaults(model, tropics)
    steady = proda.steady_state(model, values, tropics, bounds="physical")
    run = proda.integrate(model, values, tropics, 3000, save_every=1000, bounds="physical")
    top = run["depth"] < 1.0
    ratio = (run["soil_carbon"] / steady["soil_carbon"]).where(top, drop=True)
    assert (np.diff(ratio, axis=1) > -1e-12).all()
    np.testing.assert_allclose(ratio.isel(time=-1), 1.0, rtol=1e-3)


def test_months_end_in_a_cycle_around_the_yearly_state(examples):
    """Linear CLM5 with the same forcing every month: the cycle is the steady state itself."""
    model = proda.load_model("clm5")
    dataset = proda.example_columns()
    for name in ("soil_temperature", "w_scalar"):
        dataset[name] = dataset[name].mean("month").broadcast_like(dataset[name])
    forcing = proda.Forcing.from_dataset(dataset)
    values = defaults(model, forcing)
    steady = proda.steady_state(model, values, forcing, bounds="physical")
    run = proda.integrate(model, values, forcing, 2, steady, "month", bounds="physical")
    np.testing.assert_allclose(
        run["pool_carbon"].isel(time=-1), steady["pool_carbon"], rtol=1e-8, atol=1e-12
    )


def test_a_run_in_two_parts_is_the_run(model, examples):
    values = defaults(model, examples)
    whole = proda.integrate(model, values, examples, 6, 10.0, "month", bounds="physical")
    first = proda.integrate(model, values, examples, 4, 10.0, "month", bounds="physical")
    second = proda.integrate(model, values, examples, 2, first, "month", bounds="physical")
    np.testing.assert_array_equal(
        second["pool_carbon"].isel(time=-1), whole["pool_carbon"].isel(time=-1)
    )


def test_the_time_stepped_compas_meets_its_closed_form_anywhere_in_the_prior():
    """Random feasible parameters, from half the steady state, surface layer."""
    model = proda.load_model("compas")
    forcing, values = rough_forcing(11, 400), rough_parameters(model, 11, 400)
    steady = proda.steady_state(model, values, forcing)
    found = np.flatnonzero(steady["reason"].to_numpy() == 0)[:12]
    assert len(found) == 12
    step = jax.jit(lambda x, p, c, dt: advance(model, x, p, c, dt))
    for i in found:
        p, column = one_set(values, int(i)), one_column(forcing, int(i))
        expected = steady["pool_carbon"].to_numpy()[i]
        pools = jnp.asarray(0.5 * expected)
        for years in np.geomspace(0.1, 1e9, 60):
            done = step(pools, p, column, years)
            assert bool(done.converged)
            pools = done.pools
        np.testing.assert_allclose(np.asarray(pools)[:, 0], expected[:, 0], rtol=1e-6)


def test_an_impossible_steady_state_grows_without_end():
    """Without water nothing decomposes: input piles up, year by year, and is not lost."""
    dataset = proda.example_columns().isel(site=[3])
    dataset["w_scalar"][:] = 0.0
    forcing = proda.Forcing.from_dataset(dataset)
    model = proda.load_model("clm5")
    values = defaults(model, forcing)
    steady = proda.steady_state(model, values, forcing, bounds="physical")
    assert int(steady["reason"][0]) == proda.Reason.NO_STEADY_STATE
    run = proda.integrate(model, values, forcing, 3, bounds="physical")
    np.testing.assert_allclose(
        stock(run["pool_carbon"], forcing.grid)[0], 290.0 * np.array([1, 2, 3]), rtol=1e-12
    )
    assert (run["respiration"] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"years": 0}, "years = 0"),
        ({"years": 5, "save_every": 2}, "multiple"),
        ({"step": "day"}, "step = 'day'"),
        ({"initial": -1.0}, "initial CWD is -1 g m-3 at site tundra, layer 1"),
        ({"initial": np.zeros((2, 2))}, "shape"),
    ],
)
def test_wrong_requests_are_named(examples, change, message):
    model = proda.load_model("compas")
    arguments = {"years": 1} | change
    with pytest.raises(proda.ParameterError, match=message):
        proda.integrate(model, defaults(model, examples), examples, **arguments)


def test_an_initial_state_of_another_model_or_in_bedrock_is_refused(examples):
    clm5, compas = proda.load_model("clm5"), proda.load_model("compas")
    steady = proda.steady_state(compas, defaults(compas, examples), examples)
    with pytest.raises(proda.ParameterError, match="has the pools"):
        proda.integrate(clm5, defaults(clm5, examples), examples, 1, steady, bounds="physical")
    buried = np.ones((len(examples), 8, 20))
    with pytest.raises(proda.ParameterError, match=r"boreal forest, layer 16; but .* bedrock"):
        proda.integrate(compas, defaults(compas, examples), examples, 1, _as_state(compas, buried))


def test_an_initial_state_must_be_for_these_sites_in_this_unit_and_converged(examples):
    model = proda.load_model("compas")
    values = defaults(model, examples)
    steady = proda.steady_state(model, values, examples)
    other = steady.isel(site=slice(None, None, -1))
    with pytest.raises(proda.ParameterError, match="initial state is for other sites"):
        proda.integrate(model, values, examples, 1, other)
    kilograms = steady["pool_carbon"].assign_attrs(units="kg m-3")
    with pytest.raises(proda.ParameterError, match="in 'kg m-3'; give it in 'g m-3'"):
        proda.integrate(model, values, examples, 1, kilograms)
    run = proda.integrate(model, values, examples, 1, steady)
    run["converged"][2] = False
    with pytest.raises(proda.ParameterError, match=r"did not converge at 1 sites.*temperate"):
        proda.integrate(model, values, examples, 1, run)


def test_a_column_that_fails_says_so_and_leaves_the_others_alone(examples):
    model = proda.load_model("compas")
    values = defaults(model, examples)
    start = proda.steady_state(model, values, examples)
    absurd = start.copy(deep=True)
    absurd["pool_carbon"][2, :, :3] = 1e200
    good = proda.integrate(model, values, examples, 2, start)
    run = proda.integrate(model, values, examples, 2, absurd)
    np.testing.assert_array_equal(run["converged"], np.arange(6) != 2)
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(
        run["pool_carbon"].isel(site=others), good["pool_carbon"].isel(site=others)
    )
    assert np.isfinite(run["pool_carbon"]).all()
