"""Arrays with a header in one file, written completely and checked when they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from proda import files
from proda.checksums import digest
from proda.errors import FileError

_HEADER = "header"


def versions() -> dict[str, str]:
    """Versions of the packages on which the numbers depend."""
    return {name: version(name) for name in ("proda", "jax", "equinox", "optax")}


def write_archive(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> str:
    """Write a header (plain values) and arrays as .npz; return the checksum of the arrays.

    Raises
    ------
    FileError
        If it cannot be written; an older file is then kept unchanged.
    """
    checksum = _checksum(arrays)
    text = json.dumps({**header, "checksum": checksum}, sort_keys=True)
    data: dict[str, Any] = {_HEADER: np.array(text), **arrays}
    with files.whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **data)
    return checksum


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read header and arrays.

    Raises
    ------
    FileError
        If the file is absent, cut short or changed since it was written.
    """
    if not Path(path).is_file():
        raise FileError(f"{path}: there is no such file.")
    what = "proda network file"
    arrays = files.read_npz(path, what)
    with files.reading(path, what, advice="Copy it again or train again."):
        header = json.loads(str(arrays.pop(_HEADER)))
    if not isinstance(header, dict) or header.get("checksum") != _checksum(arrays):
        raise FileError(
            f"{path}: its checksum does not match its content; copy it again or train again."
        )
    return header, arrays


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    names = sorted(arrays)
    return digest(np.array(names), *(arrays[name] for name in names))
