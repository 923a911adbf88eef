"""Settings of a projection: experiments, times and time steps."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from proda.settings_table import SettingsTable

IDEALISED = (
    "control",
    "plus_2K",
    "plus_4K",
    "input_plus_20",
    "input_double",
    "input_none",
    "plus_4K_input_plus_20",
    "priming",
)
"""The default idealised experiments; each also exists as a ramp."""
CHUNK = 2048
"""Land cells that are computed together: half as many as for maps, because every time step is
kept."""
TIMES = (10.0, 50.0, 100.0)
FIRST_STEP, GROWTH, LONGEST_STEP = 0.1, 1.5, 4.0
"""First step after a sudden change (years), growth from step to step, longest step (years).

Chosen by measured error, `docs/projections.md#steps-and-their-error`."""


class ProjectionSettings(SettingsTable):
    """Settings of a projection."""

    experiments: tuple[str, ...] = Field(
        IDEALISED,
        description="Idealised experiments by name; NAME_ramp changes over 100 years instead of "
        "at once.",
    )
    anomalies: tuple[Path, ...] = Field(
        (), description="Files of anomalies by year (and month), one experiment each."
    )
    warming: Path | None = Field(
        None, description="CSV of global warming (year, warming in K), to be multiplied by pattern."
    )
    pattern: Path | None = Field(
        None, description="netCDF of local warming (K) for each K of global warming, with warming."
    )
    times: tuple[float, ...] = Field(
        TIMES, description="Years after the start at which results are kept."
    )
    members: int | None = Field(
        None,
        ge=1,
        description="Use at most this many members of an ensemble; without it all members.",
    )
    every: int = Field(
        1, ge=1, description="Use every n-th row and column of the grid, as a sample of the land."
    )
    first_step: float = Field(
        FIRST_STEP, gt=0.0, description="First time step after a sudden change, years."
    )
    growth: float = Field(GROWTH, ge=1.0, description="Growth of the time step from step to step.")
    longest_step: float = Field(LONGEST_STEP, gt=0.0, description="Longest time step, years.")
    default: bool = Field(
        True,
        description="Project the default parameters too, for comparison with the constrained ones.",
    )
    chunk: int = Field(
        CHUNK, ge=1, description="Cells computed together; memory grows with their number."
    )

    @field_validator("times")
    @classmethod
    def _in_order(cls, times: tuple[float, ...]) -> tuple[float, ...]:
        if not times or min(times) <= 0.0 or list(times) != sorted(set(times)):
            raise ValueError("give one or more years above 0, each later than the one before")
        return times

    @model_validator(mode="after")
    def _together(self) -> ProjectionSettings:
        if (self.warming is None) != (self.pattern is None):
            raise ValueError("give both warming and pattern, or neither")
        return self
