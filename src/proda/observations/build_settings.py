"""Choices of `proda profiles build` that do not depend on the sources."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BuildSettings(BaseModel):
    """Bulk density where it is missing, and the land mask."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    pedotransfer: Literal["paper", "refit"] | tuple[float, float, float] = Field(
        "refit",
        description="Bulk density where it is missing: refit (constants fitted to all layers that "
        "have both), paper (the paper's constants), or in a file alpha, beta (g cm-3) and gamma "
        "(kg g-1, OM in g kg-1).",
    )
    land_mask: Path | None = Field(
        None,
        description="File with land_fraction or land_mask (netCDF or Zarr), to reject profiles in "
        "the sea; without it no profile is rejected as in the sea.",
    )
    land_mask_variable: str | None = Field(
        None, description="Its variable, positive on land; default land_fraction or land_mask."
    )
