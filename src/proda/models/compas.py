"""COMPAS: microbes and enzymes with Michaelis-Menten kinetics, 8 pools in 20 layers.

P-section 2.3; science: section 7.2.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
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
from proda.models.litter import litter_steady_state
from proda.models.model import Reason, SoilModel, SteadyState, Transfers, Values
from proda.parameters import Parameter, fraction

EFOLDING = 0.5
"""Depth over which decomposition falls to 1/e, m; fixed in COMPAS."""

MIN_SOIL_PER_MICROBE = 10.0
"""The published code rejects a column with less soil carbon than this many times its microbes."""

_S = "P-Table S2"


class COMPAS(SoilModel):
    """CarbOn cycle and Microbial PArtitioning Soil model, microbes explicit."""

    name: ClassVar[str] = "compas"
    title: ClassVar[str] = "COMPAS: Michaelis-Menten kinetics, 8 pools x 20 layers"
    source: ClassVar[str] = "Allison et al. 2010; Tao et al. 2023; P-section 2.3"
    pools: ClassVar[tuple[str, ...]] = ("CWD", "ML", "CL", "LL", "DOC", "MIC", "ENZ", "mSOC")
    soil_pools: ClassVar[tuple[str, ...]] = ("DOC", "MIC", "ENZ", "mSOC")
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL")
    rows: ClassVar[tuple[Parameter, ...]] = (
        fraction("eta_doc", r"\eta_{DOC}", 0.01, 0.7, 0.27, "CUE",
                 "carbon use efficiency of DOC assimilation", _S),
        fraction("eta_ml", r"\eta_{ML}", 0.4, 0.9, 0.66, "CUE",
                 "carbon use efficiency of metabolic litter", _S),
        fraction("eta_cl_ll", r"\eta_{CL-LL}", 0.0, 0.4, 0.16, "CUE",
                 "carbon use efficiency of cellulose and lignin litter", _S),
        Parameter("km_assim", "K_{m,assim}", "g m-3", 300.0, 3000.0, 1.8e3, "K",
                  "DOC at half of the maximum assimilation", _S),
        Parameter("tau_assim", r"\tau_{assim}", "yr", 0.001, 0.03, 0.015, "K",
                  "inverse of the maximum rate of DOC assimilation", _S),
        Parameter("tau_decom", r"\tau_{decom}", "yr", 0.0, 3e-4, 1.62e-4, "K",
                  "inverse of the maximum rate of SOC decomposition", _S),
        Parameter("km_decom", "K_{m,decom}", "g m-3", 1e5, 1e6, 5.65e5, "K",
                  "mineral SOC at half of the maximum decomposition", _S),
        Parameter("tau_enz_prod", r"\tau_{ENZ,prod}", "yr", 15.0, 30.0, 22.0, "K",
                  "turnover of microbes by enzyme production", _S),
        Parameter("tau_ml", r"\tau_{ML}", "yr", 0.0, 0.1, 0.049, "K",
                  "turnover of metabolic litter", _S),
        Parameter("tau_cwd", r"\tau_{CWD}", "yr", 1.0, 6.0, 3.5, "K",
                  "turnover of coarse woody debris", _S),
        Parameter("tau_cl_ll", r"\tau_{CL-LL}", "yr", 0.1, 0.3, 0.2, "K",
                  "turnover of cellulose and lignin litter", _S),
        Parameter("tau_enz_decay", r"\tau_{ENZ,decay}", "yr", 0.001, 1.0, 0.04, "K",
                  "turnover of enzyme", _S),
        Parameter("tau_mic", r"\tau_{MIC}", "yr", 0.0, 2.0, 1.1, "K",
                  "turnover of microbes by death", _S),
        fraction("a_soc_mic", "a_{SOC,MIC}", 0.0, 1.0, 0.47, "A",
                 "dead microbes to mineral SOC", _S),
        fraction("a_cl_cwd", "a_{CL,CWD}", 0.5, 1.0, 0.75, "A",
                 "coarse woody debris to cellulose litter", _S),
        fraction("a_doc_ml", "a_{DOC,ML}", 0.0, 0.1, 0.05, "A", "metabolic litter to DOC", _S),
        fraction("a_doc_cl", "a_{DOC,CL}", 0.05, 0.3, 0.17, "A", "cellulose litter to DOC", _S),
        fraction("a_soc_ll", "a_{SOC,LL}", 0.6, 0.95, 0.78, "A",
                 "lignin litter to mineral SOC", _S),
        Parameter("w_scaling", "w", "1", 0.0, 5.0, 2.9, "xi", "scaling of the water scalar", _S),
        Parameter("q10", "Q_{10}", "1", 1.2, 3.0, 2.1, "xi",
                  "factor by which 10 K more speed up decomposition", _S, physical_lower=0.1),
        Parameter("cryo", "D_c", "m2 yr-1", 3e-5, 16e-4, 0.0008, "V", "cryoturbation rate", _S),
        Parameter("diffus", "D_b", "m2 yr-1", 3e-5, 5e-4, 0.00026, "V", "bioturbation rate", _S),
        fraction("b", "b", 0.5, 0.9999, 0.72, "B", "depth profile of carbon input", _S,
                 inside=True),
    )  # fmt: skip

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Solve litter, then the soil pools of each layer in closed form (P-Eq 9).

        The formulas are those of science: section 7.2, multiplied through by the turnover times,
        and with the uptake of DOC written as a sum: U = eta_doc (u_MIC + u_SOC + u_DOC) /
        (1 - eta_doc). Only the two differences that decide whether there is a steady state remain.
        """
        p = parameters
        env = self._environment(p, column)
        litter = litter_steady_state(
            p["tau_ml"], p["tau_cl_ll"], p["a_cl_cwd"], self.input_shares(p, column), env,
            self.mixing(p, column), column,
        )  # fmt: skip
        # What arrives from litter, g m-2 yr-1 in each layer.
        ml, cl, ll = (env.litter * q for q in (litter.metabolic, litter.cellulose, litter.lignin))
        grown_ml = (1.0 - p["a_doc_ml"]) * p["eta_ml"] * ml
        grown_cl = (1.0 - p["a_doc_cl"]) * p["eta_cl_ll"] * cl
        grown_ll = (1.0 - p["a_soc_ll"]) * p["eta_cl_ll"] * ll
        u_mic = grown_ml + grown_cl + grown_ll
        u_doc = p["a_doc_ml"] * ml + p["a_doc_cl"] * cl
        u_soc = p["a_soc_ll"] * ll
        respired_litter = (
            (1.0 - p["a_doc_ml"]) * (1.0 - p["eta_ml"]) * ml
            + (1.0 - p["a_doc_cl"]) * (1.0 - p["eta_cl_ll"]) * cl
            + (1.0 - p["a_soc_ll"]) * (1.0 - p["eta_cl_ll"]) * ll
        )

        xi, thickness = env.soil, column.grid.thickness
        through_mic = (u_mic + p["eta_doc"] * (u_soc + u_doc)) / (1.0 - p["eta_doc"])
        # xi MIC, with 1 / k_mic = tau_mic tau_enz_prod / (tau_mic + tau_enz_prod)
        death = p["tau_enz_prod"] / (p["tau_mic"] + p["tau_enz_prod"])
        xi_mic = through_mic * p["tau_mic"] * death
        xi_enz = xi_mic * p["tau_enz_decay"] / p["tau_enz_prod"]
        mic, enz = ratio(xi_mic, xi), ratio(xi_enz, xi)
        into_soc = u_soc + p["a_soc_mic"] * death * through_mic
        assimilated = (u_mic + u_soc + u_doc) / (1.0 - p["eta_doc"])
        # How far the maximum rate exceeds the supply, for mineral SOC and DOC.
        spare_decom = xi_enz - into_soc * p["tau_decom"]
        spare_assim = xi_mic - assimilated * p["tau_assim"]
        km_decom, km_assim = p["km_decom"] * xi, p["km_assim"] * xi
        msoc = ratio(into_soc * p["tau_decom"] * km_decom, spare_decom)
        doc = ratio(assimilated * p["tau_assim"] * km_assim, spare_assim)
        empty = assimilated == 0.0
        feasible = (empty | ((spare_decom > 0.0) & (spare_assim > 0.0))).all() & ~litter.stuck

        # From the pools, so that the check of conservation is one.
        taken_up = ratio(xi_mic * doc, p["tau_assim"] * (km_assim + doc))
        co2 = respired_litter + (1.0 - p["eta_doc"]) * taken_up
        pools = jnp.stack(
            [
                p["tau_cwd"] * litter.cwd / thickness,
                p["tau_ml"] * litter.metabolic / thickness,
                p["tau_cl_ll"] * litter.cellulose / thickness,
                p["tau_cl_ll"] * litter.lignin / thickness,
                doc,
                mic / thickness,
                enz / thickness,
                msoc,
            ]
        )
        if self.published:
            feasible = feasible & (pools >= 0.0).all()
        return self.finish(pools, co2, feasible, column, self._published_rule(pools, empty, column))

    def _published_rule(
        self, pools: Float[Array, "pool layer"], empty: Bool[Array, " layer"], column: Column
    ) -> Int[Array, ""] | None:
        """Return the further reason for which the published code rejects a column, or None.

        It compares stocks over all layers. Where a layer receives nothing these are 0/0 there, the
        comparison is false, and the column passes.
        """
        if not self.published:
            return None
        stock = (pools[4:] * column.grid.thickness).sum(axis=1)
        too_many = (stock.sum() < MIN_SOIL_PER_MICROBE * stock[1]) & ~empty.any()
        return jnp.where(too_many, Reason.MOSTLY_MICROBES, Reason.FEASIBLE)

    def transfers(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Transfers:
        """Return the terms of P-Eq 2 and 6-8 at a state."""
        p = parameters
        env = self._environment(p, column)
        shares = self.input_shares(p, column)
        xi = env.soil
        doc, mic, enz, msoc = pools[4:]
        km_assim, km_decom = p["km_assim"] * xi, p["km_decom"] * xi
        ones = jnp.ones_like(xi)
        climate = climate_modifier_of_means if self.published else climate_modifier
        decay = jnp.stack(
            [
                ones / p["tau_cwd"],
                ones / p["tau_ml"],
                ones / p["tau_cl_ll"],
                ones / p["tau_cl_ll"],
                ratio(mic, p["tau_assim"] * (km_assim + doc)),
                ones * (1.0 / p["tau_mic"] + 1.0 / p["tau_enz_prod"]),
                ones / p["tau_enz_decay"],
                ratio(enz, p["tau_decom"] * (km_decom + msoc)),
            ]
        )
        death = p["tau_enz_prod"] / (p["tau_mic"] + p["tau_enz_prod"])
        return Transfers(
            input=jnp.zeros_like(pools)
            .at[:4]
            .set(column.litter_input[:, None] * shares / column.grid.thickness),
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
                ("ENZ", "MIC"): p["tau_mic"] / (p["tau_mic"] + p["tau_enz_prod"]),
                ("DOC", "ENZ"): jnp.asarray(1.0),
                ("DOC", "mSOC"): jnp.asarray(1.0),
            },
            transport=self.mixing(p, column),
            climate=climate(p["q10"], p["w_scaling"], jnp.asarray(EFOLDING), column),
            input_shares=shares,
            michaelis={"DOC": km_assim, "mSOC": km_decom},
        )

    def _environment(self, parameters: Values, column: Column) -> Environment:
        average = environment_of_means if self.published else environment
        p = parameters
        return average(p["q10"], p["w_scaling"], jnp.asarray(EFOLDING), column)
