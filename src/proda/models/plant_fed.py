"""Shared code of soil models that receive carbon from litter pools.

Equations: docs/theory.md#litter-without-respiration.

Woody debris, metabolic, cellulose and lignin litter are those of CLM5 and COMPAS, with the same
allocation and mixing, but all decomposed litter enters soil pools, and respiration occurs there.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from proda.column.column import Column
from proda.column.environment import Environment, climate_modifier, environment
from proda.column.processes import InputAllocation, RootProfile, SoilTurbation, VerticalMixing
from proda.forcing import LITTER
from proda.models.litter import LITTER_POOLS, litter_steady_state
from proda.models.model import SoilModel, SteadyState, Transfers, Values
from proda.parameters import Parameter, parameter_rows

_S = "P-Table S1"

CWD_TO_CELLULOSE = 0.76
"""Share of decomposed woody debris that becomes cellulose litter (CLM5's parameter file)."""

LITTER_ROWS = parameter_rows(
    _S,
    r"""
    tau_ml    | \tau_{ML}    | yr | 0.0 0.11 | 0.0541 | K |  | turnover of metabolic litter
    tau_cl_ll | \tau_{CL-LL} | yr | 0.1 0.3  | 0.2041 | K |  | turnover of cellulose and lignin litter
    tau_cwd   | \tau_{CWD}   | yr | 1.0 6.0  | 3.33   | K |  | turnover of coarse woody debris
    """,  # noqa: E501
)
WATER_ROW = Parameter("w_scaling", "w", "1", 0.0, 5.0, 1.0, "xi", "scaling of the water scalar", _S)
CLIMATE_ROWS = (
    WATER_ROW,
    *parameter_rows(
        _S,
        r"""
        q10      | Q_{10} | 1 | 1.2 3.0 | 1.5 | xi | [0.1, inf) | factor by which 10 K more speed up decomposition
        efolding | z_e    | m | 0.0 1.0 | 0.5 | xi |            | depth over which decomposition falls to 1/e
        """,  # noqa: E501
    ),
)
COLUMN_ROWS = parameter_rows(
    _S,
    r"""
    cryo   | D_c | m2 yr-1 | 3e-5 16e-4 | 0.0005 | V |        | cryoturbation rate
    diffus | D_b | m2 yr-1 | 3e-5 5e-4  | 0.0001 | V |        | bioturbation rate
    b      | b   | 1       | 0.5 0.9999 | 0.966  | B | (0, 1) | depth profile of carbon input | Jackson et al. 1996
    """,  # noqa: E501
)


class Climate(NamedTuple):
    """Annual mean modifiers of one column."""

    environment: Environment
    without_oxygen: Float[Array, " layer"]
    """Temperature x water x depth: the component XI."""


class Soil(NamedTuple):
    """Steady state of the soil pools."""

    pools: Float[Array, "soil layer"]
    """g m-3"""
    respired: Float[Array, " layer"]
    """g m-3 yr-1, from the pools"""
    feasible: Bool[Array, ""]


class Kinetics(NamedTuple):
    """Rates of the soil pools at a state."""

    decay: Float[Array, "soil layer"]
    """Without modifier, yr-1."""
    modifier: Float[Array, "soil layer"]
    fraction: Mapping[tuple[str, str], Float[Array, "..."] | float]
    """By (receiver, donor)."""


class PlantFedModel(SoilModel):
    """Litter feeds soil pools, which each model defines."""

    receives: ClassVar[Mapping[str, Mapping[str, float]]]
    """Litter pool -> soil pools it feeds, with their shares, which add up to 1."""
    fed_by_plants: ClassVar[tuple[str, ...]] = LITTER
    mixes: ClassVar[VerticalMixing] = SoilTurbation()
    allocates: ClassVar[InputAllocation] = RootProfile()
    litter_enters: ClassVar[Mapping[tuple[str, str], float]] = LITTER_POOLS

    @abc.abstractmethod
    def soil(
        self,
        parameters: Values,
        column: Column,
        climate: Climate,
        fed: Mapping[str, Float[Array, " layer"]],
    ) -> Soil:
        """Return the steady state of the soil pools; `fed`: supply from litter, g m-3 yr-1."""

    @abc.abstractmethod
    def kinetics(
        self,
        soil: Float[Array, "soil layer"],
        parameters: Values,
        column: Column,
        climate: Climate,
    ) -> Kinetics:
        """Return the rates of the soil pools at a state, g m-3."""

    def receiving(
        self, parameters: Values, column: Column
    ) -> Mapping[str, Mapping[str, Float[Array, "..."] | float]]:
        """Return `receives`; a model whose shares are not constants overrides this."""
        return self.receives

    def climate(self, parameters: Values, column: Column) -> Climate:
        """Return the modifiers: temperature by Q10, water, oxygen, nitrogen, depth."""
        p = parameters
        return Climate(
            environment(p["q10"], p["w_scaling"], p["efolding"], column),
            climate_modifier(p["q10"], p["w_scaling"], p["efolding"], column),
        )

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Solve litter, then the soil pools of the model."""
        p = parameters
        climate = self.climate(p, column)
        env, thickness = climate.environment, column.grid.thickness
        to_cellulose, shares = jnp.asarray(CWD_TO_CELLULOSE), self.input_shares(p, column)
        litter = litter_steady_state(
            p["tau_ml"], p["tau_cl_ll"], to_cellulose, shares, env, self.mixing(p, column), column
        )
        pools = litter.pools(p["tau_cwd"], p["tau_ml"], p["tau_cl_ll"], column)
        given = {
            "ML": env.litter * litter.metabolic / thickness,
            "CL": env.litter * litter.cellulose / thickness,
            "LL": env.litter * litter.lignin / thickness,
        }
        fed = {name: jnp.zeros(len(column.grid)) for name in self.soil_pools}
        for donor, receivers in self.receiving(p, column).items():
            for name, share in receivers.items():
                fed[name] = fed[name] + share * given[donor]
        soil = self.soil(p, column, climate, fed)
        return self.finish(
            jnp.concatenate([jnp.stack(pools), soil.pools]),
            soil.respired * thickness,
            soil.feasible & ~litter.stuck,
            column,
        )

    def transfers(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Transfers:
        """Return the terms of P-Eq 2 at a state."""
        p = parameters
        climate = self.climate(p, column)
        env = climate.environment
        soil = self.kinetics(pools[len(LITTER) :], p, column, climate)
        shares = self.input_shares(p, column)
        rate = 1.0 / jnp.stack([p["tau_cwd"], p["tau_ml"], p["tau_cl_ll"], p["tau_cl_ll"]])
        ones = jnp.ones((1, len(column.grid)))
        handed_on = {
            (receiver, donor): jnp.asarray(share)
            for donor, receivers in self.receiving(p, column).items()
            for receiver, share in receivers.items()
        }
        return Transfers(
            input=self.litter_input(p, column),
            decay=jnp.concatenate([rate[:, None] * ones, soil.decay]),
            modifier=jnp.concatenate(
                [jnp.stack([env.soil, env.litter, env.litter, env.litter]), soil.modifier]
            ),
            fraction={
                ("CL", "CWD"): jnp.asarray(CWD_TO_CELLULOSE),
                ("LL", "CWD"): jnp.asarray(1.0 - CWD_TO_CELLULOSE),
                **handed_on,
                **{key: jnp.asarray(share) for key, share in soil.fraction.items()},
            },
            transport=self.mixing(p, column),
            climate=climate.without_oxygen,
            input_shares=shares,
        )
