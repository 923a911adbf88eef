"""Finished parts of a map on disk: whole files with settings and checksum, so that a run resumes.

A chunk is two files: `chunk-00000.npz`, and then `chunk-00000.json` with its checksum and the
settings of the run. A chunk counts only if both are there and agree.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proda.errors import FileError
from proda.files import read_json, whole_file


@dataclass(frozen=True)
class ChunkFolder:
    """Chunks of one run, beside the map that they become."""

    folder: Path
    settings: Mapping[str, Any]
    """What the numbers depend on; plain JSON."""

    def path(self, i: int) -> Path:
        """Return where chunk i lies."""
        return self.folder / f"chunk-{i:05d}.npz"

    def write(self, i: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a chunk, whole or not at all."""
        self.folder.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
        data = buffer.getvalue()
        with whole_file(self.path(i)) as temporary:
            temporary.write_bytes(data)
        note = {
            "settings": dict(self.settings),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        with whole_file(self.path(i).with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(note, indent=1))

    def check(self, i: int) -> str:
        """Return why chunk i cannot be used: `""` if it can, `"absent"`, or what is damaged.

        Raises
        ------
        FileError
            If the chunk is whole but of another run: naming it and the settings that differ.
        """
        path = self.path(i)
        note_path = path.with_suffix(".json")
        if not note_path.is_file():
            return "absent"
        try:
            note = read_json(note_path)
            settings, checksum = dict(note["settings"]), note["sha256"]
        except (FileError, ValueError, KeyError, TypeError):
            return f"{note_path.name} is damaged"
        if settings != self.settings:
            every = sorted({*settings, *self.settings})
            differ = [k for k in every if settings.get(k) != self.settings.get(k)]
            differences = _differences(settings, self.settings, differ)
            raise FileError(
                f"{path} was written with other settings ({differences}). Delete the folder "
                f"{self.folder} to start again, or write to another file."
            )
        if not path.is_file():
            return f"{path.name} is missing"
        if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            return f"{path.name} is damaged: checksum mismatch"
        return ""

    def read(self, i: int, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """Read some arrays of a chunk that :meth:`check` has passed, or all."""
        with np.load(self.path(i), allow_pickle=False) as data:
            return {name: data[name] for name in (data.files if names is None else names)}

    def has(self, i: int, name: str) -> bool:
        """Return whether a chunk holds an array."""
        with np.load(self.path(i), allow_pickle=False) as data:
            return name in data.files

    def remove(self) -> None:
        """Remove the folder with all its chunks."""
        shutil.rmtree(self.folder)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], names: list[str]) -> str:
    def short(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 24 else text[:12] + "..."

    return "; ".join(f"{n}: {short(then.get(n))} before, {short(now.get(n))} now" for n in names)
