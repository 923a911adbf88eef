"""The general steady state against closed forms, and its derivative against finite differences."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.column import prepare
from proda.column.newton import Balance, find_root
from proda.column.small_linear import solve_layers, solve_small
from proda.grid import CLM5_GRID
from proda.models.general import general_steady_state
from proda.models.model import Reason
from tests.conftest import defaults, one_column, one_set, rough_forcing, rough_parameters


@functools.cache
def compiled(name):
    """Return the model's own and the general steady state of many columns."""
    model = proda.load_model(name)

    def both(p, column):
        return model.steady_state(p, column), general_steady_state(model, p, column)

    return jax.jit(jax.vmap(both))


def solved(model, values, forcing):
    p = {str(name): jnp.asarray(np.asarray(values[name])) for name in values}
    return compiled(model.name)(p, prepare(forcing))


def test_it_meets_the_closed_form_over_the_prior_and_rough_forcing(model):
    """100 columns; CLM5 has transported soil pools, COMPAS has none and Michaelis constants."""
    forcing, values = rough_forcing(5, 100), rough_parameters(model, 5, 100)
    if model.name == "clm5":  # by layer, as its default is: the same program for both tests
        values["fs2s1"] = np.repeat(values["fs2s1"][:, None], len(forcing.grid), axis=1)
    closed, general = solved(model, values, forcing)
    exists, found = np.asarray(closed.reason) == 0, np.asarray(general.reason) == 0
    assert 40 < exists.sum() < 100
    assert not (found & ~exists).any()
    assert found.sum() >= 0.98 * exists.sum()
    expected, pools = np.asarray(closed.pools)[found], np.asarray(general.pools)[found]
    np.testing.assert_allclose(pools, expected, rtol=1e-9, atol=0)
    np.testing.assert_allclose(
        np.asarray(general.respiration)[found], forcing.litter_input.sum(axis=1)[found], rtol=1e-10
    )
    reasons = np.asarray(general.reason)[~exists]
    assert np.isin(reasons, (Reason.NOT_CONVERGED, Reason.NOT_FINITE)).all()
    assert (np.asarray(general.pools)[~found] == 0).all()


def test_defaults_meet_the_closed_form(model, examples):
    n = 100
    forcing = examples.select(np.arange(n) % len(examples))
    closed, general = solved(model, defaults(model, forcing), forcing)
    assert (np.asarray(general.reason) == 0).all()
    np.testing.assert_allclose(general.pools, closed.pools, rtol=1e-9, atol=0)


@pytest.mark.long
def test_its_gradient_is_that_of_the_closed_form_and_of_finite_differences(model, examples):
    within = jnp.asarray(CLM5_GRID.thickness_within(0.0, 1.0))

    def carbon(p, column):
        return (general_steady_state(model, p, column).soil_carbon * within).sum()

    def closed(p, column):
        return (model.steady_state(p, column).soil_carbon * within).sum()

    both = jax.jit(lambda p, c: (jax.grad(carbon)(p, c), jax.grad(closed)(p, c)))
    value = jax.jit(carbon)
    values = defaults(model, examples)
    p, column = one_set(values, 2), one_column(examples, 2)
    ours, theirs = both(p, column)
    total = float(value(p, column))
    for name in p:
        np.testing.assert_allclose(
            ours[name] * p[name], theirs[name] * p[name], rtol=1e-8, atol=1e-9 * total
        )
        if p[name].ndim == 0:
            h = 1e-4 * p[name]
            near = [float(value({**p, name: p[name] + k * h}, column)) for k in (-2, -1, 1, 2)]
            finite = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * h)
            close = pytest.approx(float(finite), rel=1e-6, abs=1e-8 * total / float(p[name]))
            assert float(ours[name]) == close, name


def test_a_root_of_known_equations_and_its_derivative():
    """x^2 y = a, x = b y in each layer: y = (a / b^2)^(1/3)."""
    a, b = jnp.array([1.0, 8.0, 1e-9]), jnp.array([1.0, 0.5, 3.0])

    def local(u, theta):
        x, y = u
        a, b = theta
        return Balance(jnp.stack([a - x * x * y, b * y - x]), jnp.stack([a + x * x * y, b * y + x]))

    def solve(a, b):
        return find_root(local, (a, b), jnp.full((2, 3), 5.0))

    root = jax.jit(solve)(a, b)
    y = (a / b**2) ** (1 / 3)
    assert root.converged
    np.testing.assert_allclose(root.amounts, jnp.stack([b * y, y]), rtol=1e-12)
    by_a, by_b = jax.grad(lambda a, b: solve(a, b).amounts[1].sum(), (0, 1))(a, b)
    np.testing.assert_allclose(by_a, y / (3 * a), rtol=1e-10)
    np.testing.assert_allclose(by_b, -2 * y / (3 * b), rtol=1e-10)


def test_no_root_is_said_and_leaves_finite_derivatives():
    """1.5 = x / (1 + x) has no solution."""

    def local(x, a):
        return Balance(a - x / (1.0 + x), a + x / (1.0 + x))

    def solve(a):
        return find_root(local, a, jnp.ones((1, 2)))

    assert not solve(jnp.asarray(1.5)).converged
    assert solve(jnp.asarray(0.5)).converged
    assert jnp.isfinite(jax.grad(lambda a: solve(a).amounts.sum())(1.5))


def by_number(matrix):
    """Lay a batch of matrices out as the solvers want them: one array per number."""
    return [
        [jnp.asarray(matrix[:, i, j]) for j in range(matrix.shape[2])]
        for i in range(matrix.shape[1])
    ]


def test_small_systems_are_solved_with_pivoting():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((50, 4, 4))
    matrix[:, 0, 0] = 0.0
    right = rng.standard_normal((50, 4, 2))
    found = np.moveaxis(np.array(solve_small(by_number(matrix), by_number(right))), 2, 0)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-9)
    nothing = np.zeros((1, 3, 3))
    nothing[0, 0, 0] = 2.0
    found = solve_small(by_number(nothing), by_number(np.array([[[4.0], [0.0], [0.0]]])))
    np.testing.assert_array_equal(np.ravel(found), [2.0, 0.0, 0.0])


def test_layers_that_mix_are_solved_like_one_large_matrix():
    rng = np.random.default_rng(1)
    n, layers = 3, 5
    blocks = rng.standard_normal((layers, n, n)) + 4.0 * np.eye(n)
    above, below, right = rng.random((3, layers, n))
    dense = np.zeros((layers, n, layers, n))
    for k in range(layers):
        dense[k, :, k] = blocks[k]
        if k > 0:
            dense[k, :, k - 1] = -np.diag(above[k])
        if k < layers - 1:
            dense[k, :, k + 1] = -np.diag(below[k])
    expected = np.linalg.solve(dense.reshape(layers * n, -1), right.ravel()).reshape(layers, n)
    above[0] = below[-1] = 0.0
    found = solve_layers(
        by_number(blocks), *(list(jnp.asarray(a.T)) for a in (above, below, right))
    )
    np.testing.assert_allclose(np.array(found).T, expected, rtol=1e-10)
