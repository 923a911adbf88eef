"""Vertical mixing: the rules of science, section 6, written out with plain loops."""

from __future__ import annotations

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from proda.column.transport import exchange_coefficients, transport
from proda.column.transport_published import transport_published
from proda.grid import CLM5_GRID, Grid

ALT = st.one_of(
    st.sampled_from([0.0, 0.32, 2.0, 2.0000001, 3.0, 42.0]),
    st.floats(0.0, 5.0, allow_subnormal=False),
)


def by_loops(alt: float, nbedrock: int, cryo: float, diffus: float) -> np.ndarray:
    """Return the exchange through each lower interface in one month, m yr-1."""
    z, zi = CLM5_GRID.node, [*CLM5_GRID.interface, 10.99]
    diffusivity = [0.0] * 21
    for layer in range(1, nbedrock + 2):
        depth = zi[layer - 1]
        if 0 < alt <= 2:
            end = min(3.0, zi[nbedrock])
            if depth < alt:
                diffusivity[layer - 1] = cryo
            elif end > alt:
                diffusivity[layer - 1] = max(0.0, cryo * (1 - (depth - alt) / (end - alt)))
        elif alt > 2:
            diffusivity[layer - 1] = diffus
    g = [0.0] * 20
    for i in range(19):
        here, below = diffusivity[i], diffusivity[i + 1]
        if here > 0 and below > 0:
            distance = z[i + 1] - z[i]
            w = (z[i + 1] - zi[i]) / distance
            g[i] = 1 / ((1 - w) / here + w / below) / distance
    return np.array(g)


@settings(deadline=None)
@given(
    alt=ALT, nbedrock=st.integers(1, 20), cryo=st.floats(3e-5, 16e-4), diffus=st.floats(3e-5, 5e-4)
)
def test_exchange_is_the_harmonic_mean(alt, nbedrock, cryo, diffus):
    g_cryo, g_diffus = exchange_coefficients(jnp.array([alt]), jnp.asarray(nbedrock), CLM5_GRID)
    ours = cryo * g_cryo[0] + diffus * g_diffus[0]
    np.testing.assert_allclose(ours, by_loops(alt, nbedrock, cryo, diffus), rtol=1e-12, atol=1e-18)


@settings(deadline=None)
@given(alt=ALT, nbedrock=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_mixing_moves_carbon_and_makes_none(alt, nbedrock, seed):
    g_cryo, g_diffus = exchange_coefficients(jnp.array([alt]), jnp.asarray(nbedrock), CLM5_GRID)
    rates = transport(1e-3 * (g_cryo[0] + g_diffus[0]), jnp.asarray(nbedrock), CLM5_GRID)
    stock = np.random.default_rng(seed).random(20)
    down, up = np.asarray(rates.down) * stock, np.asarray(rates.up) * stock
    assert down[-1] == up[0] == 0.0
    assert (down[nbedrock - 1 :] == 0).all()
    assert (up[nbedrock:] == 0).all()
    # What two neighbours exchange depends on their concentrations only, and is 0 if they agree.
    same = np.asarray(CLM5_GRID.thickness)
    np.testing.assert_allclose(rates.down[:-1] * same[:-1], rates.up[1:] * same[1:], rtol=1e-14)


def test_deep_thaw_mixes_every_layer_and_ice_none():
    for alt, layers in ((42.0, 19), (0.0, 0)):
        _, g = exchange_coefficients(jnp.array([alt]), jnp.asarray(20), CLM5_GRID)
        assert int((g > 0).sum()) == layers


def test_the_published_scheme_leaks_below_bedrock_only():
    g_cryo, g_diffus = exchange_coefficients(jnp.array([42.0]), jnp.asarray(12), CLM5_GRID)
    rates = transport_published(1e-4 * g_diffus[0], jnp.asarray(12), CLM5_GRID)
    leak = np.asarray(rates.leak)
    np.testing.assert_allclose(leak[:12], 0.0, atol=1e-16)
    assert leak[12] > 1e-6
    full = transport_published(1e-4 * jnp.ones(20), jnp.asarray(20), CLM5_GRID)
    np.testing.assert_allclose(full.leak, 0.0, atol=1e-16)
    assert not g_cryo.any()


def test_the_grid_is_the_published_table():
    assert len(CLM5_GRID) == 20
    np.testing.assert_array_equal(
        CLM5_GRID.interface,
        [
            0.02,
            0.06,
            0.12,
            0.20,
            0.32,
            0.48,
            0.68,
            0.92,
            1.20,
            1.52,
            1.88,
            2.28,
            2.72,
            3.26,
            3.90,
            4.64,
            5.48,
            6.42,
            7.46,
            8.60,
        ],
    )
    np.testing.assert_allclose(CLM5_GRID.thickness_within(0.0, 1.0).sum(), 1.0)
    np.testing.assert_allclose(CLM5_GRID.thickness_within(0.3, 1.0).sum(), 0.7)


@pytest.mark.parametrize(
    "wrong", [{"node_m": (0.5,)}, {"node_m": (1.5, 0.5)}, {"thickness_m": (1.0, -1.0)}]
)
def test_impossible_grids_are_refused(wrong):
    good = {"thickness_m": (1.0, 1.0), "node_m": (0.5, 1.5), "next_interface_m": 3.0}
    Grid(**good)
    with pytest.raises(ValueError, match=r"[Ll]ayer"):
        Grid(**(good | wrong))
