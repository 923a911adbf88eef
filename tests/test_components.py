"""The six system-level components, from explicit matrices and in their limits."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.allocation import input_shares
from proda.models.components import components, input_allocation
from tests.conftest import defaults, one_column, one_set


def explicit(model, pools, p, column) -> dict[str, float]:
    """Write P-Eq 10-14 out with the matrix A and loops over pools and layers."""
    t = model.transfers(jnp.asarray(pools), p, column)
    n, dz = len(model.pools), column.grid.thickness
    a = np.zeros((n, n, 20))
    for (receiver, donor), share in t.fraction.items():
        a[model.pools.index(receiver), model.pools.index(donor)] += np.asarray(share)
    k, xi = np.asarray(t.decay), np.asarray(t.modifier)
    top = bottom = k_sum = x_sum = v_sum = xi_sum = 0.0
    exchange = np.asarray(t.transport.up) + np.asarray(t.transport.down)
    for z in range(20):
        for j in range(n):
            x = pools[j, z] * dz[z]
            flux = x * k[j, z] * xi[j, z]
            bottom += flux
            top += a[:, j, z].sum() * flux
            k_sum += k[j, z] * x
            v_sum += exchange[z] * x
            xi_sum += float(t.climate[z]) * x
            x_sum += x
    return {"CTE": top / bottom, "K": k_sum / x_sum, "V": v_sum / x_sum, "XI": xi_sum / x_sum}


def test_components_equal_the_explicit_sums(model, examples):
    values = defaults(model, examples)
    steady = proda.steady_state(model, values, examples, bounds="physical")
    ours = proda.components(model, values, examples, bounds="physical")
    for i in range(len(examples)):
        pools = steady["pool_carbon"].to_numpy()[i]
        expected = explicit(model, pools, one_set(values, i), one_column(examples, i))
        for name, value in expected.items():
            assert float(ours[name][i]) == pytest.approx(value, rel=1e-10), name
    np.testing.assert_allclose(ours["I"], examples.litter_input.sum(axis=1), rtol=1e-12)
    stock = (steady["pool_carbon"] * steady["thickness"]).sum(["pool", "layer"])
    np.testing.assert_allclose(ours["residence_time"], stock / ours["I"], rtol=1e-12)
    assert (ours["reason"] == 0).all()
    assert all("units" in ours[name].attrs for name in ours if name != "reason")


def test_what_reaches_the_soil_is_what_the_litter_does_not_respire(model, examples):
    """At steady state: litter to soil = (input - litter respiration) / input."""
    values = defaults(model, examples)
    steady = proda.steady_state(model, values, examples, bounds="physical")
    ours = proda.components(model, values, examples, bounds="physical")
    for i in range(len(examples)):
        pools = jnp.asarray(steady["pool_carbon"].to_numpy()[i])
        t = model.transfers(pools, one_set(values, i), one_column(examples, i))
        out = np.asarray(model.outflow(pools, t))
        respired = out[:4].sum(axis=0)
        for (_, donor), share in t.fraction.items():
            if donor not in model.soil_pools:
                respired = respired - np.asarray(share) * out[model.pools.index(donor)]
        carbon_input = float(ours["I"][i])
        expected = 1.0 - (respired * examples.grid.thickness).sum() / carbon_input
        assert float(ours["litter_to_soil"][i]) == pytest.approx(expected, rel=1e-9)


def test_input_allocation_is_the_share_below_5_cm_of_an_endless_profile():
    """With Y = 1 - b^(100 d) every layer gives b, and b^5 is the share below 5 cm."""
    dataset = proda.example_columns()
    dataset["nbedrock"][:] = 20
    column = one_column(proda.Forcing.from_dataset(dataset), 3)
    for b in (0.5, 0.9, 0.95):
        shares = input_shares(jnp.asarray(b), column)
        assert float(input_allocation(shares, column)) == pytest.approx(b**5, rel=1e-5)


def test_frozen_soil_has_no_input_below_5_cm(examples):
    surface = jnp.zeros(20).at[0].set(1.0)
    assert float(input_allocation(surface, one_column(examples))) == 0.0


def test_one_pool_has_its_own_rate(examples):
    """Where all carbon is in one pool, K is that pool's rate and CTE the sum of its transfers."""
    model = proda.load_model("clm5")
    p, column = one_set(defaults(model, examples), 4), one_column(examples, 4)
    pools = jnp.zeros((7, 20)).at[5, :3].set(1000.0)
    got = components(model, pools, p, column)
    assert float(got["K"]) == pytest.approx(1.0 / 5.0)
    assert float(got["CTE"]) == pytest.approx(0.42 + 0.03)


def test_compas_reports_michaelis_constants_over_substrate(examples):
    model = proda.load_model("compas")
    got = proda.components(model, defaults(model, examples), examples)
    assert (got["michaelis_over_DOC"] > 1).all()
    assert (got["michaelis_over_mSOC"] > 1).all()


def test_without_a_steady_state_there_are_no_components_but_a_reason():
    dataset = proda.example_columns()
    dataset["w_scalar"][:] = 0.0
    forcing = proda.Forcing.from_dataset(dataset)
    model = proda.load_model("clm5")
    got = proda.components(model, defaults(model, forcing), forcing, bounds="physical")
    assert (got["reason"] == proda.Reason.NO_STEADY_STATE).all()
    assert all(np.isfinite(got[name]).all() for name in got)
    assert (got["CTE"] == 0).all()
