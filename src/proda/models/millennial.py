"""Millennial V2: pools that can be measured, aggregates and minerals (docs/theory.md#millennial).

Abramoff et al. 2022. Without leaching, microbes follow from the balance of carbon alone,
and the other pools from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.environment import water_modifier
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

_S = "Abramoff et al. 2022"

DAYS = 365.0
GAS = 8.314
"""Gas constant, J mol-1 K-1."""
REFERENCE_K = 288.15
SORPTION_PER_PER_CENT = 0.86
"""Maximum of mineral-associated carbon, g kg-1 per % of clay and silt (Georgiou et al. 2022)."""
DESORPTION = 1.0
"""k_ld, g m-3 d-1."""


class _MillennialRates(NamedTuple):
    """Quantities that do not depend on the state, g m-3 and yr."""

    moist: Float[Array, " layer"]
    speed_pom: Float[Array, " layer"]
    speed_low: Float[Array, " layer"]
    efficiency: Float[Array, " layer"]
    sorption: Float[Array, " layer"]
    capacity: Float[Array, " layer"]


class Millennial(PlantFedModel):
    """Millennial version 2 without leaching."""

    name: ClassVar[str] = "millennial"
    title: ClassVar[str] = "Millennial V2: measurable pools, 9 pools x 20 layers"
    source: ClassVar[str] = _S
    pools: ClassVar[tuple[str, ...]] = (
        "CWD",
        "ML",
        "CL",
        "LL",
        "POM",
        "LMWC",
        "AGG",
        "MIC",
        "MAOM",
    )
    soil_pools: ClassVar[tuple[str, ...]] = ("POM", "LMWC", "AGG", "MIC", "MAOM")
    microbial_pools: ClassVar[tuple[str, ...]] = ("MIC",)
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL")
    needs: ClassVar[tuple[str, ...]] = ("clay", "silt", "ph", "bulk_density")
    receives: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    rows: ClassVar[tuple[Parameter, ...]] = (
        *parameter_rows(
            _S,
            r"""
            p_i     | p_i       | 1          | 0.0 1.0        | 0.66    | A   | [0, 1] | input that is particulate
            p_a     | p_a       | 1          | 0.0 1.0        | 0.33    | A   | [0, 1] | broken aggregate that is particulate
            p_b     | p_b       | 1          | 0.0 1.0        | 0.5     | A   | [0, 1] | dead microbes that minerals adsorb
            k_pl    | K_{pl}    | g m-3      | 1700.0 45000.0 | 6443.0  | K   |        | microbes at half of the greatest breakdown of particles, in 1 m of soil
            v_pl    | V_{pl}    | d-1        | 1.6 14.0       | 4.67    | K   |        | greatest breakdown of particles at 15 C
            e_pl    | E_{pl}    | J mol-1    | 50e3 70e3      | 63909.0 | xi  |        | activation energy of the breakdown of particles
            k_pa    | k_{pa}    | d-1        | 0.0 0.85       | 0.018   | K   |        | particles into aggregates
            k_b     | k_b       | d-1        | 0.001 0.1      | 0.02    | K   |        | breakdown of aggregates
            k_ma    | k_{ma}    | d-1        | 0.001 0.1      | 0.0048  | K   |        | minerals into aggregates
            p1      | p_1       | 1          | 0.05 0.5       | 0.12    | K   |        | fall of sorption with pH
            p2      | p_2       | 1          | 0.108 0.324    | 0.216   | K   |        | sorption at pH 0
            k_lb    | K_{lb}    | g m-3      | 33.0 3000.0    | 774.6   | K   |        | dissolved carbon at half of the greatest uptake, in 1 m of soil
            v_lb    | V_{lb}    | d-1        | 25.0 225.0     | 74.4    | K   |        | greatest uptake of dissolved carbon at 15 C
            e_lb    | E_{lb}    | J mol-1    | 50e3 75e3      | 57865.0 | xi  |        | activation energy of the uptake of dissolved carbon
            k_bd    | k_{bd}    | m3 g-1 d-1 | 0.0006 0.0162  | 0.0045  | K   |        | death of microbes by density, in 1 m of soil
            cue_ref | CUE_{ref} | 1          | 0.15 0.9       | 0.19    | CUE | [0, 1] | carbon use efficiency at 15 C
            cue_t   | CUE_T     | degC-1     | 0.006 0.018    | 0.012   | CUE |        | fall of the efficiency with temperature
            k_a     | k_a       | 1          | 0.1 0.3        | 0.2     | xi  | [0, 1] | least effect of oxygen in wet soil
            """,  # noqa: E501
        ),
        *CLIMATE_ROWS,
        *LITTER_ROWS,
        *COLUMN_ROWS,
    )

    def receiving(
        self, parameters: Values, column: Column
    ) -> Mapping[str, Mapping[str, Float[Array, "..."] | float]]:
        """Return the split of all litter into particles and dissolved carbon."""
        split = {"POM": parameters["p_i"], "LMWC": 1.0 - parameters["p_i"]}
        return {"ML": split, "CL": split, "LL": split}

    def climate(self, parameters: Values, column: Column) -> Climate:
        """Return litter's modifiers by Q10; the component XI is that of uptake."""
        water = water_modifier(parameters["w_scaling"], column.w_scalar)
        warm = _arrhenius(parameters["e_lb"], column)
        values = super().climate(parameters, column)
        return values._replace(without_oxygen=(warm * water).mean(axis=0))

    def _rates(self, p: Values, column: Column) -> _MillennialRates:
        # The product of the water and oxygen scalars is sqrt(theta / phi), so theta / phi follows.
        moist = water_modifier(p["w_scaling"], column.w_scalar) * column.o_scalar
        # The square root has no derivative at 0, in saturated soil.
        dry = jnp.maximum(1.0 - moist**2, 0.0)
        aired = jnp.where(dry > 0.0, jnp.sqrt(jnp.where(dry > 0.0, dry, 1.0)), 0.0)
        air = p["k_a"] + (1.0 - p["k_a"]) * aired
        celsius = 10.0 * column.temperature + 25.0
        fines = column.site_property("clay") + column.site_property("silt")
        return _MillennialRates(
            moist=moist.mean(axis=0),
            speed_pom=DAYS * p["v_pl"] * (_arrhenius(p["e_pl"], column) * moist).mean(axis=0),
            speed_low=DAYS * p["v_lb"] * (_arrhenius(p["e_lb"], column) * moist * air).mean(axis=0),
            efficiency=(p["cue_ref"] - p["cue_t"] * (celsius - 15.0)).mean(axis=0),
            sorption=DAYS * DESORPTION * jnp.exp(-p["p1"] * column.site_property("ph") - p["p2"]),
            capacity=column.site_property("bulk_density") * SORPTION_PER_PER_CENT * fines,
        )

    def soil(
        self,
        parameters: Values,
        column: Column,
        climate: Climate,
        fed: Mapping[str, Float[Array, " layer"]],
    ) -> Soil:
        """Solve each layer: microbes, dissolved carbon, then minerals, particles, aggregates."""
        p, rates = parameters, self._rates(parameters, column)
        s, entering = rates.moist, fed["POM"] + fed["LMWC"]
        some = entering > 0.0
        sound = (rates.efficiency > 0.0) & (rates.efficiency < 1.0)
        efficiency = jnp.where(sound, rates.efficiency, 0.5)
        death = DAYS * p["k_bd"]
        taken = death / efficiency  # uptake is this times MIC^2
        squared = jnp.where(some, entering, 1.0) / ((1.0 - efficiency) * taken)
        mic = jnp.where(some, jnp.sqrt(squared), 0.0)
        spare = rates.speed_low - taken * mic
        low = ratio(p["k_lb"] * taken * mic, spare)
        to_agg, from_min = DAYS * p["k_pa"] * s, DAYS * p["k_ma"] * s
        eaten = rates.speed_pom * mic / (p["k_pl"] + mic)
        leaving = (1.0 - p["p_a"]) * to_agg + eaten
        adsorbed = s * rates.sorption * low
        gained = (
            adsorbed
            + p["p_b"] * death * mic**2
            + ratio((1.0 - p["p_a"]) * to_agg * fed["POM"], leaving)
        )
        kept = rates.capacity * p["p_a"] * from_min * ratio(eaten, leaving)
        maom = ratio(rates.capacity * gained, adsorbed + DAYS * DESORPTION + kept)
        pom = ratio(fed["POM"] + p["p_a"] * from_min * maom, leaving)
        agg = (p["k_pa"] * pom + p["k_ma"] * maom) / p["k_b"]
        pools = jnp.stack([pom, low, agg, mic, maom])
        uptake = rates.speed_low * mic * low / (p["k_lb"] + low)
        fine = ~some | ((spare > 0.0) & (leaving > 0.0) & (s > 0.0) & sound)
        return Soil(pools, (1.0 - efficiency) * uptake, fine.all())

    def kinetics(
        self,
        soil: Float[Array, "soil layer"],
        parameters: Values,
        column: Column,
        climate: Climate,
    ) -> Kinetics:
        """Return the rates; sorption to full minerals counts as release from them."""
        p, rates = parameters, self._rates(parameters, column)
        s, (_, low, _, mic, _) = rates.moist, soil
        to_agg, broken, from_min = (DAYS * p[name] * s for name in ("k_pa", "k_b", "k_ma"))
        busy, half = mic / (p["k_pl"] + mic), mic / (p["k_lb"] + low)
        eaten, uptake = rates.speed_pom * busy, rates.speed_low * half
        adsorbed = s * rates.sorption
        released = ratio(DAYS * DESORPTION + adsorbed * low, rates.capacity)
        total = jnp.stack(
            [
                to_agg + eaten,
                adsorbed + uptake,
                broken,
                DAYS * p["k_bd"] * mic,
                released + from_min,
            ]
        )
        at_15_c = DAYS * jnp.stack(
            [
                p["k_pa"] + p["v_pl"] * busy,
                rates.sorption / DAYS + p["v_lb"] * half,
                p["k_b"] * jnp.ones_like(s),
                p["k_bd"] * mic,
                (released + DAYS * p["k_ma"]) / DAYS,
            ]
        )
        return Kinetics(
            decay=at_15_c,
            modifier=ratio(total, at_15_c),
            fraction={
                ("AGG", "POM"): ratio(to_agg, total[0]),
                ("LMWC", "POM"): ratio(eaten, total[0]),
                ("MAOM", "LMWC"): ratio(adsorbed, total[1]),
                ("MIC", "LMWC"): rates.efficiency * ratio(uptake, total[1]),
                ("POM", "AGG"): p["p_a"],
                ("MAOM", "AGG"): 1.0 - p["p_a"],
                ("MAOM", "MIC"): p["p_b"],
                ("LMWC", "MIC"): 1.0 - p["p_b"],
                ("LMWC", "MAOM"): ratio(released, total[4]),
                ("AGG", "MAOM"): ratio(from_min, total[4]),
            },
        )


def _arrhenius(energy: Float[Array, ""], column: Column) -> Float[Array, "month layer"]:
    """Return the rate over that at 15 C; `energy` in J mol-1."""
    kelvin = 10.0 * column.temperature + 298.15
    return jnp.exp(energy / GAS * (1.0 / REFERENCE_K - 1.0 / kelvin))
