"""Soil models with explicit microbes and enzymes: shared code of COMPAS and its variants.

P-section 2.3; docs/theory.md#compas.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from proda.column.column import Column
from proda.column.environment import (
    Environment,
    climate_modifier,
    climate_modifier_of_means,
    environment,
    environment_of_means,
)
from proda.column.ratio import ratio
from proda.forcing import LITTER
from proda.models.litter import Litter, litter_steady_state
from proda.models.model import SteadyState, Transfers, Values
from proda.models.published_variant import PublishedModel

EFOLDING = 0.5
"""Depth over which decomposition falls to 1/e, m; fixed in COMPAS."""


class MicrobialModel(PublishedModel):
    """Litter feeds microbes, DOC and mineral SOC; each model defines the kinetics of the last two.

    A catalyst C (enzyme, microbes) turns over a substrate S (mineral SOC, DOC) at
    C S / (tau (K_m xi + saturating)) times xi, where `saturating` is S or C. The
    turnover at steady state does not depend on this choice, and so neither do microbes and enzyme.
    """

    pools: ClassVar[tuple[str, ...]] = ("CWD", "ML", "CL", "LL", "DOC", "MIC", "ENZ", "mSOC")
    soil_pools: ClassVar[tuple[str, ...]] = ("DOC", "MIC", "ENZ", "mSOC")
    microbial_pools: ClassVar[tuple[str, ...]] = ("MIC",)
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL")
    fed_by_plants: ClassVar[tuple[str, ...]] = LITTER
    saturated_by: ClassVar[tuple[str, ...]]
    """Pools whose concentration K_m is compared with: in assimilation, in decomposition."""

    @abc.abstractmethod
    def saturating(
        self, substrate: Float[Array, " layer"], catalyst: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Return the concentration that saturates the reaction, g m-3."""

    @abc.abstractmethod
    def substrate(
        self,
        demand: Float[Array, " layer"],
        xi_catalyst: Float[Array, " layer"],
        km: Float[Array, " layer"],
        catalyst: Float[Array, " layer"],
    ) -> tuple[Float[Array, " layer"], Bool[Array, " layer"]]:
        """Return the substrate at which turnover equals supply, and whether it exists.

        Parameters
        ----------
        demand
            Supply times tau: the minimum of xi x catalyst at which turnover can equal supply, g
            m-2.
        xi_catalyst
            Modifier times stock of the catalyst, g m-2.
        km
            Michaelis constant with its modifier, g m-3.
        catalyst
            Its concentration, g m-3.
        """

    def constants(self, parameters: Values) -> Values:
        """Return the parameters with km and tau of both reactions, if a model has others."""
        return parameters

    def turnover_of_microbes(
        self, parameters: Values, mic: Float[Array, " layer"]
    ) -> Float[Array, "..."]:
        """Return the turnover time of death where there are `mic` g m-3 of microbes, yr."""
        return parameters["tau_mic"]

    def turnover_at_steady_state(
        self, parameters: Values, growth: Float[Array, " layer"], xi: Float[Array, " layer"]
    ) -> Float[Array, "..."]:
        """Return it where death and enzyme production of microbes equal `growth`, g m-3 yr-1."""
        return parameters["tau_mic"]

    def further_reason(
        self, pools: Float[Array, "pool layer"], empty: Bool[Array, " layer"], column: Column
    ) -> Int[Array, ""] | None:
        """Return a reason of the model's own to reject a steady state, None if it has none."""
        return None

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Solve litter, then the soil pools of each layer in closed form (P-Eq 9).

        The formulas are those of docs/theory.md#compas, multiplied by the turnover times, and with
        the uptake of DOC written as a sum: U = eta_doc (u_MIC + u_SOC + u_DOC) / (1 - eta_doc). The
        only differences left are those that decide whether a steady state exists.
        """
        p = self.constants(parameters)
        env = self._environment(p, column)
        litter = litter_steady_state(
            p["tau_ml"],
            p["tau_cl_ll"],
            p["a_cl_cwd"],
            self.input_shares(p, column),
            env,
            self.mixing(p, column),
            column,
        )
        u_mic, u_doc, u_soc, respired_litter = _supply_from_litter(p, litter, env)
        xi, thickness = env.soil, column.grid.thickness
        through_mic = (u_mic + p["eta_doc"] * (u_soc + u_doc)) / (1.0 - p["eta_doc"])
        # xi MIC, with 1 / k_mic = tau_mic tau_enz_prod / (tau_mic + tau_enz_prod)
        tau_mic = self.turnover_at_steady_state(p, through_mic / thickness, xi)
        death = p["tau_enz_prod"] / (tau_mic + p["tau_enz_prod"])
        xi_mic = through_mic * tau_mic * death
        xi_enz = xi_mic * p["tau_enz_decay"] / p["tau_enz_prod"]
        mic, enz = ratio(xi_mic, xi), ratio(xi_enz, xi)
        into_soc = u_soc + p["a_soc_mic"] * death * through_mic
        assimilated = (u_mic + u_soc + u_doc) / (1.0 - p["eta_doc"])
        km_decom, km_assim = p["km_decom"] * xi, p["km_assim"] * xi
        mic_m3, enz_m3 = mic / thickness, enz / thickness
        msoc, decomposes = self.substrate(into_soc * p["tau_decom"], xi_enz, km_decom, enz_m3)
        doc, assimilates = self.substrate(assimilated * p["tau_assim"], xi_mic, km_assim, mic_m3)
        # CPUs replace subnormal numbers by 0, GPUs do not. On GPUs products of subnormal numbers
        # are 0, and a layer with such a supply would seem to have no catalyst for it.
        empty = assimilated < np.finfo(np.float64).tiny
        feasible = (empty | (decomposes & assimilates)).all() & ~litter.stuck

        # From the pools, so that the check of conservation is independent of the solution.
        taken_up = ratio(xi_mic * doc, p["tau_assim"] * (km_assim + self.saturating(doc, mic_m3)))
        co2 = respired_litter + (1.0 - p["eta_doc"]) * taken_up
        pools = jnp.stack(
            [
                *litter.pools(p["tau_cwd"], p["tau_ml"], p["tau_cl_ll"], column),
                doc,
                mic_m3,
                enz_m3,
                msoc,
            ]
        )
        if self.published:
            feasible = feasible & (pools >= 0.0).all()
        return self.finish(pools, co2, feasible, column, self.further_reason(pools, empty, column))

    def transfers(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Transfers:
        """Return the terms of P-Eq 2 and 6-8 at a state."""
        p = self.constants(parameters)
        env = self._environment(p, column)
        shares = self.input_shares(p, column)
        xi = env.soil
        doc, mic, enz, msoc = pools[4:]
        tau_mic = self.turnover_of_microbes(p, mic)
        km_assim, km_decom = p["km_assim"] * xi, p["km_decom"] * xi
        ones = jnp.ones_like(xi)
        climate = climate_modifier_of_means if self.published else climate_modifier
        decay = jnp.stack(
            [
                ones / p["tau_cwd"],
                ones / p["tau_ml"],
                ones / p["tau_cl_ll"],
                ones / p["tau_cl_ll"],
                ratio(mic, p["tau_assim"] * (km_assim + self.saturating(doc, mic))),
                ones * (1.0 / tau_mic + 1.0 / p["tau_enz_prod"]),
                ones / p["tau_enz_decay"],
                ratio(enz, p["tau_decom"] * (km_decom + self.saturating(msoc, enz))),
            ]
        )
        death = p["tau_enz_prod"] / (tau_mic + p["tau_enz_prod"])
        return Transfers(
            input=self.litter_input(p, column),
            decay=decay,
            modifier=jnp.stack([xi, env.litter, env.litter, env.litter, xi, xi, xi, xi]),
            fraction={
                ("CL", "CWD"): p["a_cl_cwd"],
                ("LL", "CWD"): 1.0 - p["a_cl_cwd"],
                ("DOC", "ML"): p["a_doc_ml"],
                ("MIC", "ML"): (1.0 - p["a_doc_ml"]) * p["eta_ml"],
                ("DOC", "CL"): p["a_doc_cl"],
                ("MIC", "CL"): (1.0 - p["a_doc_cl"]) * p["eta_cl_ll"],
                ("mSOC", "LL"): p["a_soc_ll"],
                ("MIC", "LL"): (1.0 - p["a_soc_ll"]) * p["eta_cl_ll"],
                ("MIC", "DOC"): p["eta_doc"],
                ("mSOC", "MIC"): p["a_soc_mic"] * death,
                ("DOC", "MIC"): (1.0 - p["a_soc_mic"]) * death,
                ("ENZ", "MIC"): tau_mic / (tau_mic + p["tau_enz_prod"]),
                ("DOC", "ENZ"): jnp.asarray(1.0),
                ("DOC", "mSOC"): jnp.asarray(1.0),
            },
            transport=self.mixing(p, column),
            climate=climate(p["q10"], p["w_scaling"], jnp.asarray(EFOLDING), column),
            input_shares=shares,
            michaelis=dict(zip(self.saturated_by, (km_assim, km_decom), strict=False)),
        )

    def _environment(self, parameters: Values, column: Column) -> Environment:
        average = environment_of_means if self.published else environment
        p = parameters
        return average(p["q10"], p["w_scaling"], jnp.asarray(EFOLDING), column)


def _supply_from_litter(
    p: Values, litter: Litter, env: Environment
) -> tuple[Array, Array, Array, Array]:
    """Return the supply of MIC, DOC and SOC and the respiration of litter, g m-2 yr-1 by layer."""
    ml, cl, ll = (env.litter * q for q in (litter.metabolic, litter.cellulose, litter.lignin))
    grown_ml = (1.0 - p["a_doc_ml"]) * p["eta_ml"] * ml
    grown_cl = (1.0 - p["a_doc_cl"]) * p["eta_cl_ll"] * cl
    grown_ll = (1.0 - p["a_soc_ll"]) * p["eta_cl_ll"] * ll
    u_mic = grown_ml + grown_cl + grown_ll
    u_doc = p["a_doc_ml"] * ml + p["a_doc_cl"] * cl
    u_soc = p["a_soc_ll"] * ll
    respired = (
        (1.0 - p["a_doc_ml"]) * (1.0 - p["eta_ml"]) * ml
        + (1.0 - p["a_doc_cl"]) * (1.0 - p["eta_cl_ll"]) * cl
        + (1.0 - p["a_soc_ll"]) * (1.0 - p["eta_cl_ll"]) * ll
    )
    return u_mic, u_doc, u_soc, respired
