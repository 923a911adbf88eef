"""CORPSE: three chemistries, microbes, and protection by clay (docs/theory.md#corpse).

Sulman et al. 2014. The steady state has a closed form and always exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.environment import depth_modifier, water_modifier
from proda.column.ratio import ratio
from proda.models.model import Values
from proda.models.plant_fed import (
    CLIMATE_ROWS,
    COLUMN_ROWS,
    LITTER_ROWS,
    Climate,
    Kinetics,
    PlantFedModel,
    Soil,
)
from proda.parameters import Parameter, parameter_rows

_S = "Sulman et al. 2014"
GAS = 8.314e-3
"""Gas constant, kJ mol-1 K-1."""
REFERENCE_K = 293.15
CHEMISTRIES = ("fast", "slow", "necro")


def _arrhenius(energy: Float[Array, ""], column: Column) -> Float[Array, "month layer"]:
    """Return the rate over that at 20 C; `energy` in kJ mol-1."""
    kelvin = 10.0 * column.temperature + 298.15
    return jnp.exp(energy * (1.0 / (GAS * REFERENCE_K) - 1.0 / (GAS * kelvin)))


class CORPSE(PlantFedModel):
    """Carbon, Organisms, Rhizosphere and Protection in the Soil Environment."""

    name: ClassVar[str] = "corpse"
    title: ClassVar[str] = "CORPSE: microbes and protection, 11 pools x 20 layers"
    source: ClassVar[str] = _S
    pools: ClassVar[tuple[str, ...]] = (
        "CWD",
        "ML",
        "CL",
        "LL",
        "Ufast",
        "Uslow",
        "Unecro",
        "Pfast",
        "Pslow",
        "Pnecro",
        "MIC",
    )
    soil_pools: ClassVar[tuple[str, ...]] = pools[4:]
    microbial_pools: ClassVar[tuple[str, ...]] = ("MIC",)
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL")
    needs: ClassVar[tuple[str, ...]] = ("clay",)
    receives: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "ML": {"Ufast": 1.0},
        "CL": {"Uslow": 1.0},
        "LL": {"Uslow": 1.0},
    }
    rows: ClassVar[tuple[Parameter, ...]] = (
        *(
            Parameter(
                f"v_{name}",
                f"v_{{{name}}}",
                "yr-1",
                v / 3,
                3 * v,
                v,
                "K",
                f"maximum decomposition rate of {what} carbon at 20 C",
                _S,
            )
            for name, v, what in (
                ("fast", 9.0, "fast"),
                ("slow", 0.25, "slow"),
                ("necro", 4.5, "necromass"),
            )
        ),
        *parameter_rows(
            _S,
            r"""
            ea_fast  | E_{fast}  | kJ mol-1 | 5.0 70.0 | 5.0  | xi  |        | activation energy of fast carbon
            ea_slow  | E_{slow}  | kJ mol-1 | 5.0 70.0 | 30.0 | xi  |        | activation energy of slow carbon
            ea_necro | E_{necro} | kJ mol-1 | 5.0 70.0 | 5.0  | xi  |        | activation energy of necromass carbon
            e_fast   | e_{fast}  | 1        | 0.3 0.7  | 0.6  | CUE | [0, 1] | carbon use efficiency of fast carbon
            e_slow   | e_{slow}  | 1        | 0.01 0.3 | 0.05 | CUE | [0, 1] | carbon use efficiency of slow carbon
            e_necro  | e_{necro} | 1        | 0.3 0.7  | 0.6  | CUE | [0, 1] | carbon use efficiency of necromass carbon
            """,  # noqa: E501
        ),
        *(
            Parameter(
                f"p_{name}",
                f"p_{{{name}}}",
                "yr-1",
                p / 3,
                3 * p,
                p,
                "K",
                f"protection of {what} carbon at 20 % clay",
                _S,
            )
            for name, p, what in (
                ("fast", 0.3, "fast"),
                ("slow", 0.001, "slow"),
                ("necro", 1.5, "necromass"),
            )
        ),
        *parameter_rows(
            _S,
            r"""
            tau_protected | \tau_{P}   | yr | 10.0 300.0 | 75.0 | K |        | turnover of protected carbon
            kc            | k_C        | 1  | 0.003 0.03 | 0.01 | K |        | microbes over unprotected carbon at half of the maximum rate
            tau_mic       | \tau_{mic} | yr | 0.05 1.0   | 0.25 | K |        | turnover of microbes
            mic_min       | m_{min}    | 1  | 3e-4 3e-3  | 1e-3 | K |        | minimum of microbes over unprotected carbon
            et            | e_t        | 1  | 0.3 0.9    | 0.6  | A | [0, 1] | dead microbes that become necromass
            """,  # noqa: E501
        ),
        *(row for row in CLIMATE_ROWS if row.name != "q10"),
        *parameter_rows(
            _S,
            r"""
            q10 | Q_{10} | 1 | 1.2 3.0 | 1.5 | xi | [0.1, inf) | factor by which 10 K more speed up decomposition of litter | P-Table S1
            """,  # noqa: E501
        ),
        *LITTER_ROWS,
        *COLUMN_ROWS,
    )

    def _rates(self, p: Values, column: Column) -> Float[Array, "chemistry layer"]:
        """Return v with its modifiers, annual means, yr-1."""
        wet = water_modifier(p["w_scaling"], column.w_scalar) * column.o_scalar
        depth = depth_modifier(p["efolding"], column.grid.node)
        return jnp.stack(
            [
                p[f"v_{name}"] * (_arrhenius(p[f"ea_{name}"], column) * wet).mean(axis=0) * depth
                for name in CHEMISTRIES
            ]
        )

    def climate(self, parameters: Values, column: Column) -> Climate:
        """Return litter's modifiers by Q10; the component XI is that of slow carbon."""
        p = parameters
        wet = water_modifier(p["w_scaling"], column.w_scalar)
        slow = (_arrhenius(p["ea_slow"], column) * wet).mean(axis=0)
        depth = depth_modifier(p["efolding"], column.grid.node)
        return super().climate(p, column)._replace(without_oxygen=slow * depth)

    def _protection(self, p: Values, column: Column) -> Float[Array, "chemistry layer"]:
        by_clay = (column.site_property("clay") / 20.0) ** 0.48
        return jnp.stack([p[f"p_{name}"] * by_clay for name in CHEMISTRIES])

    def soil(
        self,
        parameters: Values,
        column: Column,
        climate: Climate,
        fed: Mapping[str, Float[Array, " layer"]],
    ) -> Soil:
        """Solve each layer in closed form: a quadratic in microbes over unprotected carbon."""
        p = parameters
        rate = self._rates(p, column)
        into_fast, into_slow = fed["Ufast"], fed["Uslow"]
        efficiency = jnp.stack([p[f"e_{name}"] for name in CHEMISTRIES])
        into_necro = ratio(
            p["et"] * (p["e_fast"] * into_fast + p["e_slow"] * into_slow),
            1.0 - p["et"] * p["e_necro"],
        )
        decomposed = jnp.stack([into_fast, into_slow, into_necro])
        growth = (efficiency[:, None] * decomposed).sum(axis=0)
        # Of microbes over unprotected carbon r: S r^2 + (S (kC - m) - T tau) r - S kC m = 0.
        times = ratio(decomposed, rate).sum(axis=0)
        shift = ratio(growth * p["tau_mic"], times) - (p["kc"] - p["mic_min"])
        half = jnp.sqrt(shift**2 + 4.0 * p["kc"] * p["mic_min"])
        # The positive root, in the form without cancellation.
        r = jnp.where(
            shift > 0.0,
            0.5 * (shift + half),
            ratio(2.0 * p["kc"] * p["mic_min"], half - jnp.minimum(shift, 0.0)),
        )
        free = ratio(decomposed * (r + p["kc"]), rate * r)
        microbes = growth * p["tau_mic"] + p["mic_min"] * free.sum(axis=0)
        bound = self._protection(p, column) * p["tau_protected"] * free
        pools = jnp.concatenate([free, bound, microbes[None]])
        dies = ratio(microbes - p["mic_min"] * free.sum(axis=0), p["tau_mic"])
        lost = (rate * free) * ratio(microbes, microbes + p["kc"] * free.sum(axis=0))
        co2 = ((1.0 - efficiency)[:, None] * lost).sum(axis=0) + (1.0 - p["et"]) * dies
        stuck = ((decomposed > 0.0) & (rate == 0.0)).any()
        return Soil(pools, co2, ~stuck)

    def kinetics(
        self,
        soil: Float[Array, "soil layer"],
        parameters: Values,
        column: Column,
        climate: Climate,
    ) -> Kinetics:
        """Return the rates: decomposition and protection together empty the free pools."""
        p = parameters
        free, microbes = soil[:3], soil[6]
        total = free.sum(axis=0)
        busy = ratio(microbes, microbes + p["kc"] * total)
        rate = self._rates(p, column) * busy
        protect = self._protection(p, column)
        leaving = rate + protect
        at_20_c = jnp.stack([p[f"v_{name}"] * busy for name in CHEMISTRIES]) + protect
        dies = ratio(jnp.maximum(microbes - p["mic_min"] * total, 0.0), p["tau_mic"] * microbes)
        ones = jnp.ones_like(free)
        fraction: dict[tuple[str, str], Float[Array, "..."] | float] = {}
        for i, name in enumerate(CHEMISTRIES):
            fraction["MIC", f"U{name}"] = p[f"e_{name}"] * ratio(rate[i], leaving[i])
            fraction[f"P{name}", f"U{name}"] = ratio(protect[i], leaving[i])
            fraction[f"U{name}", f"P{name}"] = 1.0
        fraction["Unecro", "MIC"] = p["et"]
        return Kinetics(
            decay=jnp.concatenate([at_20_c, ones / p["tau_protected"], dies[None]]),
            modifier=jnp.concatenate([ratio(leaving, at_20_c), ones, ones[:1]]),
            fraction=fraction,
        )
