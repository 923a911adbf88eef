"""The counts of a build: rows read, rows kept, and the reasons for rejections."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proda.checksums import file_digest
from proda.errors import FileError, ObservationError
from proda.observations.quality_rules import LAYER_REASONS, PROFILE_REASONS
from proda.observations.schema import (
    LAYER_COLUMNS,
    PROFILE_COLUMNS,
    REJECTED_COLUMNS,
    read_table,
)

KEPT = "kept"


class Count(BaseModel):
    """Number of profiles or layers of a group with one outcome.

    `group` is the collection where the source pools several, else the source. `by` is "profile" for
    layers rejected with their profile.
    """

    level: str
    source: str
    group: str
    by: str
    reason: str
    n: int


class Fit(BaseModel):
    """One pedotransfer function and how well it fits all layers that have both (g cm-3)."""

    name: str
    alpha: float
    beta: float
    gamma: float
    r2: float
    rmse: float
    bias: float
    log_rms: float
    organic_ratio: float | None
    n_organic: int
    n: int
    errors: tuple[float, ...] = ()


class Summary(BaseModel):
    """Contents of `summary.json`."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(default_factory=lambda: version("proda"))
    settings: dict[str, Any]
    land_mask: str | None
    counts: list[Count]
    given: dict[str, dict[str, int]]
    density_origin: dict[str, dict[str, int]]
    pedotransfer: str
    constants: tuple[float, float, float]
    fits: list[Fit]
    notes: list[str]
    tables: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each table that was written with it, by file name."""

    def check(self) -> None:
        """Compare the number of rows read with the number of outcomes.

        Raises
        ------
        ObservationError
            If a row was lost or counted twice, which is an error in this package.
        """
        for level in ("profile", "layer"):
            for source, n in self.given.get(level, {}).items():
                fates = sum(c.n for c in self.counts if (c.level, c.source) == (level, source))
                if fates != n:
                    raise ObservationError(
                        f"{source}: {n} {level}s were read, but {fates} are accounted for. "
                        "Please report this fault."
                    )

    def total(self, level: str, reason: str | None = None) -> int:
        """Return the number of profiles or layers, in total or with one outcome."""
        return sum(c.n for c in self.counts if c.level == level and reason in (None, c.reason))

    def table(self, level: str) -> pd.DataFrame:
        """Return counts by reason (rows, in the order of the rules) and group (columns).

        Layers rejected with their profile have the row "with profile: reason".
        """
        order = [*LAYER_REASONS] if level == "layer" else [*PROFILE_REASONS]
        rows = [
            (c.reason if c.by == level else f"with profile: {c.reason}", c.group, c.n)
            for c in self.counts
            if c.level == level
        ]
        frame = pd.DataFrame(rows, columns=["reason", "group", "n"])
        table = frame.pivot_table(
            index="reason", columns="group", values="n", aggfunc="sum", fill_value=0
        )
        names = [*order, *(f"with profile: {name}" for name in PROFILE_REASONS), KEPT]
        table = table.reindex([name for name in names if name in table.index])
        table.insert(0, "all", table.sum(axis=1))
        table.loc["read"] = table.sum()
        return table.astype(int)


def read_summary(folder: str | os.PathLike[str]) -> Summary:
    """Read the summary.json of a build.

    Raises
    ------
    FileError
        If it is absent or of another version.
    """
    path = Path(folder) / "summary.json"
    if not path.is_file():
        raise FileError(f"{path}: there is no such file; `proda profiles build` writes it.")
    try:
        return Summary.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise FileError(
            f"{path}: not a summary of this version of proda ({error.error_count()} faults); "
            "build the profiles again."
        ) from error


def verify(built: Summary, folder: str | os.PathLike[str]) -> None:
    """Compare the counts with the rows of the tables beside them, and the tables' checksums.

    Raises
    ------
    FileError
        If a table is absent, has a different number of rows, or was not written with this
        summary.
    """
    rejected = read_table(Path(folder) / "rejected.parquet", REJECTED_COLUMNS, ["level"])["level"]
    tables = {"profile": ("profiles", PROFILE_COLUMNS), "layer": ("layers", LAYER_COLUMNS)}
    for level, (name, columns) in tables.items():
        kept = len(read_table(Path(folder) / f"{name}.parquet", columns, ["profile_id"]))
        left_out = int((rejected == level).sum())
        for what, rows, counted in (
            (f"{name}.parquet", kept, built.total(level, KEPT)),
            (
                f"rejected.parquet ({level}s)",
                left_out,
                built.total(level) - built.total(level, KEPT),
            ),
        ):
            if rows != counted:
                raise FileError(
                    f"{folder}: {what} holds {rows:,} rows, but summary.json counts {counted:,}; "
                    "the files are not from one build. Build the profiles again."
                )
    for name, expected in built.tables.items():
        if file_digest(Path(folder) / name) != expected:
            raise FileError(
                f"{folder}: {name} is not the table that was written with summary.json; the files "
                "are not from one build, or one was changed. Build the profiles again."
            )


def read_build(
    folder: str | os.PathLike[str], layer_columns: Sequence[str] | None = None
) -> tuple[Summary, pd.DataFrame, pd.DataFrame]:
    """Read a build and make sure that its files belong together.

    Parameters
    ----------
    folder
        Where `build` wrote.
    layer_columns
        The columns of the layers that are needed; by default all.

    Returns
    -------
    summary, profiles, layers

    Raises
    ------
    FileError
        As `verify`.
    """
    built = read_summary(folder)
    verify(built, folder)
    profiles = read_table(Path(folder) / "profiles.parquet", PROFILE_COLUMNS)
    return (
        built,
        profiles,
        read_table(Path(folder) / "layers.parquet", LAYER_COLUMNS, layer_columns),
    )
