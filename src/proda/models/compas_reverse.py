"""COMPAS with reverse Michaelis-Menten kinetics: the catalyst saturates, not the substrate.

Proposed in P-section 4.2; after Schimel and Weintraub 2003, Wutzler and Reichstein 2008, Tang
and Riley 2019. A catalyst C (enzyme, microbes) turns over a substrate S (mineral SOC, DOC) at

    xi C S / (tau (K_m xi + C))        instead of        xi C S / (tau (K_m xi + S)).

Where the catalyst is scarce, C << K_m xi, this is the multiplicative kinetics C S / (tau K_m), as
is the other rate where the substrate is scarce; where the catalyst is plentiful, this is
first-order decay, xi S / tau. As the rate is linear in S, at steady state S = F tau (K_m xi + C) /
(xi C) for any supply F: a steady state exists wherever there is catalyst.
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Array, Bool, Float

from proda.column.ratio import ratio
from proda.models.compas import COMPAS
from proda.models.microbial import MicrobialModel
from proda.parameters import Parameter, parameter_rows

_OURS = "docs/reverse_kinetics.md"

KINETICS = parameter_rows(
    _OURS,
    r"""
    km_assim  | K_{m,assim}  | g m-3 | 100.0 3000.0 | 1000.0 | K |  | microbes at half of the maximum assimilation
    tau_assim | \tau_{assim} | yr    | 0.001 0.1    | 0.027  | K |  | turnover of DOC where microbes abound
    tau_decom | \tau_{decom} | yr    | 0.0 50.0     | 9.15   | K |  | turnover of mineral SOC where enzyme abounds
    km_decom  | K_{m,decom}  | g m-3 | 1.0 30.0     | 10.0   | K |  | enzyme at half of the maximum decomposition
    """,  # noqa: E501
)
"""Defaults have COMPAS's tau K_m, so that both models agree where the catalyst is scarce."""


class COMPASReverse(MicrobialModel):
    """COMPAS whose reactions saturate as the catalyst occupies the substrate."""

    name: ClassVar[str] = "compas_reverse"
    title: ClassVar[str] = "COMPAS, reverse Michaelis-Menten kinetics, 8 pools x 20 layers"
    source: ClassVar[str] = "P-section 4.2; Schimel and Weintraub 2003; Tang and Riley 2019"
    saturated_by: ClassVar[tuple[str, str]] = ("MIC", "ENZ")
    rows: ClassVar[tuple[Parameter, ...]] = tuple(
        {own.name: own for own in KINETICS}.get(row.name, row) for row in COMPAS.rows
    )
    variants: ClassVar[tuple[str, ...]] = ("default",)

    def saturating(
        self, substrate: Float[Array, " layer"], catalyst: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Return the catalyst: the more of it there is, the less each gram turns over."""
        return catalyst

    def substrate(
        self,
        demand: Float[Array, " layer"],
        xi_catalyst: Float[Array, " layer"],
        km: Float[Array, " layer"],
        catalyst: Float[Array, " layer"],
    ) -> tuple[Float[Array, " layer"], Bool[Array, " layer"]]:
        """Return demand (km + catalyst) / (xi catalyst), wherever there is catalyst."""
        return ratio(demand * (km + catalyst), xi_catalyst), xi_catalyst > 0.0
