"""Further members of COMPAS's family: other kinetics, and death that grows with crowding.

Equations: docs/theory.md#further-members-of-compass-family. Shared code is in `microbial.py`; each
class below states only its difference from COMPAS. With catalyst C (enzyme, microbes) and substrate
S (mineral SOC, DOC) a reaction turns over

    multiplicative    xi C S / (tau K_m xi)              no saturation: tau K_m is one parameter
    ECA               xi C S / (tau (K_m xi + S + C))    both saturate (Tang and Riley 2013)

and with density-dependent death (Georgiou et al. 2017) microbes die at

    xi (MIC / tau_mic) (MIC / M0) ^ (beta - 1).
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from proda.column.newton import Balance, find_root
from proda.column.ratio import ratio
from proda.models.compas import COMPAS
from proda.models.microbial import MicrobialModel
from proda.models.model import Values
from proda.parameters import Parameter, parameter_rows

_OURS = "docs/theory.md"

PRODUCTS = parameter_rows(
    _OURS,
    r"""
    taukm_assim | \tau K_{m,assim} | g yr m-3 | 0.3 90.0  | 27.0  | K |  | microbes x time that assimilate DOC
    taukm_decom | \tau K_{m,decom} | g yr m-3 | 0.3 300.0 | 91.53 | K |  | enzyme x time that decompose mineral SOC
    """,  # noqa: E501
)
"""The product of COMPAS's tau and K_m; its prior is the range of the product under COMPAS's prior,
without 0."""

DEATH = parameter_rows(
    _OURS,
    r"""
    beta          | \beta | 1     | 1.0 2.0      | 1.5    | K | [1.0, inf) | exponent of death by density; 1 is COMPAS | Georgiou et al. 2017
    mic_reference | M_0   | g m-3 | 100.0 3000.0 | 1000.0 | K |            | microbes at which death is what it is in COMPAS
    """,  # noqa: E501
)


def _replaced(own: tuple[Parameter, ...], without: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    return tuple(row for row in COMPAS.rows if row.name not in without) + own


class COMPASMultiplicative(MicrobialModel):
    """COMPAS without saturation, which the study finds at most sites: the null hypothesis."""

    name: ClassVar[str] = "compas_multiplicative"
    title: ClassVar[str] = "COMPAS, multiplicative kinetics, 8 pools x 20 layers"
    source: ClassVar[str] = "P-section 4.2; Schimel and Weintraub 2003"
    saturated_by: ClassVar[tuple[str, ...]] = ()
    rows: ClassVar[tuple[Parameter, ...]] = _replaced(
        PRODUCTS, ("km_assim", "tau_assim", "km_decom", "tau_decom")
    )
    variants: ClassVar[tuple[str, ...]] = ("default",)

    def constants(self, parameters: Values) -> Values:
        """Return the parameters with the products as K_m, and tau = 1 yr."""
        one = jnp.asarray(1.0)
        return {
            **parameters,
            "tau_assim": one,
            "km_assim": parameters["taukm_assim"],
            "tau_decom": one,
            "km_decom": parameters["taukm_decom"],
        }

    def saturating(
        self, substrate: Float[Array, " layer"], catalyst: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Return 0: nothing saturates."""
        return jnp.zeros_like(substrate)

    def substrate(
        self,
        demand: Float[Array, " layer"],
        xi_catalyst: Float[Array, " layer"],
        km: Float[Array, " layer"],
        catalyst: Float[Array, " layer"],
    ) -> tuple[Float[Array, " layer"], Bool[Array, " layer"]]:
        """Return demand km / (xi catalyst), wherever there is catalyst."""
        return ratio(demand * km, xi_catalyst), xi_catalyst > 0.0


class COMPASECA(COMPAS):
    """COMPAS by the equilibrium chemistry approximation: substrate and catalyst both saturate."""

    name: ClassVar[str] = "compas_eca"
    title: ClassVar[str] = "COMPAS, equilibrium chemistry approximation, 8 pools x 20 layers"
    source: ClassVar[str] = "P-section 4.2; Tang and Riley 2013"
    variants: ClassVar[tuple[str, ...]] = ("default",)

    def saturating(
        self, substrate: Float[Array, " layer"], catalyst: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Return substrate and catalyst together."""
        return substrate + catalyst

    def substrate(
        self,
        demand: Float[Array, " layer"],
        xi_catalyst: Float[Array, " layer"],
        km: Float[Array, " layer"],
        catalyst: Float[Array, " layer"],
    ) -> tuple[Float[Array, " layer"], Bool[Array, " layer"]]:
        """Return demand (km + catalyst) / (xi catalyst - demand), where that is positive."""
        return super().substrate(demand, xi_catalyst, km + catalyst, catalyst)


class COMPASDensity(COMPAS):
    """COMPAS with a death rate of microbes that increases with their density."""

    name: ClassVar[str] = "compas_density"
    title: ClassVar[str] = "COMPAS, density-dependent death, 8 pools x 20 layers"
    source: ClassVar[str] = "Georgiou et al. 2017; P-section 2.3"
    rows: ClassVar[tuple[Parameter, ...]] = _replaced(DEATH)
    variants: ClassVar[tuple[str, ...]] = ("default",)

    def turnover_of_microbes(
        self, parameters: Values, mic: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Return tau_mic (M0 / MIC) ^ (beta - 1); where there are no microbes, tau_mic."""
        crowding = (
            jnp.where(mic > 0.0, mic, parameters["mic_reference"]) / parameters["mic_reference"]
        )
        return parameters["tau_mic"] * crowding ** (1.0 - parameters["beta"])

    def turnover_at_steady_state(
        self, parameters: Values, growth: Float[Array, " layer"], xi: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Find the microbes whose growth equals their losses by death and enzyme production."""

        def local(mic: Array, theta: Any) -> Balance:
            p, growth, xi = theta
            lost = xi * mic * (1.0 / self.turnover_of_microbes(p, mic) + 1.0 / p["tau_enz_prod"])
            return Balance(growth - lost, growth + lost)

        p = dict(parameters)
        most = ratio(growth * p["tau_mic"], xi) / p["mic_reference"]
        start = p["mic_reference"] * jnp.where(most > 0.0, most, 1.0) ** (1.0 / p["beta"])
        start = jnp.where(most > 0.0, start, 0.0)
        root = find_root(local, (p, growth, xi), start[None, :])
        return self.turnover_of_microbes(p, root.amounts[0])
