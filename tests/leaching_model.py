"""A model unlike CLM: two kinds of litter, dissolved carbon that water carries down and out."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from proda.column.column import Column
from proda.column.environment import climate_modifier, environment
from proda.column.processes import SurfaceInput, Values, VerticalMixing
from proda.column.ratio import ratio
from proda.column.transport import Transport
from proda.models.general import general_steady_state
from proda.models.model import SoilModel, SteadyState, Transfers
from proda.parameters import parameter_rows

NO_DEPTH = jnp.asarray(1e9)


class Percolation(VerticalMixing):
    """Water carries carbon down, to bedrock and not up."""

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("velocity",)

    def rates(self, parameters: Values, column: Column) -> Transport:
        open_below = jnp.arange(1, len(column.grid) + 1) < column.nbedrock
        down = jnp.where(open_below, parameters["velocity"] / column.grid.thickness, 0.0)
        return Transport(down=down, up=jnp.zeros_like(down), leak=jnp.zeros_like(down))


class Leaching(SoilModel):
    """Leaves and wood become dissolved carbon; it is respired, sorbed, carried down or leached."""

    name = "leaching"
    title = "Dissolved carbon that is leached"
    source = "a test"
    pools = ("leaf", "wood", "DOC", "SOM")
    soil_pools = ("DOC", "SOM")
    transported = ("DOC",)
    mixes = Percolation()
    allocates = SurfaceInput()
    litter_enters: ClassVar = {
        ("wood", "CWD"): 1.0,
        ("leaf", "ML"): 1.0,
        ("leaf", "CL"): 0.8,
        ("DOC", "CL"): 0.2,
        ("wood", "LL"): 1.0,
    }
    fed_by_plants = ("leaf", "wood")
    losses = ("leaching",)
    rows = parameter_rows(
        "a test",
        r"""
        k_leaf   | k_l    | yr-1   | 0.5 5.0    | 2.0  | K  |            | decay of leaves
        k_wood   | k_w    | yr-1   | 0.05 0.5   | 0.2  | K  |            | decay of wood
        k_doc    | k_d    | yr-1   | 2.0 20.0   | 8.0  | K  |            | loss of dissolved carbon
        k_som    | k_s    | yr-1   | 0.005 0.05 | 0.02 | K  |            | decay of sorbed carbon
        leach    | l      | yr-1   | 0.05 1.0   | 0.3  | K  |            | leaching
        kept     | f      | 1      | 0.2 0.8    | 0.5  | A  | [0, 1]     | litter that dissolves
        sorbed   | s      | 1      | 0.1 0.6    | 0.3  | A  | [0, 1]     | dissolved that is sorbed
        velocity | v      | m yr-1 | 0.01 0.5   | 0.1  | V  |            | percolation
        q10      | Q_{10} | 1      | 1.2 3.0    | 2.0  | xi | [0.1, inf) | effect of 10 K more
        """,
    )

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        return general_steady_state(self, parameters, column)

    def transfers(self, pools, parameters: Values, column: Column) -> Transfers:
        p, one = parameters, jnp.asarray(1.0)
        xi = environment(p["q10"], one, NO_DEPTH, column).soil
        lost = p["leach"] * jnp.ones_like(xi)
        gone = p["k_doc"] * xi + lost
        rate = jnp.stack([p["k_leaf"], p["k_wood"], p["k_doc"] + p["leach"], p["k_som"]])
        return Transfers(
            input=self.litter_input(p, column),
            decay=jnp.broadcast_to(rate[:, None], pools.shape),
            modifier=jnp.stack([xi, xi, gone / rate[2], xi]),
            fraction={
                ("DOC", "leaf"): p["kept"],
                ("DOC", "wood"): p["kept"],
                ("SOM", "DOC"): p["sorbed"] * ratio(p["k_doc"] * xi, gone),
                ("DOC", "SOM"): p["kept"],
            },
            lost={("leaching", "DOC"): ratio(lost, gone)},
            transport=self.mixing(p, column),
            climate=climate_modifier(p["q10"], one, NO_DEPTH, column),
            input_shares=self.input_shares(p, column),
        )
