"""The table of public data sets that `proda get` knows, which users extend with their own file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files as package_files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from proda import faults
from proda.errors import DownloadError
from proda.files import parse_toml

ENVIRONMENT = "PRODA_CATALOGUE"
"""Environment variable with the path of a further table."""


class RemoteFile(BaseModel):
    """One file of a data set: its address, its name, and how to verify it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    size: int | None = Field(default=None, gt=0)
    """Bytes, where known."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")


class DataSource(BaseModel):
    """A public data set: what it is, its terms, its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    licence: str
    citation: str
    homepage: str = ""
    note: str = ""
    files: tuple[RemoteFile, ...] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _names_differ(cls, files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
        names = [f.name for f in files]
        if len(set(names)) != len(names):
            raise ValueError("two files have the same name")
        return files


def catalogue(further: Iterable[str | os.PathLike[str]] = ()) -> dict[str, DataSource]:
    """Read the table shipped with the package, that of $PRODA_CATALOGUE, and `further` ones.

    A later table's data set replaces an earlier one of the same name.

    Raises
    ------
    DownloadError
        Naming the file, the data set and the entry that is wrong.
    """
    sources = _read(
        package_files("proda.drivers").joinpath("catalogue.toml").read_text("utf-8"),
        "the catalogue of the package",
    )
    paths = [Path(p) for p in further]
    if own := os.environ.get(ENVIRONMENT):
        paths.insert(0, Path(own))
    for path in paths:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DownloadError(f"{path}: the catalogue cannot be read ({error}).") from error
        sources |= _read(text, str(path))
    return sources


def _read(text: str, where: str) -> dict[str, DataSource]:
    content = parse_toml(text.encode(), where, DownloadError)
    sources = {}
    for name, entry in content.items():
        try:
            sources[name] = DataSource.model_validate(entry)
        except ValidationError as error:
            message = faults.say(error, DataSource, name)
            raise DownloadError(f"{where}: [{name}] is not understood: {message}.") from error
    return sources
