"""The players: components of a model, and the parameters that belong to each."""

from __future__ import annotations

from collections.abc import Mapping

from proda.models.model import SoilModel

COMPONENTS = ("CTE", "K", "XI", "V", "B", "I")
"""Transfer efficiency, baseline decomposition, modifier, transport, allocation, and input."""

INPUT = "I"
"""The only component that is forcing instead of parameters."""

_OF_PARAMETERS = {"A": "CTE", "CUE": "CTE", "K": "K", "xi": "XI", "V": "V", "B": "B"}

STRUCTURE = "CTE, K, structure"
"""What two models do not have in common: pools, kinetics and the parameters of both."""
SHARED = ("XI", "V", "B")
"""Components whose parameters may have the same names in two models."""

PUBLISHED = ("CUE", "transfer", "K", "XI", "V", "B")
"""Groups of Tao et al. (2023, Nature 618, 981-985); `transfer` is non-microbial."""
_ASSIMILATION = ("tau_assim", "km_assim")
"""Parameters of microbial uptake, which that study counts with carbon use efficiency."""


def components_of(model: SoilModel) -> dict[str, str]:
    """Return the component of each parameter."""
    return {row.name: _OF_PARAMETERS[row.component] for row in model.rows}


def published_groups(model: SoilModel) -> dict[str, str]:
    """Return the published group of each parameter.

    As in the paper, the transfer fractions of a model without efficiencies (CLM5) count as CUE.
    """
    explicit = any(row.component == "CUE" for row in model.rows)
    groups = {}
    for row in model.rows:
        group = _OF_PARAMETERS[row.component]
        if group == "CTE":
            group = "CUE" if row.component == "CUE" or not explicit else "transfer"
        groups[row.name] = "CUE" if row.name in _ASSIMILATION else group
    return groups


def shared_parameters(first: SoilModel, second: SoilModel) -> Mapping[str, str]:
    """Return the parameters of XI, V and B that both models have by the same name and meaning."""
    a, b = components_of(first), components_of(second)
    units = {row.name: row.unit for row in second.rows}
    return {
        row.name: a[row.name]
        for row in first.rows
        if a[row.name] in SHARED and b.get(row.name) == a[row.name] and units[row.name] == row.unit
    }
