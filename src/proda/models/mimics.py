"""MIMICS: two kinds of microbes compete for litter and soil carbon (docs/theory.md#mimics).

Wieder et al. 2014, 2015, with the parameters of the MIMICS version in the CASA testbed. Nothing
mixes: each layer has two unknowns, its microbes, from which all other pools follow.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.environment import water_modifier
from proda.column.newton import Balance, Improvement, find_root
from proda.column.processes import InputAllocation, RootProfile
from proda.column.ratio import ratio
from proda.models.model import Reason, SoilModel, SteadyState, Transfers, Values
from proda.models.plant_fed import COLUMN_ROWS, LITTER_ROWS, WATER_ROW
from proda.parameters import Parameter, parameter_rows

_S = "Wieder et al. 2014, 2015"

HOURS = 8760.0
GRAMS = 1000.0
"""g m-3 in one mg cm-3."""
V_MODIFIER = {"r": (10.0, 2.0, 10.0), "k": (3.0, 3.0, 2.0)}
K_MODIFIER = {"r": (8.0, 2.0, 4.0), "k": (2.0, 4.0, 6.0)}
"""Of each microbe, by donor: metabolic litter, structural litter, available carbon."""
OXIDATION = 6.0
"""Factor by which K of structural litter is multiplied for the oxidation of chemically protected
carbon."""
REFERENCE_C = 25.0


class Constants(NamedTuple):
    """Differences between versions of MIMICS other than the values of the parameters."""

    speed: float
    """Scale of the maximum uptake, aV."""
    half: float
    """Scale of the half-saturation constant, aK."""
    half_slope: tuple[float, float, float]
    """Added to Kslope, by donor, degC-1."""
    turnover: tuple[float, float]
    """Limits of the effect of net primary production on the death of microbes."""
    desorption_clay: float
    """Exponent by which clay (0-1) slows desorption."""
    protection: float
    """Factor by which K of available carbon is divided where there is no clay."""


TESTBED = Constants(1.25e-7, 0.15625, (0.0, 0.0, 0.0), (0.6, 1.3), 4.5, 3.0)
"""The version in the CASA testbed."""

ROUNDS = 10
"""Number of first steps in which each microbe is set to what its present gains would sustain:
far from the balance of two competitors Newton's method would oscillate."""


class _MIMICSRates(NamedTuple):
    """Quantities that do not depend on the state; g m-3, yr."""

    speed: dict[str, Float[Array, "donor layer"]]
    """Maximum uptake of each microbe with its modifiers, by donor."""
    half: dict[str, Float[Array, "donor layer"]]
    """Microbes at which uptake is half of the maximum."""
    death: dict[str, Float[Array, " layer"]]
    """Rate of death at 1 mg cm-3 of microbes."""
    physical: dict[str, Float[Array, " layer"]]
    chemical: dict[str, Float[Array, " layer"]]
    desorption: Float[Array, " layer"]


class MIMICS(SoilModel):
    """Microbial-Mineral Carbon Stabilization model."""

    name: ClassVar[str] = "mimics"
    title: ClassVar[str] = "MIMICS: two microbial groups, 8 pools x 20 layers"
    source: ClassVar[str] = _S
    pools: ClassVar[tuple[str, ...]] = (
        "CWD",
        "LITm",
        "LITs",
        "MICr",
        "MICK",
        "SOMp",
        "SOMc",
        "SOMa",
    )
    soil_pools: ClassVar[tuple[str, ...]] = ("MICr", "MICK", "SOMp", "SOMc", "SOMa")
    microbial_pools: ClassVar[tuple[str, ...]] = ("MICr", "MICK")
    needs: ClassVar[tuple[str, ...]] = ("clay",)
    allocates: ClassVar[InputAllocation] = RootProfile()
    constants: ClassVar[Constants] = TESTBED
    rows: ClassVar[tuple[Parameter, ...]] = (
        *parameter_rows(
            _S,
            r"""
            v_slope    | V_{slope}  | degC-1 | 0.0315 0.126    | 0.063  | xi  |            | growth of the greatest uptake with temperature
            v_int      | V_{int}    | 1      | 3.83 7.11       | 5.47   | K   |            | logarithm of the greatest uptake at 0 C
            k_slope    | K_{slope}  | degC-1 | 0.01 0.04       | 0.02   | xi  |            | growth of the half-saturation constant with temperature
            k_int      | K_{int}    | 1      | 2.233 4.147     | 3.19   | K   |            | logarithm of the half-saturation constant at 0 C
            cue_rm     | CUE_{r,m}  | 1      | 0.25 0.75       | 0.5    | CUE | [0, 1]     | efficiency of r-microbes on metabolic litter and available carbon
            cue_rs     | CUE_{r,s}  | 1      | 0.125 0.375     | 0.25   | CUE | [0, 1]     | efficiency of r-microbes on structural litter
            cue_km     | CUE_{K,m}  | 1      | 0.35 0.95       | 0.7    | CUE | [0, 1]     | efficiency of K-microbes on metabolic litter and available carbon
            cue_ks     | CUE_{K,s}  | 1      | 0.175 0.525     | 0.35   | CUE | [0, 1]     | efficiency of K-microbes on structural litter
            death_r    | \tau_r     | h-1    | 1.56e-4 1.56e-3 | 5.2e-4 | K   |            | death of r-microbes, before the effects of litter quality and NPP
            death_k    | \tau_K     | h-1    | 7.2e-5 7.2e-4   | 2.4e-4 | K   |            | death of K-microbes, likewise
            beta       | \beta      | 1      | 1.0 2.0         | 1.0    | K   | [1.0, inf) | exponent of death by density | Zhang et al. 2020
            phys_r     | f_{PHYS,r} | 1      | 0.015 0.3       | 0.15   | A   | [0, 1]     | dead r-microbes to physical protection, without clay
            phys_k     | f_{PHYS,K} | 1      | 0.01 0.2        | 0.1    | A   | [0, 1]     | dead K-microbes to physical protection, without clay
            chem_r     | f_{CHEM,r} | 1      | 0.03 0.3        | 0.1    | A   | [0, 1]     | dead r-microbes to chemical protection, without metabolic litter
            chem_k     | f_{CHEM,K} | 1      | 0.09 0.9        | 0.3    | A   | [0, 1]     | dead K-microbes to chemical protection, without metabolic litter
            desorption | D          | h-1    | 1e-6 4e-5       | 2e-5   | K   |            | release of physically protected carbon, without clay
            fi_m       | FI_m       | 1      | 0.01 0.15       | 0.05   | A   | [0, 1]     | metabolic litter that is protected physically at once
            fi_s       | FI_s       | 1      | 0.01 0.15       | 0.05   | A   | [0, 1]     | structural litter that is protected chemically at once
            """,  # noqa: E501
        ),
        WATER_ROW,
        *(row for row in LITTER_ROWS if row.name == "tau_cwd"),
        *(row for row in COLUMN_ROWS if row.name == "b"),
    )

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Find the microbes of each layer by Newton's method; the rest is closed form."""
        p = dict(parameters)
        rates, xi = self._rates(p, column), self._uptake_modifier(p, column)
        fresh = self.litter_input(p, column)
        wood = fresh[0]
        structural = fresh[2] + (1.0 - p["fi_s"]) * wood
        at_once = {"SOMp": fresh[5], "SOMc": fresh[6] + p["fi_s"] * wood}

        theta = (p, rates, fresh[1], structural, at_once["SOMp"] + at_once["SOMc"])
        died = 0.3 * (fresh[1] + structural)
        start = jnp.stack(
            [GRAMS * (ratio(died, GRAMS * rates.death[i])) ** (1.0 / p["beta"]) for i in "rk"]
        )
        root = find_root(_microbes, theta, start, improvement=Improvement(_grown, ROUNDS))
        r, k = root.amounts
        taken = {i: _uptake(rates, i, m) for i, m in (("r", r), ("k", k))}
        dead = {i: _death(p, rates, i, m) for i, m in (("r", r), ("k", k))}
        gone = taken["r"] + taken["k"]
        available = dead["r"] + dead["k"] + at_once["SOMp"] + at_once["SOMc"]
        protected = at_once["SOMp"] + sum(rates.physical[i] * dead[i] for i in "rk")
        chemical = at_once["SOMc"] + sum(rates.chemical[i] * dead[i] for i in "rk")
        pools = jnp.stack(
            [
                ratio(p["tau_cwd"] * wood, xi),
                ratio(fresh[1], gone[0]),
                ratio(structural, gone[1]),
                r,
                k,
                ratio(protected, rates.desorption),
                ratio(chemical, _oxidation(rates, r, k)),
                ratio(available, gone[2]),
            ]
        )
        lost = jnp.stack([(1.0 - _efficiency(p, i))[:, None] * taken[i] for i in "rk"]).sum(axis=0)
        co2 = (lost * pools[jnp.array([1, 2, 7])]).sum(axis=0) * column.grid.thickness
        shares = jnp.stack([rates.physical[i] + rates.chemical[i] for i in "rk"])
        feasible = (shares <= 1.0).all() & ~((wood > 0.0) & (xi == 0.0)).any()
        # If one kind of microbe dies out, or none can live, there is no root with both.
        extra = jnp.where(root.converged, Reason.FEASIBLE, Reason.NOT_CONVERGED)
        return self.finish(pools, co2, feasible, column, extra)

    def transfers(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Transfers:
        """Return the rates at a state."""
        p = dict(parameters)
        rates, xi = self._rates(p, column), self._uptake_modifier(p, column)
        wet = self._wet(p, column).mean(axis=0)
        r, k = pools[3], pools[4]
        taken = {i: _uptake(rates, i, m) for i, m in (("r", r), ("k", k))}
        gone = taken["r"] + taken["k"]
        dying = {i: ratio(_death(p, rates, i, m), m) for i, m in (("r", r), ("k", k))}
        ones = jnp.ones_like(r)
        total = jnp.stack(
            [
                xi / p["tau_cwd"],
                gone[0],
                gone[1],
                dying["r"],
                dying["k"],
                rates.desorption,
                _oxidation(rates, r, k),
                gone[2],
            ]
        )
        modifier = jnp.stack([xi, xi, xi, wet, wet, ones, xi, xi])
        part: dict[tuple[str, str], Any] = {
            ("LITs", "CWD"): 1.0 - p["fi_s"],
            ("SOMc", "CWD"): p["fi_s"],
        }
        for i, microbe in (("r", "MICr"), ("k", "MICK")):
            for j, donor in enumerate(("LITm", "LITs", "SOMa")):
                part[microbe, donor] = _efficiency(p, i)[j] * ratio(taken[i][j], gone[j])
            part["SOMp", microbe], part["SOMc", microbe] = rates.physical[i], rates.chemical[i]
            part["SOMa", microbe] = 1.0 - rates.physical[i] - rates.chemical[i]
        part["SOMa", "SOMp"] = part["SOMa", "SOMc"] = 1.0
        temperature = jnp.exp(p["v_slope"] * 10.0 * column.temperature)
        water = water_modifier(p["w_scaling"], column.w_scalar)
        return Transfers(
            input=self.litter_input(p, column),
            decay=ratio(total, modifier),
            modifier=modifier,
            fraction={key: jnp.asarray(share) for key, share in part.items()},
            transport=self.mixing(p, column),
            climate=(temperature * water).mean(axis=0),
            input_shares=self.input_shares(p, column),
        )

    def litter_input(self, parameters: Values, column: Column) -> Float[Array, "pool layer"]:
        """Return the carbon input to each pool, g m-3 yr-1; a part is protected immediately."""
        p = parameters
        cwd, metabolic, cellulose, lignin = column.litter_input
        entering = self.input_shares(p, column) / column.grid.thickness
        zero = jnp.zeros_like(entering)
        fine = cellulose + lignin
        return jnp.stack(
            [
                cwd * entering,
                (1.0 - p["fi_m"]) * metabolic * entering,
                (1.0 - p["fi_s"]) * fine * entering,
                zero,
                zero,
                p["fi_m"] * metabolic * entering,
                p["fi_s"] * fine * entering,
                zero,
            ]
        )

    def _wet(self, p: Values, column: Column) -> Float[Array, "month layer"]:
        return water_modifier(p["w_scaling"], column.w_scalar) * column.o_scalar

    def _uptake_modifier(self, p: Values, column: Column) -> Float[Array, " layer"]:
        """Return the effect of temperature (1 at 25 C), water and oxygen on uptake."""
        warm = jnp.exp(p["v_slope"] * 10.0 * column.temperature)
        return (warm * self._wet(p, column)).mean(axis=0)

    def _rates(self, p: Values, column: Column) -> _MIMICSRates:
        clay, fixed = column.site_property("clay") / 100.0, self.constants
        xi, wet = self._uptake_modifier(p, column), self._wet(p, column).mean(axis=0)
        v = HOURS * fixed.speed * jnp.exp(p["v_slope"] * REFERENCE_C + p["v_int"]) * xi
        celsius = 10.0 * column.temperature + REFERENCE_C
        half = [
            GRAMS * fixed.half * jnp.exp((p["k_slope"] + more) * celsius + p["k_int"]).mean(axis=0)
            for more in fixed.half_slope
        ]
        pscalar = fixed.protection * jnp.exp(-2.0 * jnp.sqrt(clay))
        by_donor = jnp.stack([jnp.ones_like(clay), jnp.ones_like(clay), pscalar])
        carbon = column.litter_input
        fmet = ratio(carbon[1], carbon[1:].sum())
        npp = jnp.clip(jnp.sqrt(carbon.sum() / 100.0), *fixed.turnover)
        quality = {"r": jnp.exp(0.3 * fmet), "k": jnp.exp(0.1 * fmet)}
        chemistry = jnp.exp(-3.0 * fmet) * jnp.ones_like(clay)
        return _MIMICSRates(
            speed={i: jnp.array(V_MODIFIER[i])[:, None] * v for i in "rk"},
            half={
                i: jnp.stack(half) / (jnp.array(K_MODIFIER[i])[:, None] * by_donor) for i in "rk"
            },
            death={i: HOURS * p[f"death_{i}"] * quality[i] * npp * wet for i in "rk"},
            physical={
                "r": p["phys_r"] * jnp.exp(1.3 * clay),
                "k": p["phys_k"] * jnp.exp(0.8 * clay),
            },
            chemical={i: p[f"chem_{i}"] * chemistry for i in "rk"},
            desorption=HOURS * p["desorption"] * jnp.exp(-fixed.desorption_clay * clay),
        )


def _uptake(
    rates: _MIMICSRates, microbe: str, amount: Float[Array, " layer"]
) -> Float[Array, "donor layer"]:
    """Return the rate at which a microbe empties each donor, yr-1."""
    return rates.speed[microbe] * amount / (rates.half[microbe] + amount)


def _death(
    p: Values, rates: _MIMICSRates, microbe: str, amount: Float[Array, " layer"]
) -> Float[Array, " layer"]:
    """Return their death, g m-3 yr-1: rate x M^beta in mg cm-3; its derivative at 0 is finite."""
    some = jnp.where(amount > 0.0, amount, GRAMS)
    return rates.death[microbe] * amount * (some / GRAMS) ** (p["beta"] - 1.0)


def _efficiency(p: Values, microbe: str) -> Float[Array, " donor"]:
    simple, hard = p[f"cue_{microbe}m"], p[f"cue_{microbe}s"]
    return jnp.stack([simple, hard, simple])


def _oxidation(
    rates: _MIMICSRates, r: Float[Array, " layer"], k: Float[Array, " layer"]
) -> Float[Array, " layer"]:
    """Return the rate at which chemically protected carbon becomes available, yr-1."""
    return sum(
        (
            rates.speed[i][1] * amount / (OXIDATION * rates.half[i][1] + amount)
            for i, amount in (("r", r), ("k", k))
        ),
        jnp.zeros_like(r),
    )


def _grown(amounts: Float[Array, "two layer"], theta: Any) -> Float[Array, "two layer"]:
    """Return the microbes that the gains of these would sustain."""
    net, gross = _microbes(amounts, theta)
    return amounts * ratio(gross + net, gross - net) ** (1.0 / theta[0]["beta"])


def _microbes(amounts: Float[Array, "two layer"], theta: Any) -> Balance:
    """Return what both microbes gain and lose where all other pools are in balance."""
    p, rates, metabolic, structural, at_once = theta
    taken = {i: _uptake(rates, i, m) for i, m in zip("rk", amounts, strict=True)}
    dead = {i: _death(p, rates, i, m) for i, m in zip("rk", amounts, strict=True)}
    supply = jnp.stack([metabolic, structural, dead["r"] + dead["k"] + at_once])
    gone = taken["r"] + taken["k"]
    gain = {
        i: (_efficiency(p, i)[:, None] * supply * ratio(taken[i], gone)).sum(axis=0) for i in "rk"
    }
    gains, losses = jnp.stack([gain[i] for i in "rk"]), jnp.stack([dead[i] for i in "rk"])
    return Balance(gains - losses, gains + losses)
