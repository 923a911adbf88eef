"""How forcing is estimated from climate, and how forcing and covariates of sites are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from proda.settings_table import SettingsTable

W_FLOOR = 0.05
"""Minimum of the water scalar: carbon in a soil that is frozen or dry all year still decomposes,
and has a steady state."""

LIMIT_KM = 100.0
"""A half-degree cell's centre is at most 39 km from any of its points; this adds one neighbour."""


class ClimateSettings(SettingsTable):
    """How forcing is estimated from annual climate."""

    w_floor: float = Field(
        W_FLOOR,
        ge=0.0,
        le=1.0,
        description="Minimum of the water scalar; keeps a steady state in frozen soil.",
    )
    rules: Literal["standard", "science9"] = Field(
        "standard", description="Rules of the estimate: standard, or science9 (the first version)."
    )
    drainage: Path | None = Field(
        None,
        description="File on the same grid with drainage_class, from which oxygen in wet soil "
        "follows; covariates may have it.",
    )


class NearestSettings(SettingsTable):
    """How a site gets the values of a grid."""

    limit_km: float = Field(
        LIMIT_KM, gt=0.0, description="Leave out sites farther from the centre of any cell."
    )
