"""COMPAS: microbes and enzymes with Michaelis-Menten kinetics, 8 pools in 20 layers.

P-section 2.3; docs/theory.md#compas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.microbial import MicrobialModel
from proda.models.model import Reason
from proda.parameters import Parameter, parameter_rows

MIN_SOIL_PER_MICROBE = 10.0
"""The published code rejects a column with less soil carbon than this many times its microbes."""
MOSTLY_MICROBES = 3
"""Its reason code."""

_S = "P-Table S2"


class COMPAS(MicrobialModel):
    """CarbOn cycle and Microbial PArtitioning Soil model, microbes explicit."""

    name: ClassVar[str] = "compas"
    title: ClassVar[str] = "COMPAS: Michaelis-Menten kinetics, 8 pools x 20 layers"
    source: ClassVar[str] = "Allison et al. 2010; Tao et al. 2023; P-section 2.3"
    saturated_by: ClassVar[tuple[str, str]] = ("DOC", "mSOC")
    own_reasons: ClassVar[Mapping[int, str]] = {MOSTLY_MICROBES: "mostly_microbes"}
    rows: ClassVar[tuple[Parameter, ...]] = parameter_rows(
        _S,
        r"""
        eta_doc       | \eta_{DOC}       | 1       | 0.01 0.7     | 0.27    | CUE | [0, 1]     | carbon use efficiency of DOC assimilation
        eta_ml        | \eta_{ML}        | 1       | 0.4 0.9      | 0.66    | CUE | [0, 1]     | carbon use efficiency of metabolic litter
        eta_cl_ll     | \eta_{CL-LL}     | 1       | 0.0 0.4      | 0.16    | CUE | [0, 1]     | carbon use efficiency of cellulose and lignin litter
        km_assim      | K_{m,assim}      | g m-3   | 300.0 3000.0 | 1.8e3   | K   |            | DOC at half of the maximum assimilation
        tau_assim     | \tau_{assim}     | yr      | 0.001 0.03   | 0.015   | K   |            | inverse of the maximum rate of DOC assimilation
        tau_decom     | \tau_{decom}     | yr      | 0.0 3e-4     | 1.62e-4 | K   |            | inverse of the maximum rate of SOC decomposition
        km_decom      | K_{m,decom}      | g m-3   | 1e5 1e6      | 5.65e5  | K   |            | mineral SOC at half of the maximum decomposition
        tau_enz_prod  | \tau_{ENZ,prod}  | yr      | 15.0 30.0    | 22.0    | K   |            | turnover of microbes by enzyme production
        tau_ml        | \tau_{ML}        | yr      | 0.0 0.1      | 0.049   | K   |            | turnover of metabolic litter
        tau_cwd       | \tau_{CWD}       | yr      | 1.0 6.0      | 3.5     | K   |            | turnover of coarse woody debris
        tau_cl_ll     | \tau_{CL-LL}     | yr      | 0.1 0.3      | 0.2     | K   |            | turnover of cellulose and lignin litter
        tau_enz_decay | \tau_{ENZ,decay} | yr      | 0.001 1.0    | 0.04    | K   |            | turnover of enzyme
        tau_mic       | \tau_{MIC}       | yr      | 0.0 2.0      | 1.1     | K   |            | turnover of microbes by death
        a_soc_mic     | a_{SOC,MIC}      | 1       | 0.0 1.0      | 0.47    | A   | [0, 1]     | dead microbes to mineral SOC
        a_cl_cwd      | a_{CL,CWD}       | 1       | 0.5 1.0      | 0.75    | A   | [0, 1]     | coarse woody debris to cellulose litter
        a_doc_ml      | a_{DOC,ML}       | 1       | 0.0 0.1      | 0.05    | A   | [0, 1]     | metabolic litter to DOC
        a_doc_cl      | a_{DOC,CL}       | 1       | 0.05 0.3     | 0.17    | A   | [0, 1]     | cellulose litter to DOC
        a_soc_ll      | a_{SOC,LL}       | 1       | 0.6 0.95     | 0.78    | A   | [0, 1]     | lignin litter to mineral SOC
        w_scaling     | w                | 1       | 0.0 5.0      | 2.9     | xi  |            | scaling of the water scalar
        q10           | Q_{10}           | 1       | 1.2 3.0      | 2.1     | xi  | [0.1, inf) | factor by which 10 K more speed up decomposition
        cryo          | D_c              | m2 yr-1 | 3e-5 16e-4   | 0.0008  | V   |            | cryoturbation rate
        diffus        | D_b              | m2 yr-1 | 3e-5 5e-4    | 0.00026 | V   |            | bioturbation rate
        b             | b                | 1       | 0.5 0.9999   | 0.72    | B   | (0, 1)     | depth profile of carbon input
        """,  # noqa: E501
    )

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
        """Return demand km / (xi catalyst - demand); a larger demand exceeds the maximum rate."""
        spare = xi_catalyst - demand
        return ratio(demand * km, spare), spare > 0.0

    def further_reason(
        self, pools: Float[Array, "pool layer"], empty: Bool[Array, " layer"], column: Column
    ) -> Int[Array, ""] | None:
        """Return the further reason for which the published code rejects a column, or None.

        The code compares stocks over all layers. In a layer that receives no carbon they are 0/0;
        the comparison is then false, and the column passes.
        """
        if not self.published:
            return None
        stock = (pools[4:] * column.grid.thickness).sum(axis=1)
        too_many = (stock.sum() < MIN_SOIL_PER_MICROBE * stock[1]) & ~empty.any()
        return jnp.where(too_many, MOSTLY_MICROBES, Reason.FEASIBLE)
