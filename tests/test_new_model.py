"""Adding a model: a third one, in a few lines, gets everything else for free."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import proda
from proda.column.environment import climate_modifier, environment
from proda.column.processes import RootProfile, SoilTurbation
from proda.column.tridiagonal import ChainRates, solve_chains
from proda.errors import ParameterError
from proda.models.litter import LITTER_POOLS
from proda.models.model import SoilModel, SteadyState, Transfers
from proda.parameters import parameter_rows


class OnePool(SoilModel):
    """All litter turns at once into one mixed, respired soil pool."""

    name = "onepool"
    title = "One pool"
    source = "a test"
    pools = ("CWD", "ML", "CL", "LL", "SOC")
    soil_pools = ("SOC",)
    transported = ("SOC",)
    mixes = SoilTurbation()
    allocates = RootProfile()
    litter_enters = LITTER_POOLS
    rows = parameter_rows(
        "a test",
        r"""
        tau    | \tau   | yr      | 1.0 100.0  | 20.0 | K  |        | turnover of soil carbon
        kept   | f      | 1       | 0.1 0.9    | 0.5  | A  | [0, 1] | litter that becomes carbon
        q10    | Q_{10} | 1       | 1.2 3.0    | 2.0  | xi |        | temperature sensitivity
        cryo   | D_c    | m2 yr-1 | 3e-5 16e-4 | 5e-4 | V  |        | cryoturbation
        diffus | D_b    | m2 yr-1 | 3e-5 5e-4  | 1e-4 | V  |        | bioturbation
        b      | b      | 1       | 0.5 0.9999 | 0.9  | B  | (0, 1) | depth profile of the input
        """,
    )

    def steady_state(self, parameters, column) -> SteadyState:
        p = parameters
        xi = environment(p["q10"], jnp.asarray(1.0), jnp.asarray(1e9), column).soil
        mix = self.mixing(p, column)
        litter = column.litter_input[:, None] * self.input_shares(p, column)
        layers = (xi / p["tau"], mix.up, mix.down_above, p["kept"] * litter.sum(axis=0))
        (soil,), stuck = solve_chains(layers, lambda at: ChainRates(*[[rate] for rate in at]))
        stock = jnp.concatenate([0.01 * litter / jnp.where(xi > 0, xi, 1.0), soil[None]])
        co2 = (1 - p["kept"]) * litter.sum(axis=0) + xi / p["tau"] * soil
        return self.finish(stock / column.grid.thickness, co2, ~stuck & (xi > 0).all(), column)

    def transfers(self, pools, parameters, column) -> Transfers:
        p = parameters
        xi = environment(p["q10"], jnp.asarray(1.0), jnp.asarray(1e9), column).soil
        shares = self.input_shares(p, column)
        rate = jnp.array([100.0, 100.0, 100.0, 100.0, 1.0 / p["tau"]])
        return Transfers(
            input=self.litter_input(p, column),
            decay=jnp.broadcast_to(rate[:, None], pools.shape),
            modifier=jnp.broadcast_to(xi, pools.shape),
            fraction={("SOC", litter): p["kept"] for litter in self.pools[:4]},
            transport=self.mixing(p, column),
            climate=climate_modifier(p["q10"], jnp.asarray(1.0), jnp.asarray(1e9), column),
            input_shares=shares,
        )


def test_it_is_simulated_decomposed_and_run_forward(examples):
    model = OnePool()
    values = proda.default_parameters(model, examples)
    steady = proda.steady_state(model, values, examples)
    assert (steady["reason"] == 0).all()
    np.testing.assert_allclose(steady["respiration"], steady["carbon_input"], rtol=1e-12)
    parts = proda.components(model, values, examples)
    np.testing.assert_allclose(parts["litter_to_soil"], 0.5, rtol=1e-9)
    run = proda.integrate(model, values, examples, 4, steady)
    np.testing.assert_allclose(run["soil_carbon"].isel(time=-1), steady["soil_carbon"], rtol=1e-8)
    assert len(model.parameters) == 6


def test_a_row_of_a_parameter_table_needs_its_cells_and_says_which_row_does_not_have_them():
    row = r"chi | \chi | 1 | 0.2 5e-1 | nan | A | (0.1, 0.9) layered | share | Author 2001"
    (read,) = parameter_rows("elsewhere", row)
    assert (read.lower, read.upper, read.physical_lower, read.physical_upper) == (
        0.2,
        0.5,
        0.1,
        0.9,
    )
    assert (read.layered, read.inside, read.source) == (True, True, "Author 2001")
    for wrong in ("0.2 5e-1", "nan", "A ", "(0.1, 0.9)", "| share | Author 2001"):
        with pytest.raises(ParameterError, match=r"row 'chi .*cannot be read"):
            parameter_rows("elsewhere", row.replace(wrong, "?"))
