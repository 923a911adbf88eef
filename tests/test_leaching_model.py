"""A model with losses other than CO2, litter pools of its own and transport of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import proda
from proda.attribution.coalitions import run_coalitions
from proda.column.column import prepare
from proda.errors import ModelError
from proda.learning import contract
from proda.models.describe import Flow, flow_shares, flows
from proda.models.model import Reason
from proda.plots.model_diagram import draw_model
from proda.radiocarbon.distribution_of_ages import ages
from tests.leaching_model import Leaching, Percolation

MODEL = Leaching()
CHECKS = [
    contract.check_rows,
    contract.check_properties,
    contract.check_defaults,
    contract.check_prior,
    contract.check_gradient,
    contract.check_transient,
    contract.check_components,
]


@pytest.fixture(scope="module")
def steady(examples):
    values = proda.default_parameters(MODEL, examples)
    return values, proda.steady_state(MODEL, values, examples)


@pytest.mark.parametrize("check", CHECKS)
def test_it_passes_the_checks_of_every_model(check):
    checks = check(MODEL)
    assert checks
    assert not [c for c in checks if not c.holds]


def test_conservation_counts_all_losses_and_respiration_only_co2(steady, examples):
    _, state = steady
    assert (state["reason"] == 0).all()
    leached, respired = state["leaching"].to_numpy(), state["respiration"].to_numpy()
    np.testing.assert_allclose(respired + leached, state["carbon_input"], rtol=1e-12)
    thickness = state["thickness"].to_numpy()
    doc = (state["pool_carbon"].sel(pool="DOC") * thickness).sum("layer")
    np.testing.assert_allclose(leached, 0.3 * doc, rtol=1e-12)
    assert (leached > 0.01 * respired).all()
    run = proda.integrate(MODEL, steady[0], examples, 2, 0.5 * state["pool_carbon"], step="month")
    assert run["converged"].all()
    stock = (run["pool_carbon"] * thickness).sum(("pool", "layer")).to_numpy()
    flows_of_year = run["carbon_input"] - run["respiration"] - run["leaching"]
    np.testing.assert_allclose(np.diff(stock, axis=1)[:, 0], flows_of_year[:, 1], rtol=1e-9)


def test_the_age_of_carbon_counts_what_is_leached_as_gone(steady, examples):
    """Where all dissolves at once and nothing is sorbed, the age is that of two pools in a row."""
    values, _ = steady
    alone = {name: jnp.asarray(value.to_numpy()) for name, value in values.items()}
    alone |= {name: jnp.full(len(examples), v) for name, v in (("sorbed", 0.0), ("velocity", 0.0))}

    def both(p, column):
        pools = MODEL.steady_state(p, column).pools
        old = ages(MODEL, pools, p, column)["mean_age"]
        return old, pools, MODEL.transfers(pools, p, column)

    age, pools, t = jax.jit(jax.vmap(both))(alone, prepare(examples))
    rate = np.asarray(t.modifier * t.decay)[:, :, 0]
    carbon = np.asarray(pools)[:, :, 0]
    share = np.asarray(t.fraction["DOC", "leaf"])[:, None] * carbon[:, :2] * rate[:, :2]
    direct = np.asarray(t.input)[:, 2, 0]
    # Dissolved carbon is as old as what fed it, plus its own turnover time, leaching included.
    old = (share / rate[:, :2]).sum(axis=1) / (share.sum(axis=1) + direct) + 1.0 / rate[:, 2]
    expected = (carbon[:, :2] / rate[:, :2]).sum(axis=1) + carbon[:, 2] * old
    np.testing.assert_allclose(age, expected / carbon[:, :3].sum(axis=1), rtol=1e-6)


def test_a_projection_counts_what_is_leached(steady, examples):
    found = proda.project(MODEL, steady[0], examples, ["plus_4K"], times=[1, 30])
    carbon = found["cSoil"] + found["cLitter"]
    change = carbon - carbon.isel(time=0)
    balance = found["entered"] - found["respired"] - found["lost"]
    np.testing.assert_allclose(balance, change, atol=1e-9)
    assert (np.abs(change.isel(time=-1)) > 1e-3).all()
    assert (found["lost"].isel(time=-1) > 1.0).any()
    start = found.isel(time=0)
    np.testing.assert_allclose(start["rh"] + start["other_losses"], start["carbon_input"])
    parts = sum(found[f"from_{name}"] for name in ("input", "turnover", "product", "imbalance"))
    np.testing.assert_allclose(parts, change, atol=1e-9)


def test_attribution_finds_what_leaching_takes(steady, examples):
    values = {str(n): v.to_numpy() for n, v in steady[0].items()}
    less = values | {"leach": np.full(len(examples), 0.05)}
    of = {"leach": "K"}
    carbon, exists = run_coalitions(MODEL, ("K",), of, less, values, examples)
    assert exists.all()
    np.testing.assert_allclose(1000.0 * carbon[1], steady[1]["soil_carbon"], rtol=1e-12)
    assert (carbon[0].sum(axis=1) > carbon[1].sum(axis=1)).all()


def test_its_flows_and_its_diagram_show_leaching():
    assert Flow("DOC", "leaching") in flows(MODEL)
    shares = flow_shares(MODEL)
    gone = [s.of_input for f, s in shares.items() if f.receiver in ("CO2", "leaching")]
    np.testing.assert_allclose(sum(gone), 1.0, rtol=1e-9)
    figure = draw_model(MODEL)
    assert any("leaching" in text.get_text() for text in figure.axes[0].texts)
    plt.close(figure)


def test_a_model_that_does_not_say_how_it_mixes_or_where_litter_enters_is_refused():
    class Unmixed(Leaching):
        mixes = proda.SoilModel.mixes

    with pytest.raises(ModelError, match=r"declares pools that mix \(DOC\) but not how"):
        Unmixed()

    wrong = type(
        "Wrong",
        (Leaching,),
        {
            "__module__": __name__,
            "litter_enters": {("wood", "CWD"): 1.0, ("moss", "ML"): 1.0, ("leaf", "moss"): 1.0},
            "losses": ("wood",),
            "own_reasons": {int(Reason.NOT_FINITE): "drowned"},
            "rows": tuple(r for r in Leaching.rows if r.name != Percolation().parameters[0]),
        },
    )
    table, pools = contract.check_rows(wrong())
    assert "velocity is read by Percolation and has no row" in table.result
    for fault in (
        "moss is not a pool",
        "moss is not a kind of litter",
        "the loss wood has the name of a pool",
        "the reason code 2 is not the model's",
    ):
        assert fault in pools.result
