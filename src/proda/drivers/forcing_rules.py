"""Named sets of the rules by which forcing is estimated from climate (docs/drivers.md)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from proda import files
from proda.drivers.soil_physics import PSI_MIN_DECOMPOSERS_MPA, PSI_MIN_MPA
from proda.errors import ForcingError


@dataclass(frozen=True)
class ClimateRules:
    """Which rules estimate the forcing; each has a source in `docs/drivers.md`.

    Attributes
    ----------
    winter_snow
        Snow damps only the winter half of the annual wave (freezing n-factor); otherwise all of it.
    stefan_active_layer
        The active layer is at least that of Stefan's equation for the thawing index of the air.
    psi_min_mpa
        Potential at which decomposition ends in dry soil, MPa.
    npp_floor
        NPP is at least this share of the Miami model's; 0 takes NPP as it is.
    drainage_oxygen
        Oxygen follows the drainage class, where the climate has one.
    """

    winter_snow: bool = True
    stefan_active_layer: bool = True
    psi_min_mpa: float = PSI_MIN_DECOMPOSERS_MPA
    npp_floor: float = 0.25
    drainage_oxygen: bool = True


RULES = {
    "standard": ClimateRules(),
    "science9": ClimateRules(
        winter_snow=False,
        stefan_active_layer=False,
        psi_min_mpa=PSI_MIN_MPA,
        npp_floor=0.0,
        drainage_oxygen=False,
    ),
}
"""`standard` is the default; `science9` the first version, kept for comparison."""


def rules_named(name: str) -> ClimateRules:
    """Return the rules of that name.

    Raises
    ------
    ForcingError
        If there are no such rules.
    """
    if name not in RULES:
        raise ForcingError(f"Unknown rules {name!r}; choose one of {', '.join(RULES)}.")
    return RULES[name]


def rules_of(forcing: str | os.PathLike[str]) -> str:
    """Return the rules of the estimate that a file states, without counts of cells.

    Empty if its forcing was not estimated.
    """
    with files.open_dataset(forcing) as opened:
        name = str(opened.attrs.get("rules", ""))
    return re.sub(r", which raised [\d.]+% of cells|; [\d,]+ cells without one have 1", "", name)
