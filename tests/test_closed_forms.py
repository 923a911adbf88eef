"""Numbers that are known without a computer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.allocation import fraction_below, input_shares
from proda.column.environment import depth_modifier, environment, temperature_modifier
from proda.column.transport import transport
from proda.column.tridiagonal import ChainRates, solve_chains
from proda.grid import CLM5_GRID, Grid
from tests.conftest import defaults, one_column, one_set

DEPTH, DIFFUSIVITY, RATE, INPUT = 2.0, 4e-4, 0.01, 100.0


def refined(factor: int) -> Grid:
    """Return 20 x factor layers that thicken with depth as smoothly as CLM's do."""
    s = np.linspace(0.0, 1.0, 20 * factor + 1)
    edges = DEPTH * (0.1 * s + 0.9 * s**2)
    middle = 0.5 * (s[1:] + s[:-1])
    nodes = DEPTH * (0.1 * middle + 0.9 * middle**2)
    return Grid(tuple(np.diff(edges)), tuple(nodes), 2 * DEPTH)


def numeric(grid: Grid, source: np.ndarray) -> np.ndarray:
    """Return the concentration where D x'' = k x, solved on the grid."""
    n = len(grid)
    distance = np.append(np.diff(grid.node), np.inf)
    rates = transport(jnp.asarray(DIFFUSIVITY / distance), jnp.asarray(n), grid)
    layers = (jnp.full(n, RATE), rates.up, rates.down_above, jnp.asarray(source))
    (amounts,), _ = solve_chains(layers, lambda at: ChainRates(*[[rate] for rate in at]))
    return np.asarray(amounts) / grid.thickness


def error_of(grid: Grid, exact: np.ndarray, source: np.ndarray) -> float:
    difference = numeric(grid, source) - exact
    return float(np.sqrt(np.sum(difference**2 * grid.thickness) / DEPTH))


def test_diffusion_and_decay_from_the_surface_converge_at_second_order():
    """D x'' = k x, -D x'(0) = I, x'(L) = 0: a hyperbolic cosine."""
    root = np.sqrt(RATE / DIFFUSIVITY)
    errors = []
    for factor in (1, 2, 4, 8):
        grid = refined(factor)
        exact = (
            INPUT
            / (DIFFUSIVITY * root)
            * (np.cosh(root * (DEPTH - grid.node)) / np.sinh(root * DEPTH))
        )
        source = np.zeros(len(grid))
        source[0] = INPUT
        errors.append(error_of(grid, exact, source))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(2.0, abs=0.15), orders
    assert errors[0] < 0.05 * INPUT / (DIFFUSIVITY * root)


def test_diffusion_and_decay_from_root_input_converge_at_second_order():
    """With the input I b^(100 z) of roots the particular solution is exponential too."""
    a, root = -100.0 * np.log(0.97), np.sqrt(RATE / DIFFUSIVITY)
    share = INPUT * a / (1 - np.exp(-a * DEPTH))
    p = share / (RATE - DIFFUSIVITY * a**2)
    # x = p e^(-a z) + c1 cosh(root z) + c2 sinh(root z), with no flux at both ends
    c2 = p * a / root
    c1 = (p * a * np.exp(-a * DEPTH) - c2 * root * np.cosh(root * DEPTH)) / (
        root * np.sinh(root * DEPTH)
    )
    errors = []
    for factor in (1, 2, 4, 8):
        grid = refined(factor)
        z = grid.node
        exact = p * np.exp(-a * z) + c1 * np.cosh(root * z) + c2 * np.sinh(root * z)
        edges = np.concatenate([[0.0], np.cumsum(grid.thickness_m)])
        source = share / a * -np.diff(np.exp(-a * edges))
        errors.append(error_of(grid, exact, source))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(2.0, abs=0.15), orders


def test_modifiers():
    np.testing.assert_allclose(
        temperature_modifier(jnp.asarray(2.0), jnp.array([-1.0, 0.0, 1.0])), [0.5, 1.0, 2.0]
    )
    np.testing.assert_allclose(
        depth_modifier(jnp.asarray(0.4), CLM5_GRID.node)[5], np.exp(-1.0), rtol=1e-14
    )


def test_modifiers_average_the_product_of_the_months(examples):
    """By plain loops over months, litter with and soil without nitrogen."""
    rng = np.random.default_rng(0)
    dataset = proda.example_columns()
    for name in ("o_scalar", "n_scalar", "w_scalar"):
        dataset[name] = (dataset[name].dims, rng.uniform(0.1, 1.0, dataset[name].shape))
    forcing = proda.Forcing.from_dataset(dataset)
    ours = environment(jnp.asarray(1.9), jnp.asarray(1.7), jnp.asarray(0.6), one_column(forcing))
    for layer in (0, 7, 19):
        soil = litter = 0.0
        for month in range(12):
            product = (
                1.9 ** ((forcing.soil_temperature[0, layer, month] - 298.15) / 10)
                * min(1.0, 1.7 * forcing.w_scalar[0, layer, month])
                * forcing.o_scalar[0, layer, month]
            )
            soil += product / 12
            litter += product * forcing.n_scalar[0, layer, month] / 12
        depth = np.exp(-CLM5_GRID.node[layer] / 0.6)
        np.testing.assert_allclose(ours.soil[layer], soil * depth, rtol=1e-13)
        np.testing.assert_allclose(ours.litter[layer], litter * depth, rtol=1e-13)


def test_input_follows_jackson_above_bedrock(examples):
    column = one_column(examples, 2)  # 12 layers above bedrock
    shares = np.asarray(input_shares(jnp.asarray(0.96), column))
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-14)
    assert (shares[12:] == 0).all()
    cumulative = 1 - 0.96 ** (100 * CLM5_GRID.interface[:12])
    np.testing.assert_allclose(np.cumsum(shares[:12]), cumulative / cumulative[-1], rtol=1e-12)
    np.testing.assert_allclose(
        fraction_below(jnp.asarray(shares)), 1 - np.cumsum(shares), atol=1e-15
    )


def test_frozen_soil_takes_all_input_at_the_surface():
    dataset = proda.example_columns()
    dataset["altmax_lastyear"][0, 3] = 0.0
    column = one_column(proda.Forcing.from_dataset(dataset))
    np.testing.assert_array_equal(input_shares(jnp.asarray(0.9), column)[:2], [1.0, 0.0])


def test_a_single_pool_is_input_times_turnover_time():
    """CLM5 at 25 C, wet, with nothing passed on: every litter pool holds I tau."""
    dataset = proda.example_columns().isel(site=[5])
    dataset["soil_temperature"][:] = 298.15
    dataset["w_scalar"][:] = 1.0
    forcing = proda.Forcing.from_dataset(dataset)
    model = proda.load_model("clm5")
    values = defaults(model, forcing).assign(efolding=10.0)
    values = {name: np.asarray(values[name]) for name in values}
    for name in ("fs1l1", "fs1l2", "fs2l3"):
        values[name] = 0.0
    values["efolding"] = 1e9
    result = proda.steady_state(model, values, forcing, bounds="physical")
    stock = (result["pool_carbon"] * result["thickness"]).sum("layer").to_numpy()[0]
    cwd, ml, cl, ll = forcing.litter_input[0]
    expected = [
        cwd * 3.33,
        ml * 0.0541,
        (cl + 0.786 * cwd) * 0.2041,
        (ll + 0.214 * cwd) * 0.2041,
        0,
        0,
        0,
    ]
    np.testing.assert_allclose(stock, expected, rtol=1e-7)


def test_compas_formulas_are_those_of_the_paper(examples):
    """P-Eq 9, typed as printed, from the litter fluxes of the same state."""
    model = proda.load_model("compas")
    values = proda.default_parameters(model, examples)
    result = proda.steady_state(model, values, examples)
    p = one_set(values, 2)
    column = one_column(examples, 2)
    pools = result["pool_carbon"].to_numpy()[2][:, :12]
    t = model.transfers(jnp.asarray(result["pool_carbon"].to_numpy()[2]), p, column)
    flux = np.asarray(model.outflow(jnp.asarray(result["pool_carbon"].to_numpy()[2]), t))[:, :12]
    xi = np.asarray(t.modifier)[0, :12]
    _, ml, cl, ll = flux[:4]
    eta = float(p["eta_doc"])
    u_mic = (
        (1 - p["a_doc_ml"]) * p["eta_ml"] * ml
        + (1 - p["a_doc_cl"]) * p["eta_cl_ll"] * cl
        + (1 - p["a_soc_ll"]) * p["eta_cl_ll"] * ll
    )
    u_doc = p["a_doc_ml"] * ml + p["a_doc_cl"] * cl
    u_soc = p["a_soc_ll"] * ll
    k_mic = 1 / p["tau_mic"] + 1 / p["tau_enz_prod"]
    mic = (u_mic + eta * (u_soc + u_doc)) / ((1 - eta) * k_mic * xi)
    enz = p["tau_enz_decay"] / p["tau_enz_prod"] * mic
    f = u_soc + p["a_soc_mic"] / p["tau_mic"] * xi * mic
    msoc = f * p["km_decom"] * xi / (xi * enz / p["tau_decom"] - f)
    u = k_mic * xi * mic - u_mic
    doc = u * p["km_assim"] * xi / (eta * xi * mic / p["tau_assim"] - u)
    np.testing.assert_allclose(pools[4:], np.stack([doc, mic, enz, msoc]), rtol=1e-10)


@pytest.mark.parametrize("name", ["clm5", "compas"])
def test_gradients_equal_finite_differences(name, examples):
    """Of soil carbon to 1 m, by every parameter, on every example column."""
    model = proda.load_model(name)
    values = defaults(model, examples)
    if name == "clm5":
        values = values.assign(
            fs2s1=("site", np.full(len(examples), 0.2)),
            efolding=("site", np.full(len(examples), 0.5)),
        )
    within = jnp.asarray(CLM5_GRID.thickness_within(0.0, 1.0))

    def carbon(p, column):
        return (model.steady_state(p, column).soil_carbon * within).sum()

    carbon, gradient = jax.jit(carbon), jax.jit(jax.grad(carbon))
    for i in range(len(examples)):
        p, column = one_set(values, i), one_column(examples, i)
        analytic = gradient(p, column)
        for key, value in p.items():
            h = 1e-5 * value
            finite = (
                -carbon({**p, key: value + 2 * h}, column)
                + 8 * carbon({**p, key: value + h}, column)
                - 8 * carbon({**p, key: value - h}, column)
                + carbon({**p, key: value - 2 * h}, column)
            ) / (12 * h)
            scale = float(carbon(p, column) / value)
            assert float(analytic[key]) == pytest.approx(
                float(finite), rel=1e-6, abs=1e-8 * abs(scale)
            ), (key, i)
