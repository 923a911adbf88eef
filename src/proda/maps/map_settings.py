"""How maps are computed."""

from __future__ import annotations

from pydantic import Field

from proda.default_b import MEAN_B
from proda.settings_table import SettingsTable

CHUNK = 4096
"""Land cells that are computed together."""


class MapSettings(SettingsTable):
    """What a map with default parameters takes for b, and how many cells are computed together."""

    b: float | None = Field(
        None,
        description=f"Depth profile of carbon input of CLM5's default map; without it {MEAN_B}, "
        "the mean over all vegetation.",
    )
    chunk: int = Field(
        CHUNK, ge=1, description="Cells computed together; memory grows with their number."
    )
    ages: bool = Field(
        False, description="Add the mean ages of carbon, by depth and by pool, to maps."
    )
