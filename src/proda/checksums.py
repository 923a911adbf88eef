"""Checksums that our results carry, so that damage done to them later is seen when they are read.

A file
    The last bytes say the SHA-256 of all bytes before them. HDF5 knows its own length and does not
    look behind it, so that netCDF readers see the same file; a tool that changes the file drops
    the line, and what it writes is a file without checksum.
A Zarr store
    Each chunk ends in its CRC-32C, which Zarr itself checks when it decodes the chunk. Beside the
    chunks of an array lies `checksums.json`: their sizes and CRCs and the SHA-256 of the array's
    metadata. The store's own metadata holds the SHA-256 of these lists and of itself. So only the
    list and the ends of the chunks are read when a store is opened, and the chunks when they are
    needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from proda.errors import FileError

_LINE = "\nproda sha256 {}\n"
_LENGTH = len(_LINE.format("0" * 64))
_PATTERN = re.compile(rb"\nproda sha256 ([0-9a-f]{64})\n")
_BLOCK = 1 << 22

LIST = "checksums.json"
"""Name of the list beside the chunks of an array."""
ATTRIBUTE = "proda_checksums"
"""Attribute of a store: SHA-256 by array, and of the store's own metadata under the name ""."""
_CRC_BYTES = 4
_ADVICE = "It was damaged or changed after it was written: copy it again or create it again."


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    return _digest(Path(path), Path(path).stat().st_size)


def tree_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of all files of a folder and their names.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    top = Path(path)
    if top.is_file():
        return file_digest(top)
    total = hashlib.sha256()
    for file in sorted(p for p in top.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(top).as_posix()} {file_digest(file)}\n".encode())
    return total.hexdigest()


def digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of arrays: their types, shapes and bytes."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def seal(path: str | os.PathLike[str]) -> None:
    """Append the SHA-256 of a file to it.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    line = _LINE.format(_digest(Path(path), Path(path).stat().st_size))
    with Path(path).open("ab") as file:
        file.write(line.encode())


def check_seal(path: str | os.PathLike[str]) -> bool:
    """Compare a file with the SHA-256 at its end; return whether it carries one.

    Raises
    ------
    FileError
        If they differ.
    OSError
        If the file cannot be read.
    """
    target = Path(path)
    length = target.stat().st_size - _LENGTH
    if length < 0:
        return False
    with target.open("rb") as file:
        file.seek(length)
        header = _PATTERN.fullmatch(file.read(_LENGTH))
    if header is None:
        return False
    if _digest(target, length) != header.group(1).decode():
        raise FileError(f"{target}: its content does not match its checksum. {_ADVICE}")
    return True


def _digest(path: Path, length: int) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(_BLOCK, length))):
            total.update(block)
            length -= len(block)
    return total.hexdigest()


def seal_store(store: Path) -> None:
    """Write the lists of a Zarr store whose chunks end in their CRC-32C.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    digests = {}
    for metadata in sorted(store.glob("*/zarr.json")):
        array = metadata.parent
        text = json.dumps(_actual(array), indent=0, sort_keys=True)
        (array / LIST).write_text(text, encoding="utf-8")
        digests[array.name] = hashlib.sha256(text.encode()).hexdigest()
    root = json.loads((store / "zarr.json").read_text(encoding="utf-8"))
    digests[""] = _metadata_digest(root)
    root.setdefault("attributes", {})[ATTRIBUTE] = digests
    (store / "zarr.json").write_text(json.dumps(root, indent=2), encoding="utf-8")


def _actual(array: Path) -> dict[str, Any]:
    """List the files of an array: size and last four bytes of chunks, SHA-256 of metadata."""
    entries: dict[str, Any] = {}
    for folder, _, names in os.walk(array):
        for name in names:
            file = Path(folder, name)
            key = file.relative_to(array).as_posix()
            if key == "zarr.json":
                entries[key] = hashlib.sha256(file.read_bytes()).hexdigest()
            elif key != LIST:
                entries[key] = _chunk(file)
    return entries


def _chunk(file: Path) -> list[Any]:
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - _CRC_BYTES))
        return [size, opened.read().hex()]


def _metadata_digest(root: dict[str, Any]) -> str:
    attributes = {k: v for k, v in root.get("attributes", {}).items() if k != ATTRIBUTE}
    text = json.dumps({**root, "attributes": attributes}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_store(store: Path) -> bool:
    """Compare a Zarr store with its lists; return whether it carries any.

    Chunks are looked at by size and CRC alone; whoever decodes one compares its bytes.

    Raises
    ------
    FileError
        Naming the chunk, list or metadata that is missing, was changed, or does not belong there.
    OSError, ValueError
        If the store's metadata cannot be read.
    """
    root = json.loads((store / "zarr.json").read_text(encoding="utf-8"))
    attributes = root.get("attributes") if isinstance(root, dict) else None
    digests = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    arrays = {path.parent.name for path in store.glob("*/zarr.json")}
    lists = {path.parent.name for path in store.glob(f"*/{LIST}")}
    if digests is None and not lists:
        return False
    if not isinstance(digests, dict) or digests.get("") != _metadata_digest(root):
        raise FileError(f"{store / 'zarr.json'}: does not match its checksum. {_ADVICE}")
    for name in sorted((arrays | lists | set(digests)) - {""}):
        _check_array(store / name, digests.get(name))
    return True


def _check_array(array: Path, digest: str | None) -> None:
    if digest is None:
        raise FileError(f"{array}: this array does not belong to the store. {_ADVICE}")
    try:
        text = (array / LIST).read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{array / LIST}: missing. {_ADVICE}") from error
    if hashlib.sha256(text).hexdigest() != digest:
        raise FileError(f"{array / LIST}: does not match its checksum. {_ADVICE}")
    stored, actual = json.loads(text), _actual(array)
    for key in sorted(stored.keys() | actual.keys()):
        if key not in actual:
            raise FileError(f"{array / key}: missing. {_ADVICE}")
        if key not in stored:
            raise FileError(f"{array / key}: does not belong to the store. {_ADVICE}")
        if stored[key] != actual[key]:
            raise FileError(f"{array / key}: does not match its checksum. {_ADVICE}")
