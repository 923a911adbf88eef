"""COMPAS whose soil pools mix with depth as its litter does, and as CLM5's soil pools do.

Published COMPAS mixes litter only: carbon enters a layer of soil only as litter, and soil below the
roots is empty. That is a second difference from CLM5, besides the kinetics. This variant, which is
not published, removes it: equations, parameters and rates of mixing are COMPAS's, and DOC,
microbes, enzyme and mineral SOC mix too (docs/theory.md#compas-with-mixed-soil).

The layers are then coupled, and there is no closed form: the general steady state is computed.
"""

from __future__ import annotations

from typing import ClassVar

from proda.column.column import Column
from proda.models.compas import COMPAS
from proda.models.general import general_steady_state
from proda.models.model import SteadyState, Values


class COMPASMixed(COMPAS):
    """COMPAS in which all soil pools mix: bioturbation and frost move soil with its contents."""

    name: ClassVar[str] = "compas_mixed"
    title: ClassVar[str] = "COMPAS with mixed soil pools, 8 pools x 20 layers"
    source: ClassVar[str] = "P-section 2.3; docs/theory.md"
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL", "DOC", "MIC", "ENZ", "mSOC")
    variants: ClassVar[tuple[str, ...]] = ("default",)

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Return the general steady state."""
        return general_steady_state(self, parameters, column)


class COMPASMixedSubstrates(COMPASMixed):
    """The same model, in which DOC and mineral SOC mix, but microbes and enzyme do not.

    Not in the registry: name it by its place, `proda.models.compas_mixed:COMPASMixedSubstrates`.
    """

    name: ClassVar[str] = "compas_mixed_substrates"
    title: ClassVar[str] = "COMPAS with mixed DOC and mineral SOC, 8 pools x 20 layers"
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL", "DOC", "mSOC")
