"""The steady-state solvers against dense linear algebra, and in their limits."""

from __future__ import annotations

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings

from proda.column.block_tridiagonal import LayerRates, solve_coupled_chains
from proda.column.tridiagonal import ChainRates, solve_chains

SEEDS = st.integers(0, 2**31)


@jax.jit
def solve_chain(source, loss, up, down):
    """Solve one chain given as arrays over the layers."""
    down_above = jnp.concatenate([jnp.zeros(1), down[:-1]])
    (amounts,), stuck = solve_chains(
        (loss, up, down_above, source), lambda at: ChainRates(*[[value] for value in at])
    )
    return amounts, stuck


@jax.jit
def two_chains(layers):
    return solve_chains(layers, lambda at: ChainRates(*[list(value) for value in at]))


def dense_coupled(transfer, loss, up, down, source):
    """Return the solution of the same balance as one dense system: pool x layer unknowns."""
    n, layers = loss.shape
    matrix = np.zeros((n, layers, n, layers))
    for l in range(layers):  # noqa: E741
        for j in range(n):
            matrix[j, l, j, l] -= loss[j, l] + up[j, l] + down[j, l]
            for i in range(n):
                if i != j:
                    matrix[i, l, j, l] += transfer[i, j, l]
                    matrix[j, l, j, l] -= transfer[i, j, l]
            if l > 0:
                matrix[j, l - 1, j, l] += up[j, l]
            if l + 1 < layers:
                matrix[j, l + 1, j, l] += down[j, l]
    size = n * layers
    return np.linalg.solve(matrix.reshape(size, size), -source.ravel()).reshape(n, layers)


def random_rates(seed, n, layers=20):
    rng = np.random.default_rng(seed)
    up, down = rng.random((2, n, layers))
    up[:, 0] = 0.0
    down[:, -1] = 0.0
    return (
        rng.random((n, n, layers)),
        0.05 + rng.random((n, layers)),
        up,
        down,
        rng.random((n, layers)),
    )


@functools.cache
def compiled(n):
    def rates(at):
        transfer = [[at["transfer"][i, j] for j in range(n)] for i in range(n)]
        chains = ChainRates(*[list(at[name]) for name in ("loss", "up", "down_above", "source")])
        return LayerRates(transfer, chains)

    return jax.jit(lambda at: solve_coupled_chains(at, rates))


def coupled(transfer, loss, up, down, source):
    n = len(loss)
    down_above = np.concatenate([np.zeros((n, 1)), down[:, :-1]], axis=1)
    layers = {
        "transfer": transfer,
        "loss": loss,
        "up": up,
        "down_above": down_above,
        "source": source,
    }
    by_layer = {name: jnp.moveaxis(jnp.asarray(value), -1, 0) for name, value in layers.items()}
    return np.array(compiled(n)(by_layer))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_coupled_chains_equal_a_dense_solve(seed):
    for n in (1, 3):
        rates = random_rates(seed, n)
        np.testing.assert_allclose(coupled(*rates), dense_coupled(*rates), rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_single_chains_equal_a_dense_solve(seed):
    _, loss, up, down, source = random_rates(seed, 2)
    down_above = np.concatenate([np.zeros((2, 1)), down[:, :-1]], axis=1)
    layers = tuple(jnp.asarray(rate.T) for rate in (loss, up, down_above, source))
    ours, stuck = two_chains(layers)
    assert not stuck
    np.testing.assert_allclose(
        ours, dense_coupled(np.zeros((2, 2, 20)), loss, up, down, source), rtol=1e-10
    )


def test_no_digits_are_lost_where_loss_is_a_whisper_beside_mixing():
    """Everything leaves through the last layer at 1e-12 of the mixing rate.

    The exact answer is source / loss in every layer, to the share that mixing needs; a dense
    solve in float64 keeps four digits of it.
    """
    layers = 20
    up = np.full(layers, 1.0)
    down = np.full(layers, 1.0)
    up[0] = down[-1] = 0.0
    loss = np.zeros(layers)
    loss[-1] = 1e-12
    source = np.zeros(layers)
    source[0] = 1.0
    exact = 1e12 + np.arange(layers)[::-1]
    ours = np.asarray(solve_chain(*map(jnp.asarray, (source, loss, up, down)))[0])
    np.testing.assert_allclose(ours, exact, rtol=1e-14)
    dense = dense_coupled(np.zeros((1, 1, layers)), loss[None], up[None], down[None], source[None])
    assert np.abs(dense[0] / exact - 1.0).max() > 1e-8


def test_carbon_that_cannot_leave_is_flagged():
    zero = np.zeros(3)
    empty, stuck = solve_chain(*map(jnp.asarray, (zero, zero, zero, zero)))
    np.testing.assert_array_equal(empty, 0.0)
    assert not stuck
    source = np.array([0.0, 1.0, 1.0])
    loss = np.array([1.0, 0.0, 2.0])
    one, stuck = solve_chain(*map(jnp.asarray, (source, loss, zero, zero)))
    np.testing.assert_array_equal(one, [0.0, 0.0, 0.5])
    assert stuck
    both = coupled(
        np.zeros((2, 2, 3)),
        np.stack([loss, loss]),
        np.stack([zero, zero]),
        np.stack([zero, zero]),
        np.stack([source, zero]),
    )
    # The coupled solver leaves that to the balance of the column: 1 of 2 units does not come out.
    np.testing.assert_array_equal(both, [[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
