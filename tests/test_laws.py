"""Laws that hold whatever the parameters and the forcing."""

from __future__ import annotations

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import proda
from proda.column.column import prepare
from proda.models.model import Reason
from tests.conftest import rough_forcing, rough_parameters

COLUMNS = 64
ROUGH = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SEEDS = st.integers(0, 2**31)


@functools.cache
def compiled_change(name):
    """Return tendency, flow through each pool, and respiration, compiled once per model."""
    model = proda.load_model(name)

    def change(pools, p, column):
        t = model.transfers(pools, p, column)
        mixed = t.transport.up + t.transport.down
        through = model.outflow(pools, t) + mixed * pools
        return model.tendency(pools, p, column), through, model.respiration(pools, t)

    return jax.jit(jax.vmap(change))


@functools.cache
def compiled_gradients(name):
    """Return gradients of carbon to 1.2 m in both modes, and the largest pool."""
    model = proda.load_model(name)

    def carbon(p, column):
        state = model.steady_state(p, column)
        return (state.soil_carbon * column.grid.thickness)[:9].sum(), state.pools.max()

    def both(p, column):
        reverse, largest = jax.grad(carbon, has_aux=True)(p, column)
        forward, _ = jax.jacfwd(carbon, has_aux=True)(p, column)
        return forward, reverse, largest

    return jax.jit(jax.vmap(both))


def check_laws(model, values, forcing, bounds="prior"):
    result = proda.steady_state(model, values, forcing, bounds)
    pools = result["pool_carbon"].to_numpy()
    assert np.isfinite(pools).all()
    assert (pools >= 0).all()
    assert np.isfinite(result["respiration"]).all()
    feasible = result["reason"].to_numpy() == Reason.FEASIBLE
    carbon_input = result["carbon_input"].to_numpy()
    difference = np.abs(result["respiration"].to_numpy() - carbon_input)
    assert (difference[feasible] <= 1e-10 * carbon_input[feasible]).all()
    below = np.arange(20) >= forcing.nbedrock[:, None]
    assert (pools[np.broadcast_to(below[:, None, :], pools.shape)] == 0).all()
    assert (pools[~feasible] == 0).all()
    soil = [model.pools.index(name) for name in model.soil_pools]
    np.testing.assert_allclose(result["soil_carbon"], pools[:, soil].sum(axis=1), rtol=1e-14)
    return feasible


@ROUGH
@given(seed=SEEDS)
def test_steady_states_obey_the_laws(model, seed):
    forcing = rough_forcing(seed, COLUMNS)
    check_laws(model, rough_parameters(model, seed, COLUMNS), forcing)


def test_the_rough_columns_reach_both_outcomes(model):
    """The laws above are not about empty sets."""
    forcing = rough_forcing(1, 1024)
    feasible = check_laws(model, rough_parameters(model, 1, 1024), forcing)
    assert 0.02 < feasible.mean() < 0.98
    if model.name == "clm5":
        dry = (forcing.w_scalar == 0).all(axis=(1, 2)) & (forcing.litter_input.sum(axis=1) > 0)
        assert dry.any()
        assert not feasible[dry].any()


@ROUGH
@given(seed=SEEDS)
def test_default_parameters_obey_the_laws(model, seed):
    """Sand dependent transfers, b of a plant functional type, e-folding depth outside its prior."""
    forcing = rough_forcing(seed, COLUMNS)
    b = np.random.default_rng(seed).uniform(0.9, 0.99, COLUMNS)
    values = proda.default_parameters(model, forcing, b)
    if model.name == "clm5":
        assert values["fs2s1"].dims == ("site", "layer")
        assert (values["efolding"] == 10.0).all()
    check_laws(model, values, forcing, bounds="physical")


def test_the_published_code_rejects_about_85_per_cent_of_the_prior_of_compas(examples):
    """Science: section 7.2; the same share on mild columns as in the published cases."""
    model = proda.load_model("compas", "published")
    n = 3000
    rng = np.random.default_rng(3)
    forcing = examples.select(rng.integers(0, len(examples), n))
    values = {r.name: rng.uniform(r.lower, r.upper, n) for r in model.rows}
    result = proda.steady_state(model, values, forcing)
    assert (result["reason"] != 0).mean() == pytest.approx(0.85, abs=0.08)


@ROUGH
@given(seed=SEEDS)
def test_published_variants_give_numbers_or_a_reason(seed):
    """They leak, and COMPAS may be negative where it is rejected, but nothing is NaN."""
    forcing = rough_forcing(seed, COLUMNS)
    for name in ("clm5", "compas"):
        model = proda.load_model(name, "published")
        result = proda.steady_state(model, rough_parameters(model, seed, COLUMNS), forcing)
        assert np.isfinite(result["pool_carbon"]).all()
        accepted = result["pool_carbon"].to_numpy()[result["reason"].to_numpy() == 0]
        assert (accepted >= 0).all()


@ROUGH
@given(seed=SEEDS)
def test_steady_states_are_where_nothing_changes(model, seed):
    """The tendency, coded apart from the solver, vanishes against the flow through each pool."""
    forcing = rough_forcing(seed, COLUMNS)
    values = rough_parameters(model, seed, COLUMNS)
    result = proda.steady_state(model, values, forcing)
    feasible = result["reason"].to_numpy() == 0

    p = {name: jnp.asarray(value) for name, value in values.items()}
    tendency, through, respired = compiled_change(model.name)(
        jnp.asarray(result["pool_carbon"].to_numpy()), p, prepare(forcing)
    )
    tendency, through = np.asarray(tendency)[feasible], np.asarray(through)[feasible]
    # Near the edge of feasibility DOC and mSOC lose digits; their flow does not.
    assert (np.abs(tendency) <= 1e-8 * through + 1e-200).all()
    layers = (np.asarray(respired) * forcing.grid.thickness).sum(axis=1)
    np.testing.assert_allclose(
        layers[feasible], result["respiration"].to_numpy()[feasible], rtol=1e-8
    )


@settings(ROUGH, max_examples=20)
@given(seed=SEEDS)
def test_gradients_are_finite_in_forward_and_reverse_mode(model, seed):
    """Also where fluxes are too small to be squared, and where there is no steady state.

    Two kinds of CLM5 columns are left out, in which float64 fails now and then (7 of 12,392):
    e-folding depths under 1 cm (1 % of the prior), where the derivative by a rate of 1e-300
    overflows in reverse mode although the one by the parameter would not; and pools over
    1e9 g m-3, where derivatives that should vanish are rounding.
    """
    forcing = rough_forcing(seed, COLUMNS)
    values = rough_parameters(model, seed, COLUMNS)
    p = {name: jnp.asarray(value) for name, value in values.items()}
    forward, reverse, largest = compiled_gradients(model.name)(p, prepare(forcing))
    sensible = np.asarray(largest) < 1e9
    if "efolding" in values:
        sensible &= values["efolding"] >= 0.01
    assert sensible.mean() > 0.5
    for name, value in values.items():
        one, other = np.asarray(forward[name])[sensible], np.asarray(reverse[name])[sensible]
        assert np.isfinite(one).all(), name
        assert np.isfinite(other).all(), name
        in_carbon = value[sensible]
        np.testing.assert_allclose(one * in_carbon, other * in_carbon, rtol=1e-6, atol=1e-3)


def test_without_any_input_there_is_no_carbon_and_no_complaint(model):
    """Also where nothing decomposes: nothing enters that could be stuck."""
    dataset = proda.example_columns()
    dataset["litter_input"][:] = 0.0
    for water in (1.0, 0.0):
        dataset["w_scalar"][:] = water
        forcing = proda.Forcing.from_dataset(dataset)
        values = proda.default_parameters(model, forcing, b=0.9)
        result = proda.steady_state(model, values, forcing, bounds="physical")
        assert (result["reason"] == Reason.FEASIBLE).all()
        assert (result["pool_carbon"] == 0).all()


def test_a_dry_layer_matters_where_carbon_cannot_leave_it(model):
    """With woody debris, which does not move, there is no steady state; without it there is."""
    dataset = proda.example_columns().isel(site=[4])
    dataset["w_scalar"][:, 3] = 0.0
    reasons = []
    for wood in (0.0, 50.0):
        dataset["litter_input"][:, 0] = wood
        forcing = proda.Forcing.from_dataset(dataset)
        values = proda.default_parameters(model, forcing, b=0.9)
        result = proda.steady_state(model, values, forcing, bounds="physical")
        reasons.append(int(result["reason"][0]))
        if wood == 0.0:
            np.testing.assert_allclose(result["respiration"], result["carbon_input"], rtol=1e-12)
    assert reasons == [Reason.FEASIBLE, Reason.NO_STEADY_STATE]
