"""The third model: reverse Michaelis-Menten kinetics, and that it needs no code but its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.column.column import prepare
from proda.grid import CLM5_GRID
from proda.inference.assimilation_run import create
from proda.inference.problem import checked_settings
from proda.inference.runner import work
from proda.maps.parameter_sources import Default
from proda.maps.run_map import write_map
from proda.models import compas_reverse
from proda.models.transient import advance
from tests.assimilation_worlds import OPTIONS, WIDTH, draws_of, write_forcing, write_profiles
from tests.conftest import HERE, one_column, one_set, rough_forcing, rough_parameters
from tests.map_grids import small_grid
from tests.test_laws import check_laws, compiled_change

NAME = "compas_reverse"


@pytest.fixture(scope="module")
def reverse() -> proda.SoilModel:
    return proda.load_model(NAME)


def test_it_is_one_short_file():
    lines = (HERE.parent / "src/proda/models/compas_reverse.py").read_text().splitlines()
    assert len(lines) < 100
    others = [
        p
        for p in (HERE.parent / "src").rglob("*.py")
        if p.stem not in ("registry", "compas_reverse")
    ]
    assert not [p for p in others if NAME in p.read_text() or "COMPASReverse" in p.read_text()]


def test_parameters_are_those_of_compas_but_for_its_kinetics(reverse):
    compas = proda.load_model("compas")
    own = {row.name for row in compas_reverse.KINETICS}
    assert own == {"km_assim", "tau_assim", "tau_decom", "km_decom"}
    for theirs, ours in zip(compas.rows, reverse.rows, strict=True):
        assert theirs.name == ours.name
        assert (theirs is ours) == (theirs.name not in own)
    table, other = reverse.parameters, compas.parameters
    for reaction in ("assim", "decom"):
        tau_km = [
            t.loc[[f"tau_{reaction}", f"km_{reaction}"], "default"].prod() for t in (table, other)
        ]
        assert tau_km[0] == pytest.approx(tau_km[1], rel=1e-3)


def test_the_closed_form_is_that_of_the_page(reverse, examples):
    """S = F tau (K_m xi + C) / (xi C), with microbes and enzyme as in COMPAS."""
    values = proda.default_parameters(reverse, examples)
    pools = proda.steady_state(reverse, values, examples)["pool_carbon"].to_numpy()
    compas = proda.load_model("compas")
    other = proda.default_parameters(compas, examples)
    theirs = proda.steady_state(compas, other, examples)["pool_carbon"].to_numpy()
    np.testing.assert_array_equal(pools[:, [0, 1, 2, 3, 5, 6]], theirs[:, [0, 1, 2, 3, 5, 6]])
    i = 2
    p, column = one_set(values, i), one_column(examples, i)
    t = reverse.transfers(jnp.asarray(pools[i]), p, column)
    litter = np.asarray(reverse.outflow(jnp.asarray(pools[i]), t))[:4, :12]
    xi = np.asarray(t.modifier)[0, :12]
    doc, mic, enz, msoc = pools[i][4:, :12]
    into_soc = p["a_soc_ll"] * litter[3] + p["a_soc_mic"] / p["tau_mic"] * xi * mic
    np.testing.assert_allclose(
        msoc, into_soc * p["tau_decom"] * (p["km_decom"] * xi + enz) / (xi * enz), rtol=1e-10
    )
    from_litter = p["a_doc_ml"] * litter[1] + p["a_doc_cl"] * litter[2]
    dead = (1 - p["a_soc_mic"]) / p["tau_mic"] * xi * mic
    into_doc = from_litter + dead + xi * enz / p["tau_enz_decay"] + into_soc
    np.testing.assert_allclose(
        doc, into_doc * p["tau_assim"] * (p["km_assim"] * xi + mic) / (xi * mic), rtol=1e-10
    )


def test_both_limits_are_met(reverse, examples):
    """Scarce catalyst: COMPAS with large constants. Plentiful catalyst: first-order decay."""
    values = proda.default_parameters(reverse, examples)
    compas = proda.load_model("compas")
    large = 1e9
    scarce = {r.name: r.default for r in reverse.rows}
    forward = {r.name: r.default for r in compas.rows}
    for reaction in ("assim", "decom"):
        tau_km = scarce[f"tau_{reaction}"] * scarce[f"km_{reaction}"]
        for one in (scarce, forward):
            one[f"km_{reaction}"], one[f"tau_{reaction}"] = large, tau_km / large
    ours = proda.steady_state(reverse, scarce, examples, "physical")["pool_carbon"]
    theirs = proda.steady_state(compas, forward, examples, "physical")["pool_carbon"]
    top = slice(0, 8)
    np.testing.assert_allclose(ours[:, :, top], theirs[:, :, top], rtol=1e-3)
    plenty = values.assign(km_decom=1e-12 * values["km_decom"])
    pools = proda.steady_state(reverse, plenty, examples, "physical")["pool_carbon"][5].to_numpy()
    p, column = one_set(plenty, 5), one_column(examples, 5)
    decay = reverse.transfers(jnp.asarray(pools), p, column).decay
    np.testing.assert_allclose(decay[7, :5], 1.0 / p["tau_decom"], rtol=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_laws_hold_over_the_prior_and_rough_forcing(reverse, seed):
    """Carbon is conserved, pools are not negative, and where nothing changes nothing changes."""
    forcing, values = rough_forcing(seed, 256), rough_parameters(reverse, seed, 256)
    feasible = check_laws(reverse, values, forcing)
    assert 0.5 < feasible.mean() < 1.0
    dry = (forcing.w_scalar == 0).all(axis=(1, 2)) & (forcing.litter_input.sum(axis=1) > 0)
    assert dry.any()
    assert not feasible[dry].any()
    result = proda.steady_state(reverse, values, forcing)
    p = {name: jnp.asarray(value) for name, value in values.items()}
    tendency, through, _ = compiled_change(NAME)(
        jnp.asarray(result["pool_carbon"].to_numpy()), p, prepare(forcing)
    )
    assert (np.abs(tendency)[feasible] <= 1e-9 * np.asarray(through)[feasible] + 1e-200).all()


def test_no_steady_state_lacks_but_where_carbon_cannot_decompose(reverse, examples):
    """Unlike COMPAS: demand cannot outrun a rate that is linear in the substrate."""
    rng = np.random.default_rng(4)
    forcing = examples.select(rng.integers(0, len(examples), 1000))
    values = {r.name: rng.uniform(r.lower, r.upper, 1000) for r in reverse.rows}
    assert (proda.steady_state(reverse, values, forcing)["reason"] == 0).all()
    without = {r.name: r.default for r in reverse.rows} | {"w_scaling": 0.0}
    reasons = proda.steady_state(reverse, without, examples)["reason"]
    assert (reasons == proda.Reason.NO_STEADY_STATE).all()


def test_stepped_through_time_it_meets_its_closed_form(reverse):
    """Random parameters of the whole prior, from half the steady state, surface layer."""
    forcing, values = rough_forcing(11, 60), rough_parameters(reverse, 11, 60)
    steady = proda.steady_state(reverse, values, forcing)
    found = np.flatnonzero(steady["reason"].to_numpy() == 0)[:8]
    step = jax.jit(lambda x, p, c, dt: advance(reverse, x, p, c, dt))
    for i in found:
        p, column = one_set(values, int(i)), one_column(forcing, int(i))
        expected = steady["pool_carbon"].to_numpy()[i]
        pools = jnp.asarray(0.5 * expected)
        for years in np.geomspace(0.1, 1e9, 60):
            done = step(pools, p, column, years)
            assert bool(done.converged)
            pools = done.pools
        np.testing.assert_allclose(np.asarray(pools)[:, 0], expected[:, 0], rtol=1e-6)


def test_gradients_equal_finite_differences(reverse, examples):
    within = jnp.asarray(CLM5_GRID.thickness_within(0.0, 1.0))

    def carbon(p, column):
        return (reverse.steady_state(p, column).soil_carbon * within).sum()

    carbon, gradient = jax.jit(carbon), jax.jit(jax.grad(carbon))
    values = proda.default_parameters(reverse, examples)
    for i in (0, 3, 5):
        p, column = one_set(values, i), one_column(examples, i)
        analytic = gradient(p, column)
        for key, value in p.items():
            h = 1e-4 * value
            near = [float(carbon({**p, key: value + k * h}, column)) for k in (-2, -1, 1, 2)]
            finite = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * h)
            scale = float(carbon(p, column) / value)
            close = pytest.approx(float(finite), rel=1e-6, abs=1e-8 * scale)
            assert float(analytic[key]) == close, key


def test_it_is_sampled_at_sites(tmp_path):
    """`proda assimilate --model compas_reverse`: draws inside the prior, with their diagnostics."""
    settings = checked_settings(
        model=NAME, sampler="tempered", options=OPTIONS, draws=4, chains=2, seed=7
    )
    profiles, forcing = write_profiles(tmp_path / "profiles"), write_forcing(tmp_path / "sites.nc")
    run = create(tmp_path / "run", settings, profiles, forcing, width=WIDTH, n_sites=WIDTH)
    work(run)
    draws, summary = draws_of(tmp_path / "run")
    assert (summary["reason"] == 0).all()
    assert draws["parameter"].to_numpy().tolist() == [r.name for r in proda.load_model(NAME).rows]
    inside = (draws["posterior"] >= draws["lower"]) & (draws["posterior"] <= draws["upper"])
    assert inside.all()
    assert (draws["posterior"].std(("chain", "draw")) > 0).all()


def test_components_transient_run_and_map(reverse, examples, tmp_path):
    values = proda.default_parameters(reverse, examples)
    parts = proda.components(reverse, values, examples)
    assert (parts["michaelis_over_ENZ"] > 0).all()
    assert (parts["michaelis_over_MIC"] > 0).all()
    assert "michaelis_over_DOC" not in parts
    steady = proda.steady_state(reverse, values, examples)
    run = proda.integrate(reverse, values, examples, 4, steady)
    np.testing.assert_allclose(run["soil_carbon"].isel(time=-1), steady["soil_carbon"], rtol=1e-8)
    grid = small_grid(shape=(4, 5), dask=False).assign_coords(litter=["CWD", "ML", "CL", "LL"])
    write_map(reverse, grid, Default(), tmp_path / "map.nc")
    with xr.open_dataset(tmp_path / "map.nc") as written:
        assert (written["cSoilAbove1m"].where(written["reason"] == 0) > 0).any()
        assert "michaelis_over_ENZ" in written
        assert written.attrs["model"] == NAME


def test_the_command_line_knows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert "turnover of mineral SOC where enzyme" in run(app, ["models", NAME, "--csv"]).output
    result = run(app, ["column", "--example", "--model", NAME, "--components"])
    assert result.exit_code == 0, result.output
