"""RothC-26.3 in layers: first-order decay of four soil pools that mix (docs/theory.md#rothc).

Coleman and Jenkinson 2014; in layers as in JULES (Burke et al. 2017), without inert carbon.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.block_tridiagonal import LayerRates, solve_coupled_chains
from proda.column.column import Column
from proda.column.environment import Environment, temperature_modifier, water_modifier
from proda.column.tridiagonal import ChainRates
from proda.models.model import Values
from proda.models.plant_fed import (
    COLUMN_ROWS,
    LITTER_ROWS,
    WATER_ROW,
    Climate,
    Kinetics,
    PlantFedModel,
    Soil,
)
from proda.parameters import Parameter, parameter_rows

_S = "Coleman and Jenkinson 2014"
TO_BIO, TO_HUM = 0.46, 0.54
"""Shares of the carbon that is not respired."""
SOLID_CARBON = 0.58 * 1.3e6
"""Carbon of solid organic matter, g m-3: 58 % of 1.3 t m-3. No soil holds more."""
REFERENCE_C = 9.25
"""Temperature at which the modifier is 1 (Coleman and Jenkinson 2014)."""


def temperature_factor(celsius: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return RothC's rate modifier: about 1 at 9.25 C, 0 below -18.3 C."""
    above = jnp.maximum(celsius + 18.3, 0.0)
    warm = above > 1.0  # nearer to -18.3 C it is below 1e-44
    return jnp.where(warm, 47.9 / (1.0 + jnp.exp(106.0 / jnp.where(warm, above, 1.0))), 0.0)


def respired_share(clay: Float[Array, " layer"]) -> Float[Array, " layer"]:
    """Return the share of what leaves a pool that becomes CO2, from clay in %."""
    x = 1.67 * (1.85 + 1.60 * jnp.exp(-0.0786 * clay))
    return x / (1.0 + x)


class RothC(PlantFedModel):
    """Rothamsted carbon model: decomposable and resistant plant material, biomass, humus.

    Its response to temperature, made for arable soil, nearly stops decomposition in frozen soil
    (0.017 at -5 C, 1e-4 at -10 C, 0 below -18.3 C): where such soil receives carbon by roots or
    mixing, the balance is reached after millions of years, with more carbon than the soil can
    contain. Such a column has no steady state here; :class:`RothCQ10` has one.
    """

    name: ClassVar[str] = "rothc"
    first_order: ClassVar[bool] = True
    title: ClassVar[str] = "RothC-26.3 in layers: first-order decay, 8 pools x 20 layers"
    source: ClassVar[str] = "Coleman and Jenkinson 2014; Burke et al. 2017"
    pools: ClassVar[tuple[str, ...]] = ("CWD", "ML", "CL", "LL", "DPM", "RPM", "BIO", "HUM")
    soil_pools: ClassVar[tuple[str, ...]] = ("DPM", "RPM", "BIO", "HUM")
    microbial_pools: ClassVar[tuple[str, ...]] = ("BIO",)
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL", "DPM", "RPM", "BIO", "HUM")
    needs: ClassVar[tuple[str, ...]] = ("clay",)
    receives: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "ML": {"DPM": 1.0},
        "CL": {"RPM": 1.0},
        "LL": {"RPM": 1.0},
    }
    rows: ClassVar[tuple[Parameter, ...]] = (
        *parameter_rows(
            _S,
            r"""
            k_dpm   | k_{DPM} | yr-1 | 5.0 20.0  | 10.0 | K  |  | decay of decomposable plant material
            k_rpm   | k_{RPM} | yr-1 | 0.15 0.6  | 0.3  | K  |  | decay of resistant plant material
            k_bio   | k_{BIO} | yr-1 | 0.33 1.32 | 0.66 | K  |  | decay of biomass
            k_hum   | k_{HUM} | yr-1 | 0.01 0.04 | 0.02 | K  |  | decay of humus
            decline | r       | m-1  | 0.0 10.0  | 2.0  | xi |  | decline of decomposition with depth, exp(-r z) | Burke et al. 2017
            """,  # noqa: E501
        ),
        WATER_ROW,
        *LITTER_ROWS,
        *COLUMN_ROWS,
    )

    def warmth(self, parameters: Values, column: Column) -> Float[Array, "month layer"]:
        """Return the modifier by temperature, about 1 at 9.25 C."""
        return temperature_factor(10.0 * column.temperature + 25.0)

    def climate(self, parameters: Values, column: Column) -> Climate:
        """Return the modifiers with the model's response to temperature, in all pools."""
        monthly = self.warmth(parameters, column) * water_modifier(
            parameters["w_scaling"], column.w_scalar
        )
        depth = jnp.exp(-parameters["decline"] * column.grid.node)
        wet = monthly * column.o_scalar
        return Climate(
            Environment(
                soil=wet.mean(axis=0) * depth,
                litter=(wet * column.n_scalar).mean(axis=0) * depth,
            ),
            monthly.mean(axis=0) * depth,
        )

    def soil(
        self,
        parameters: Values,
        column: Column,
        climate: Climate,
        fed: Mapping[str, Float[Array, " layer"]],
    ) -> Soil:
        """Solve the linear system of four pools that mix, exactly."""
        p = parameters
        rate = [p[f"k_{name.lower()}"] for name in self.soil_pools]
        mix, thickness = self.mixing(p, column), column.grid.thickness
        respired = respired_share(column.site_property("clay"))
        zero = jnp.zeros_like(respired)
        layers = {
            "xi": climate.environment.soil,
            "co2": respired,
            "up": mix.up,
            "down_above": mix.down_above,
            "source": tuple(fed.get(name, zero) * thickness for name in self.soil_pools),
        }

        def rates(at: dict) -> LayerRates:
            kept = [at["xi"] * (1.0 - at["co2"]) * k for k in rate]
            transfer: list[list] = [[0.0] * 4, [0.0] * 4]
            transfer.append([TO_BIO * out for out in kept])
            transfer.append([TO_HUM * out for out in kept])
            chains = ChainRates(
                loss=[at["xi"] * at["co2"] * k for k in rate],
                up=[at["up"]] * 4,
                down_above=[at["down_above"]] * 4,
                source=at["source"],
            )
            return LayerRates(transfer, chains)

        pools = jnp.stack(solve_coupled_chains(layers, rates)) / thickness
        out = climate.environment.soil * (jnp.stack(rate)[:, None] * pools).sum(axis=0)
        return Soil(pools, respired * out, (pools.sum(axis=0) <= SOLID_CARBON).all())

    def kinetics(
        self,
        soil: Float[Array, "soil layer"],
        parameters: Values,
        column: Column,
        climate: Climate,
    ) -> Kinetics:
        """Return constant rates and shares by clay."""
        rate = jnp.stack([parameters[f"k_{name.lower()}"] for name in self.soil_pools])
        kept = 1.0 - respired_share(column.site_property("clay"))
        return Kinetics(
            decay=jnp.broadcast_to(rate[:, None], soil.shape),
            modifier=jnp.broadcast_to(climate.environment.soil, soil.shape),
            fraction={
                (receiver, donor): share * kept
                for receiver, share in (("BIO", TO_BIO), ("HUM", TO_HUM))
                for donor in self.soil_pools
            },
        )


class RothCQ10(RothC):
    """RothC with the response to temperature that JULES uses by default: Q10, frozen soil too."""

    name: ClassVar[str] = "rothc_q10"
    title: ClassVar[str] = "RothC-26.3 in layers with Q10, 8 pools x 20 layers"
    source: ClassVar[str] = "Coleman and Jenkinson 2014; Burke et al. 2017"
    rows: ClassVar[tuple[Parameter, ...]] = (
        *RothC.rows,
        *parameter_rows(
            "Burke et al. 2017",
            r"""
            q10 | Q_{10} | 1 | 1.2 3.0 | 2.0 | xi | [0.1, inf) | factor by which 10 K more speed up decomposition
            """,  # noqa: E501
        ),
    )

    def warmth(self, parameters: Values, column: Column) -> Float[Array, "month layer"]:
        """Return the modifier by temperature, 1 at 9.25 C."""
        since = column.temperature + (25.0 - REFERENCE_C) / 10.0
        return temperature_modifier(parameters["q10"], since)
