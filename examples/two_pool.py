"""Soil carbon in two pools: what is new and fast, and what is old and slow."""

import jax.numpy as jnp

from proda.column.environment import climate_modifier, environment
from proda.column.processes import RootProfile, SoilTurbation
from proda.models.general import general_steady_state
from proda.models.litter import all_litter_into
from proda.models.model import SoilModel, Transfers
from proda.parameters import parameter_rows

US = "docs/own_model.md"
NO_DEPTH = jnp.asarray(1e9)  # metres over which decomposition declines: it does not


class TwoPool(SoilModel):
    """All litter enters the fast pool; part of what the fast pool loses enters the slow one."""

    name = "two_pool"
    title = "Two pools: fast and slow carbon in 20 layers"
    source = "after Andren and Katterer 1997"
    pools = ("fast", "slow")
    soil_pools = ("fast", "slow")
    transported = ("fast", "slow")
    mixes = SoilTurbation()
    allocates = RootProfile()
    litter_enters = all_litter_into("fast")
    rows = parameter_rows(
        US,
        r"""
        tau_fast  | \tau_f | yr      | 0.2 5.0    | 1.2   | K  |            | turnover of fast carbon
        tau_slow  | \tau_s | yr      | 20.0 500.0 | 150.0 | K  |            | turnover of slow carbon
        kept      | h      | 1       | 0.02 0.4   | 0.13  | A  | [0, 1]     | fast carbon that becomes slow
        w_scaling | w      | 1       | 0.0 5.0    | 1.0   | xi |            | scaling of water
        q10       | Q_{10} | 1       | 1.2 3.0    | 2.0   | xi | [0.1, inf) | effect of 10 K more
        cryo      | D_c    | m2 yr-1 | 3e-5 16e-4 | 5e-4  | V  |            | cryoturbation
        diffus    | D_b    | m2 yr-1 | 3e-5 5e-4  | 1e-4  | V  |            | bioturbation
        b         | b      | 1       | 0.5 0.9999 | 0.95  | B  | (0, 1)     | depth of the input
        """,  # noqa: E501
    )

    def steady_state(self, parameters, column):
        """Return the pools where gains equal losses, found by Newton's method."""
        return general_steady_state(self, parameters, column)

    def transfers(self, pools, parameters, column):
        """Return input, rates, pathways and mixing at a state."""
        p = parameters
        xi = environment(p["q10"], p["w_scaling"], NO_DEPTH, column).soil
        rate = 1.0 / jnp.stack([p["tau_fast"], p["tau_slow"]])
        return Transfers(
            input=self.litter_input(p, column),
            decay=jnp.broadcast_to(rate[:, None], pools.shape),
            modifier=jnp.broadcast_to(xi, pools.shape),
            fraction={("slow", "fast"): p["kept"]},
            transport=self.mixing(p, column),
            climate=climate_modifier(p["q10"], p["w_scaling"], NO_DEPTH, column),
            input_shares=self.input_shares(p, column),
        )
