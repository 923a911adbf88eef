"""study.json: what is done of a study, from what, by which versions, at what cost."""

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
    """What is known of one stage."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    depends_on: dict[str, str]
    """All that it depends on: settings as JSON, SHA-256 of files and of the stages before it."""
    begun: str
    finished: str | None = None
    seconds: float = 0.0
    """Wall time, over all the runs that it took."""
    peak_memory_bytes: int = 0
    """Most memory at a time, of this process and its children."""
    disk_bytes: int = 0
    outputs: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Each output's size in bytes and time of change (ns), to see that it is still what it was."""
    note: str = ""
    """What came out, in a few words."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the stage depends on."""
        return hashlib.sha256(json.dumps(self.depends_on, sort_keys=True).encode()).hexdigest()


class Record(BaseModel):
    """What study.json holds."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    name: str
    synthetic: bool
    proda_version: str
    packages: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    models: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Of models from outside the package: where their class is, and the SHA-256 of its file."""
    checksums: dict[str, tuple[int, int, str]] = Field(default_factory=dict)
    """Size, time of change and SHA-256 of the files read, so as not to read them again."""


def read_record(folder: Path) -> Record:
    """Read study.json; a new record where there is none.

    Raises
    ------
    StudyError
        If the file is not what this version writes.
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
    """Write study.json, whole or not at all."""
    with whole_file(RunFolder(folder).record_file) as temporary:
        text = json.dumps(record.model_dump(mode="json"), indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def describe(record: Record, name: str, synthetic: bool, models: dict[str, dict[str, str]]) -> None:
    """Enter what runs where, with the attributes of models from outside the package, by name."""
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
