"""Finished blocks of long work on disk, from which interrupted work resumes.

A block is a file such as `00012.npz` and, written after it, the manifest `00012.json` with its
checksum and with everything on which its numbers depend. A block is valid only if both exist and
agree.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proda.checksums import file_digest
from proda.errors import FileError
from proda.files import read_json, read_npz, remove_abandoned, whole_file

ABSENT = "absent"
"""Result of :meth:`BlockStore.check` for a block that has not been computed."""


@dataclass(frozen=True)
class BlockStore:
    """The blocks of one piece of work.

    Parameters
    ----------
    folder
        Folder of the blocks; created with the first block.
    identity
        Values on which the numbers depend, by name; plain JSON.
    suffix
        Ending of the files.
    """

    folder: Path
    identity: Mapping[str, Any]
    suffix: str = ".npz"

    def path(self, number: int) -> Path:
        """Return the path of a block."""
        return self.folder / f"{number:05d}{self.suffix}"

    def manifest(self, number: int) -> Path:
        """Return the path of the manifest of a block."""
        return self.path(number).with_suffix(".json")

    def write(self, number: int, save: Callable[[Path], None]) -> None:
        """Write a block, completely or not at all.

        Parameters
        ----------
        number
            Number of the block.
        save
            Writes the file at the given path, completely or not at all.

        Raises
        ------
        FileError
            If the disk is full or not writable.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(number)
        self.manifest(number).unlink(missing_ok=True)  # that of an older file, which is replaced
        remove_abandoned(path)
        remove_abandoned(self.manifest(number))
        save(path)
        manifest = {"identity": dict(self.identity), "sha256": file_digest(path)}
        with whole_file(self.manifest(number)) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    def write_arrays(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays as a block (.npz), completely or not at all.

        Raises
        ------
        FileError
            If the disk is full or not writable.
        """

        def save(path: Path) -> None:
            with whole_file(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, **dict(arrays))  # type: ignore[arg-type]

        self.write(number, save)

    def check(self, number: int) -> str:
        """Return why a block must be computed: `""` if it need not, `"absent"`, or its fault.

        Raises
        ------
        FileError
            If the block belongs to other work, naming it and the differences.
        """
        path, manifest = self.path(number), self.manifest(number)
        if not manifest.is_file():
            return f"{path}: has no manifest beside it" if path.is_file() else ABSENT
        try:
            read = read_json(manifest)
            identity, checksum = dict(read["identity"]), read["sha256"]
        except (FileError, ValueError, KeyError, TypeError):
            return f"{manifest}: damaged"
        own = json.loads(json.dumps(dict(self.identity)))  # JSON turns a tuple into a list
        if identity != own:
            raise FileError(
                f"{path} was written with other settings or data ({_differences(identity, own)}). "
                f"Delete the folder {self.folder} to start again, or write to another place."
            )
        if not path.is_file():
            return f"{path}: missing"
        if file_digest(path) != checksum:
            return f"{path}: incomplete or damaged (checksum mismatch)"
        return ""

    def missing(self, numbers: Iterable[int]) -> tuple[list[int], list[str]]:
        """Return which blocks must be computed, and the faults of those that are damaged.

        Raises
        ------
        FileError
            If a block belongs to other work.
        """
        state = {number: self.check(number) for number in numbers}
        todo = [number for number, why in state.items() if why]
        return todo, [why for why in state.values() if why not in ("", ABSENT)]

    def numbers(self) -> list[int]:
        """Return the numbers of the existing blocks, in ascending order."""
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.json"))

    def read(self, number: int, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Read some arrays of a block that :meth:`check` has passed, or all."""
        if names is None:
            return read_npz(self.path(number), "block")
        with np.load(self.path(number), allow_pickle=False) as data:
            return {name: data[name] for name in names}

    def has(self, number: int, name: str) -> bool:
        """Return whether a block holds an array."""
        with np.load(self.path(number), allow_pickle=False) as data:
            return name in data.files

    def discard(self, number: int) -> None:
        """Remove a block."""
        self.manifest(number).unlink(missing_ok=True)
        self.path(number).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all blocks and their folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    def short(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 24 else text[:12] + "..."

    names = [n for n in dict.fromkeys((*now, *then)) if then.get(n) != now.get(n)]
    return "; ".join(f"{n}: {short(then.get(n))} before, {short(now.get(n))} now" for n in names)
