"""Checkpoints: arrays and a little text in one file, whole and checked, or refused by name."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from proda.errors import FileError
from proda.files import reading, whole_file

_MAGIC = b"proda checkpoint 1\n"


def write(path: str | os.PathLike[str], header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Write arrays with a header; an older file at `path` stays until the new one is whole.

    Raises
    ------
    FileError
        If the disk is full or not writable.
    """
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    payload = buffer.getbuffer()
    head = json.dumps(header | {"sha256": hashlib.sha256(payload).hexdigest()}).encode() + b"\n"
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC)
        file.write(head)
        file.write(payload)


def read(path: str | os.PathLike[str], expected: dict[str, Any]) -> tuple[dict[str, Any], list]:
    """Read a checkpoint.

    Parameters
    ----------
    path
        The file.
    expected
        Entries that its header must have, with these values.

    Returns
    -------
    header, arrays

    Raises
    ------
    FileError
        If it is cut short, damaged, or of another run; it says which.
    """
    with reading(path, "checkpoint"):
        content = Path(path).read_bytes()
    if not content.startswith(_MAGIC) or b"\n" not in content[len(_MAGIC) :]:
        raise FileError(f"{path}: not a checkpoint of this version, or cut short.")
    head, payload = content[len(_MAGIC) :].split(b"\n", 1)
    try:
        header = dict(json.loads(head))
    except (ValueError, TypeError, RecursionError) as error:
        raise FileError(f"{path}: its header is damaged.") from error
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise FileError(f"{path}: cut short or damaged (checksum mismatch).")
    for name, value in expected.items():
        if header.get(name) != value:
            raise FileError(f"{path}: of another run ({name} differs).")
    with (
        reading(path, "checkpoint"),
        np.load(io.BytesIO(payload), allow_pickle=False) as loaded,
    ):
        return header, [loaded[f"arr_{i}"] for i in range(len(loaded.files))]
