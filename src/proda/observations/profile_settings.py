"""Settings of a build: sources and rules, from a TOML file that is checked when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from proda import faults
from proda.errors import ObservationError
from proda.files import read_toml
from proda.observations.build_settings import BuildSettings
from proda.observations.pedotransfer import PAPER, Pedotransfer
from proda.observations.quality_rules import Rules
from proda.observations.readers import AnySource

_PATHS = ("folder", "file", "layers_file", "profiles_file")


class ProfileSettings(BuildSettings):
    """All settings of `proda profiles build`."""

    source: tuple[AnySource, ...] = Field(
        min_length=1, description="The sources, the most reliable first."
    )
    rules: Rules = Field(
        default_factory=lambda: Rules.model_validate({}),
        description="Limits and choices of the rules.",
    )

    @model_validator(mode="after")
    def _names(self) -> ProfileSettings:
        names = [source.name for source in self.source]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are named {', '.join(twice)}; give each a unique name")
        return self

    def curve(self) -> Pedotransfer | None:
        """Return the pedotransfer function, or None where it is to be fitted."""
        if self.pedotransfer == "refit":
            return None
        if self.pedotransfer == "paper":
            return PAPER
        return Pedotransfer(*self.pedotransfer, name="settings")


def from_mapping(
    values: Mapping[str, Any], where: str, base: Path | None = None
) -> ProfileSettings:
    """Check settings; relative paths are relative to `base`.

    Raises
    ------
    ObservationError
        Naming each setting that is wrong, and how.
    """
    parsed = {**values}
    if base is not None:
        if isinstance(parsed.get("land_mask"), str):
            parsed["land_mask"] = base / parsed["land_mask"]
        sources = parsed.get("source")
        if isinstance(sources, list):
            parsed["source"] = [
                {k: base / v if k in _PATHS and isinstance(v, str) else v for k, v in s.items()}
                if isinstance(s, Mapping)
                else s
                for s in sources
            ]
    try:
        return ProfileSettings.model_validate(parsed)
    except ValidationError as error:
        raise ObservationError(f"{where}: {faults.say(error, ProfileSettings)}.") from error


def read_settings(path: str | os.PathLike[str]) -> ProfileSettings:
    """Read a TOML file.

    Raises
    ------
    ObservationError
        If it is absent, not TOML, or a setting is wrong.
    """
    target = Path(path)
    values = read_toml(target, ObservationError)
    return from_mapping(values, str(target), target.parent)
