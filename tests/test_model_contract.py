"""What every registered model must do; a model joins by being registered."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.column import prepare
from proda.grid import CLM5_GRID
from proda.models.model import Reason
from proda.models.registry import MODELS
from proda.models.transient import advance
from tests.conftest import one_column, one_set, rough_forcing, rough_parameters

N = 64


def with_properties(forcing: proda.Forcing, seed: int = 0) -> proda.Forcing:
    """Return the same columns with made-up properties of the soil."""
    rng = np.random.default_rng(seed)
    shape = (len(forcing), len(forcing.grid))
    clay = rng.uniform(0.0, 70.0, shape)
    return dataclasses.replace(
        forcing,
        properties={
            "clay": clay,
            "silt": rng.uniform(0.0, 1.0, shape) * (100.0 - clay),
            "ph": rng.uniform(4.0, 8.5, shape),
            "bulk_density": rng.uniform(300.0, 1700.0, shape),
            "coarse": rng.uniform(0.0, 40.0, shape),
        },
    )


@pytest.fixture(scope="module", params=list(MODELS))
def registered(request) -> proda.SoilModel:
    return proda.load_model(request.param)


@functools.cache
def compiled(name):
    """Return the steady state and, apart from it, all that happens there."""
    model = proda.load_model(name)

    def all_of_it(p, column):
        state = model.steady_state(p, column)
        t = model.transfers(state.pools, p, column)
        through = model.outflow(state.pools, t) + (t.transport.up + t.transport.down) * state.pools
        co2 = (model.respiration(state.pools, t) * column.grid.thickness).sum()
        entered = (t.input * column.grid.thickness).sum()
        return state, model.tendency(state.pools, p, column), through, co2, entered

    return jax.jit(jax.vmap(all_of_it))


def arrays(values):
    return {str(name): jnp.asarray(np.asarray(values[name])) for name in values}


def default_world(model, examples):
    forcing = with_properties(examples)
    return forcing, proda.default_parameters(model, forcing, b=0.95)


def test_its_rows_are_sound(registered):
    names = [row.name for row in registered.rows]
    assert len(set(names)) == len(names)
    for row in registered.rows:
        assert row.lower < row.upper, row.name
        assert row.source, row.name
        assert row.unit, row.name
        assert row.meaning, row.name
    assert set(registered.soil_pools) <= set(registered.pools)
    assert set(registered.transported) <= set(registered.pools)


@pytest.mark.parametrize("world", ["defaults", "prior"])
def test_carbon_is_conserved_and_no_pool_is_negative(registered, examples, world):
    """Respiration equals input to 1e-10, also by the transfers, where nothing changes either."""
    if world == "defaults":
        forcing, values = default_world(registered, examples)
        index = np.arange(N) % len(examples)
        forcing, values = forcing.select(index), values.isel(site=index)
    else:
        forcing = with_properties(rough_forcing(7, N), 7)
        values = rough_parameters(registered, 7, N)
    state, tendency, through, co2, entered = jax.tree.map(
        np.asarray, compiled(registered.name)(arrays(values), prepare(forcing))
    )
    exists = state.reason == Reason.FEASIBLE
    assert exists.all() if world == "defaults" else exists.mean() > 0.3
    assert np.isfinite(state.pools).all()
    assert (state.pools >= 0).all()
    assert (state.pools[~exists] == 0).all()
    carbon_input = forcing.litter_input.sum(axis=1)
    np.testing.assert_allclose(entered, carbon_input, rtol=1e-12)
    np.testing.assert_allclose(state.respiration[exists], carbon_input[exists], rtol=1e-10)
    np.testing.assert_allclose(co2[exists], carbon_input[exists], rtol=1e-8)
    assert (np.abs(tendency)[exists] <= 1e-8 * through[exists] + 1e-200).all()
    below = np.arange(20) >= forcing.nbedrock[:, None]
    assert (state.pools[np.broadcast_to(below[:, None, :], state.pools.shape)] == 0).all()


def test_gradients_equal_finite_differences(registered, examples):
    within = jnp.asarray(CLM5_GRID.thickness_within(0.0, 1.0))

    def carbon(p, column):
        return (registered.steady_state(p, column).soil_carbon * within).sum()

    carbon, gradient = jax.jit(carbon), jax.jit(jax.grad(carbon))
    forcing, values = default_world(registered, examples)
    for i in (1, 4):
        p, column = one_set(values, i), one_column(forcing, i)
        analytic = gradient(p, column)
        for key, value in p.items():
            if value.ndim or value == 0.0:
                continue
            h = 1e-4 * value
            near = [float(carbon({**p, key: value + k * h}, column)) for k in (-2, -1, 1, 2)]
            finite = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * h)
            scale = float(carbon(p, column) / value)
            assert float(analytic[key]) == pytest.approx(
                float(finite), rel=1e-6, abs=1e-8 * scale
            ), key


def test_a_transient_run_ends_in_the_steady_state(registered, examples):
    """From nine tenths of each pool, in steps that grow to 1e9 years; the top metre.

    Not from much less: MIMICS swings towards its steady state, and an implicit step that is longer
    than a swing may end where there are no microbes, which is a solution too.
    """
    forcing, values = default_world(registered, examples)
    sites = [2, 4]
    p, columns = arrays(values.isel(site=sites)), prepare(forcing.select(sites))
    expected = np.asarray(jax.jit(jax.vmap(registered.steady_state))(p, columns).pools)
    step = jax.jit(
        jax.vmap(lambda x, p, c, dt: advance(registered, x, p, c, dt), in_axes=(0, 0, 0, None))
    )
    pools = jnp.asarray(0.9 * expected)
    for years in np.geomspace(0.1, 1e9, 50):
        done = step(pools, p, columns, years)
        assert done.converged.all()
        pools = done.pools
    np.testing.assert_allclose(np.asarray(pools)[..., :9], expected[..., :9], rtol=1e-6)


def test_its_components_are_finite_and_carbon_input_is_what_enters(registered, examples):
    forcing, values = default_world(registered, examples)
    parts = proda.components(registered, values, forcing, bounds="physical")
    for name in ("CTE", "K", "V", "XI", "B", "I", "litter_to_soil", "residence_time"):
        assert np.isfinite(parts[name]).all(), name
        moves = name != "V" or registered.transported
        assert (parts[name] > 0).all() if moves else (parts[name] == 0).all(), name
    np.testing.assert_allclose(parts["I"], forcing.litter_input.sum(axis=1), rtol=1e-12)
    assert (parts["litter_to_soil"] <= 1.0 + 1e-9).all()
