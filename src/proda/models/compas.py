"""COMPAS: microbes and enzymes with Michaelis-Menten kinetics, 8 pools in 20 layers.

P-section 2.3; docs/theory.md#compas.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.microbial import MicrobialModel
from proda.models.model import Reason
from proda.parameters import Parameter, fraction

MIN_SOIL_PER_MICROBE = 10.0
"""The published code rejects a column with less soil carbon than this many times its microbes."""

_S = "P-Table S2"


class COMPAS(MicrobialModel):
    """CarbOn cycle and Microbial PArtitioning Soil model, microbes explicit."""

    name: ClassVar[str] = "compas"
    title: ClassVar[str] = "COMPAS: Michaelis-Menten kinetics, 8 pools x 20 layers"
    source: ClassVar[str] = "Allison et al. 2010; Tao et al. 2023; P-section 2.3"
    saturated_by: ClassVar[tuple[str, str]] = ("DOC", "mSOC")
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

    def saturating(
        self, substrate: Float[Array, " layer"], catalyst: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Return the substrate: the more of it, the smaller the share that is turned over."""
        return substrate

    def substrate(
        self,
        demand: Float[Array, " layer"],
        xi_catalyst: Float[Array, " layer"],
        km: Float[Array, " layer"],
        catalyst: Float[Array, " layer"],
    ) -> tuple[Float[Array, " layer"], Bool[Array, " layer"]]:
        """Return demand km / (xi catalyst - demand); no substrate suffices for a greater demand."""
        spare = xi_catalyst - demand
        return ratio(demand * km, spare), spare > 0.0

    def further_reason(
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
