"""The posterior of a site: priors, impossible parameters, one value however it is batched."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import proda
from proda.errors import AssimilationError, ObservationError
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.likelihood import LogNormal
from proda.inference.padded_sites import assemble, padded_layers, usable
from proda.inference.problem import checked_settings
from proda.inference.profiles import Profiles, from_tables
from proda.inference.sampling import chain_keys
from proda.inference.target import Posterior
from proda.models.model import Reason
from tests.conftest import rough_forcing


def profiles(n: int, layers: int = 4) -> Profiles:
    upper = np.linspace(0.0, 0.6, layers)
    return Profiles(
        np.array([f"site-{i}" for i in range(n)]),
        np.linspace(-60.0, 60.0, n),
        np.zeros(n),
        np.arange(n + 1) * layers,
        np.tile(upper, n),
        np.tile(upper + 0.15, n),
        np.geomspace(5e4, 5e3, n * layers),
    )


@pytest.fixture
def sites():
    forcing = rough_forcing(1, 6)
    return assemble(profiles(6), forcing, "layer_mean")


@eqx.filter_jit
def value(posterior, u):
    return posterior.log_likelihood(u)


@eqx.filter_jit
def values_and_reasons(posterior, u):
    return jax.vmap(lambda u: (posterior.log_likelihood(u), posterior.predict(u).reason))(u)


def one(sites, i):
    return jax.tree.map(lambda leaf: leaf[i], sites)


def test_likelihood_is_that_of_the_public_steady_state(model, examples):
    data = profiles(len(examples))
    sites = assemble(data, examples, "mid_depth")
    u = np.random.default_rng(0).uniform(0.2, 0.8, (len(examples), len(model.rows)))
    values = {r.name: r.lower + u[:, i] * (r.upper - r.lower) for i, r in enumerate(model.rows)}
    state = proda.steady_state(model, values, examples)
    from scipy.interpolate import PchipInterpolator

    for i in range(len(examples)):
        posterior = Posterior(model, LogNormal(0.3), one(sites, i))
        found = float(value(posterior, jnp.asarray(u[i])))
        if state["reason"][i] != 0:
            assert found == -np.inf
            continue
        carbon = state["soil_carbon"][i].to_numpy()
        middle = np.asarray(posterior.site.measured.mid_depth)[:4]
        modelled = PchipInterpolator(state["depth"].to_numpy(), carbon)(middle)
        o = np.asarray(posterior.site.measured.carbon)[:4]
        z = (np.log(modelled) - np.log(o)) / 0.3
        expected = (-0.5 * z**2 - np.log(0.3 * o) - 0.5 * np.log(2 * np.pi)).sum()
        assert found == pytest.approx(expected, rel=1e-9)


def test_one_value_however_it_is_batched(model, sites):
    u = jax.random.uniform(jax.random.key(3), (6, 2, 3, len(model.rows)))
    posterior = Posterior(model, LogNormal(), sites)

    def many(u, site):
        posterior = Posterior(model, LogNormal(), site)
        return posterior.log_likelihoods(u), *posterior.residuals(u)

    batched, same, residuals = jax.jit(jax.vmap(jax.vmap(many, in_axes=(0, None))))(
        u, posterior.site
    )
    finite = 0
    for i in range(6):
        single = Posterior(model, LogNormal(), one(sites, i))
        for c in range(2):
            plain = [float(value(single, u[i, c, r])) for r in range(3)]
            np.testing.assert_allclose(batched[i, c], plain, rtol=1e-9)
            np.testing.assert_allclose(same[i, c], plain, rtol=1e-9)
            # they differ by what does not depend on the parameters
            rest = (np.array(plain) + 0.5 * (residuals[i, c] ** 2).sum(axis=1))[np.isfinite(plain)]
            np.testing.assert_allclose(rest, rest.mean() if rest.size else 0.0, rtol=1e-9)
            finite += np.isfinite(plain).sum()
    assert finite > 5


def test_impossible_parameters_have_probability_0(sites):
    model = proda.load_model("compas")
    u = jax.random.uniform(jax.random.key(0), (200, len(model.rows)))
    seen = 0
    for i in range(6):
        values, reason = values_and_reasons(Posterior(model, LogNormal(), one(sites, i)), u)
        impossible = np.asarray(reason) != Reason.FEASIBLE
        assert (np.asarray(values)[impossible] == -np.inf).all()
        assert not np.isnan(values).any()
        seen += impossible.sum()
    assert seen > 0


def test_error_may_be_sampled(sites):
    posterior = Posterior(proda.load_model("clm5"), LogNormal(None), one(sites, 0))
    assert posterior.n_parameters == 22
    assert posterior.rows[-1].name == "error_sd"
    u = jnp.full(22, 0.5)
    values = posterior.values(u)
    assert float(values["error_sd"]) == pytest.approx(0.525)
    fixed = Posterior(posterior.model, LogNormal(0.525), posterior.site)
    assert float(value(posterior, u)) == pytest.approx(float(value(fixed, u[:21])))


def test_layers_in_bedrock_are_left_out():
    forcing = rough_forcing(2, 5)
    data = profiles(5, layers=4)
    good = usable(data, forcing).reshape(5, 4)
    bottom = forcing.grid.interface[forcing.nbedrock - 1]
    middle = (0.5 * (data.upper + data.lower)).reshape(5, 4)
    np.testing.assert_array_equal(good, middle <= bottom[:, None])
    assert not good.all()
    mask = np.asarray(assemble(data, forcing, "layer_mean").measured.mask)
    np.testing.assert_array_equal(mask[:, :4], good)
    assert not mask[:, 4:].any()


def test_padding_depends_on_the_site_alone():
    assert [padded_layers(n) for n in (1, 8, 9, 32, 33, 256, 257)] == [8, 8, 32, 32, 256, 256, 512]


def test_keys_depend_on_site_and_chain_only():
    data = lambda k: np.asarray(jax.random.key_data(k))  # noqa: E731
    both = data(chain_keys(5, np.array(["a", "b"]), 3))
    np.testing.assert_array_equal(both[1:], data(chain_keys(5, np.array(["b"]), 3)))
    np.testing.assert_array_equal(both[:, :2], data(chain_keys(5, np.array(["a", "b"]), 2)))
    assert len(np.unique(both.reshape(6, -1), axis=0)) == 6
    assert (data(chain_keys(6, np.array(["a", "b"]), 3)) != both).any()


def test_sites_are_spread_over_latitudes():
    latitude = np.r_[np.full(500, 5.0), np.full(20, 65.0), np.full(3, -45.0)]
    n = len(latitude)
    data = Profiles(
        np.arange(n).astype(str),
        latitude,
        np.zeros(n),
        np.arange(n + 1),
        np.zeros(n),
        np.ones(n),
        np.ones(n),
    )
    chosen = data.spread(43)
    assert len(chosen) == 43
    assert [(chosen.latitude == x).sum() for x in (-45.0, 65.0, 5.0)] == [3, 20, 20]
    assert list(chosen.site) == list(data.spread(43).site)
    assert len(data.spread(1000)) == n


def test_faulty_tables_are_named():
    sites = pd.DataFrame({"profile_id": ["a", "b"], "lat": [0.0, 1.0], "lon": [0.0, 1.0]})
    layers = pd.DataFrame(
        {"profile_id": ["a", "b"], "upper_depth": 0.0, "lower_depth": 0.1, "soc_stock": [1.0, 0.0]}
    )
    with pytest.raises(ObservationError, match=r"0-0.1 m of b has a stock of 0"):
        from_tables(sites, layers)
    with pytest.raises(ObservationError, match="layers of b"):
        from_tables(sites[:1], layers)
    with pytest.raises(ObservationError, match="profile b has no layer"):
        from_tables(sites, layers[:1])


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, "rto"),
        ({"sampler": "auto", "error_sd": "estimate"}, "rto"),
        ({"likelihood": "published-clm5"}, "smc"),
        ({"streams": {"radiocarbon": "place"}}, "smc"),
        ({"streams": {"radiocarbon": "place"}, "held_out": ["radiocarbon"]}, "smc"),
        ({"sampler": "smc"}, "smc"),
        ({"sampler": "tempered", "likelihood": "published-clm5"}, "tempered"),
    ],
)
def test_the_sampler_is_chosen_by_what_is_fitted(given, chosen):
    settings = AssimilationSettings(**given)
    assert settings.sampler == chosen
    assert AssimilationSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sampler": "gibbs"}, "choose one of auto, smc, rto, tempered"),
        ({"sampler": "smc", "options": {"speed": 3}}, "no option 'speed'; it has walkers"),
        ({"sampler": "smc", "options": {"walkers": True}}, "expected int"),
        ({"sampler": "smc", "options": {"rounds": 0}}, "too small"),
        ({"sampler": "smc", "draws": 401}, "evenly from 50 walkers; choose 400"),
        ({"max_rhat": 1.0}, "max_rhat"),
        ({"max_evidence_error": 0.0}, "max_evidence_error"),
        ({"sampler": "tempered", "options": {"speed": 3}}, "no option 'speed'; it has warm_up"),
        ({"sampler": "tempered", "options": {"warm_up": True}}, "expected int"),
        ({"sampler": "tempered", "options": {"replicas": 1}}, "too small"),
        ({"sampler": "tempered", "draws": 7}, "does not divide"),
        ({"likelihood": "normal"}, "choose one of log-normal"),
        ({"error_sd": -1.0}, "expected a value above 0"),
        ({"error_sd": "guess"}, "error_sd"),
        ({"chains": 0}, "chains"),
        ({"colour": 1}, "colour"),
        ({"sampler": "tempered", "draws": 400, "options": {"warm_up": 4001}}, "not a multiple"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(AssimilationError, match=message):
        checked_settings(**wrong)
