"""study.json: the finished stages of a study, their inputs, versions and cost."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import jax
import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proda import faults
from proda.errors import StudyError
from proda.files import whole_file
from proda.layout import RunFolder
from proda.machine import cores

FORMAT = 1
PACKAGES = (
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "xarray",
    "zarr",
    "netCDF4",
    "pandas",
    "equinox",
    "optax",
    "blackjax",
    "scikit-learn",
    "matplotlib",
    "distributed",
)

Status = Literal["begun", "done"]


class StageRecord(BaseModel):
    """The record of one stage."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    depends_on: dict[str, str]
    """Its dependencies: settings as JSON, SHA-256 of files and of earlier stages."""
    begun: str
    finished: str | None = None
    seconds: float = 0.0
    """Wall time over all attempts."""
    peak_memory_bytes: int = 0
    """Peak memory of this process and its children."""
    disk_bytes: int = 0
    outputs: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Size in bytes and time of change (ns) of each output, to detect later changes."""
    note: str = ""
    """Short description of the result."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all dependencies of the stage."""
        return hashlib.sha256(json.dumps(self.depends_on, sort_keys=True).encode()).hexdigest()


class Record(BaseModel):
    """The content of study.json."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    name: str
    synthetic: bool
    proda_version: str
    packages: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    models: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Models from outside the package: the place of their class, and the SHA-256 of its file."""
    checksums: dict[str, tuple[int, int, str]] = Field(default_factory=dict)
    """Size, time of change and SHA-256 of the input files, to avoid reading them again."""


def read_record(folder: Path) -> Record:
    """Read study.json, or return a new record if there is none.

    Raises
    ------
    StudyError
        If the file was not written by this version.
    """
    path = RunFolder(folder).record_file
    if not path.is_file():
        return Record(name="", synthetic=False, proda_version="")
    try:
        record = Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StudyError(
            f"{path}: damaged, or not written by this version of proda: "
            f"{faults.say(error, Record)}. Run the study in a new folder."
        ) from error
    if record.format != FORMAT:
        raise StudyError(f"{path}: format {record.format}; this version writes {FORMAT}.")
    return record


def write_record(folder: Path, record: Record) -> None:
    """Write study.json, completely or not at all."""
    with whole_file(RunFolder(folder).record_file) as temporary:
        text = json.dumps(record.model_dump(mode="json"), indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def describe(record: Record, name: str, synthetic: bool, models: dict[str, dict[str, str]]) -> None:
    """Record name, versions and machine, and the attributes of models from outside the package."""
    record.models = models
    record.name, record.synthetic = name, synthetic
    record.proda_version = version("proda")
    record.packages = {package: version(package) for package in PACKAGES}
    record.machine = {
        "system": platform.system(),
        "python": platform.python_version(),
        "processors": cores(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "device": jax.devices()[0].device_kind,
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
