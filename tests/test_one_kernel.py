"""Loops in one kernel: the same results, and only loops of simple arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column import chunks
from proda.column.column import prepare
from proda.learning.contract_columns import with_properties
from proda.one_kernel import loops_in_kernels, one_kernel
from tests.conftest import rough_forcing, rough_parameters

MARK = 'xla_cpu_small_call="true"'

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="kernels of processors")


def program(function, *arguments) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()


def calls(function, *arguments) -> int:
    """Return how many calls of the compiled program are one kernel."""
    lines = program(function, *arguments).splitlines()
    return sum(" call(" in line and MARK in line for line in lines)


def halved(rows):
    """Return each row plus half of what came before it."""
    return jax.lax.scan(lambda before, row: (before / 2 + row,) * 2, jnp.zeros(()), rows)[1]


def test_a_loop_is_one_kernel_with_the_same_results():
    rows = jnp.asarray(np.random.default_rng(1).uniform(size=(150, 20)))
    plain = jax.vmap(halved)
    kernel = loops_in_kernels(plain)
    assert calls(plain, rows) == 0
    assert calls(kernel, rows) == 1
    weights = 0.5 ** np.subtract.outer(np.arange(20), np.arange(20))
    expected = np.asarray(rows) @ np.tril(weights).T
    np.testing.assert_allclose(jax.jit(kernel)(rows), expected, rtol=1e-14)


def test_loops_inside_of_compiled_functions_and_derivatives_are_kernels_too():
    rows = jnp.ones((30, 20))

    def total(rows):
        return (jax.jit(jax.vmap(halved))(rows) ** 2).sum()

    slope = loops_in_kernels(jax.grad(total))
    assert calls(slope, rows) == 2  # up and down
    np.testing.assert_allclose(jax.jit(slope)(rows), jax.grad(total)(rows), rtol=1e-14)


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda row: jnp.exp(row), id="exponential"),
        pytest.param(lambda row: row.sum() * jnp.ones(3), id="sum"),
        pytest.param(lambda row: jnp.eye(3) @ row, id="product of matrices"),
        pytest.param(lambda row: jnp.sort(row), id="sort"),
    ],
)
def test_a_loop_with_other_operations_stays_as_it_is(operation):
    rows = jnp.ones((300, 20, 3))  # of smaller loops XLA makes such a kernel itself

    def plain(rows):
        return jax.vmap(lambda x: jax.lax.scan(lambda c, r: (c, operation(r)), 0.0, x)[1])(rows)

    assert calls(loops_in_kernels(plain), rows) == 0
    np.testing.assert_array_equal(jax.jit(loops_in_kernels(plain))(rows), plain(rows))


def test_arguments_that_are_not_used_are_allowed():
    """XLA would end the process: it keeps them where they are results of a loop, in a loop."""
    start = jnp.ones((20, 150))

    def step(rows):
        before = jnp.zeros(150)
        first, product, more = jax.lax.scan(
            lambda c, r: (c / 2 + r, (c / 2 + r, c * r, c > r)), before, rows
        )[1]

        def again(rows, product, more):
            return jax.lax.scan(lambda c, r: (c / 2 + r,) * 2, before, rows)[1]

        return one_kernel(again)(first, product, more), more.any()

    def thrice(rows):
        def body(state):
            return state[0] + 1, step(state[1])[0]

        return jax.lax.while_loop(lambda state: state[0] < 3, body, (0, rows))[1]

    expected = start.T
    for _ in range(6):
        expected = jax.vmap(halved)(expected)
    np.testing.assert_allclose(jax.jit(thrice)(start), expected.T, rtol=1e-14)


@pytest.mark.parametrize("name", ["clm5", "compas", "rothc", "millennial"])
def test_steady_states_are_the_same(name):
    model = proda.load_model(name)
    n = 40
    values = rough_parameters(model, 3, n)
    given = {str(key): jnp.asarray(np.asarray(values[key])) for key in values}
    columns = prepare(with_properties(rough_forcing(3, n), 3))
    plain = jax.vmap(model.steady_state)
    state = jax.jit(plain)(given, columns)
    in_kernels = jax.jit(loops_in_kernels(plain))(given, columns)
    np.testing.assert_array_equal(in_kernels.reason, state.reason)
    assert (np.asarray(state.reason) == 0).any()
    np.testing.assert_allclose(in_kernels.pools, state.pools, rtol=1e-12, atol=0)
    np.testing.assert_allclose(in_kernels.respiration, state.respiration, rtol=1e-12, atol=0)


def test_columns_of_the_models_of_the_study_are_solved_in_kernels(model):
    n = 40
    values = rough_parameters(model, 3, n)
    given = {str(key): jnp.asarray(np.asarray(values[key])) for key in values}
    steady = loops_in_kernels(jax.vmap(model.steady_state))
    expected = {"clm5": 4, "compas": 2}  # litter, and in CLM5 soil: once down and once up
    assert calls(steady, given, prepare(rough_forcing(3, n))) == expected[model.name]


def test_cached_chunks_give_the_same_for_any_number_of_columns(monkeypatch):
    """Chunks of at most 3 columns; 7 columns are 3 chunks, the last of which is filled."""
    monkeypatch.setattr(chunks, "CACHED", 3)
    sizes = []

    def cumulated(rows, factor):
        sizes.append(len(rows))
        return {"halved": jax.vmap(halved)(rows), "product": rows[:, 0] * factor}

    for n, expected in ((2, 2), (3, 3), (6, 3), (7, 3)):
        rows = jnp.asarray(np.random.default_rng(n).uniform(size=(n, 20)))
        factor = jnp.arange(1.0, n + 1)
        found = jax.jit(chunks.in_cached_chunks(cumulated))(rows, factor)
        assert sizes[-1] == expected
        np.testing.assert_allclose(found["halved"], jax.vmap(halved)(rows), rtol=1e-15)
        np.testing.assert_array_equal(found["product"], rows[:, 0] * factor)
