"""One process at a time works in a folder: a lock, and who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from platform import node
from typing import Any

import psutil
from filelock import FileLock, SoftFileLock, Timeout

from proda.errors import FileError, ProdaError

NAME = ".lock"
OWNER = ".lock.owner"
FILES = (NAME, OWNER, f"{NAME}.soft")
"""What a lock may leave in a folder; none of it is a result."""


@contextlib.contextmanager
def locked(
    folder: str | os.PathLike[str], what: str, kind: type[ProdaError] = FileError
) -> Iterator[None]:
    """Hold a folder for this process until the block ends, however it ends.

    The operating system releases the lock of a process that dies. File systems without locks get a
    file in its place, which is ignored once its process, on this machine, is gone.

    Parameters
    ----------
    folder
        An existing folder.
    what
        What is done there, for the message of whoever comes second: "assimilation".
    kind
        The error to raise.

    Raises
    ------
    kind
        If another process holds the folder, naming its machine, its number and since when; or if
        the folder is not writable.
    """
    place = Path(folder)
    held: FileLock | SoftFileLock = FileLock(place / NAME)
    try:
        try:
            held.acquire(timeout=0)
        except (NotImplementedError, OSError) as error:
            if isinstance(error, Timeout | PermissionError):
                raise
            held = _soft(place)  # a network file system that knows no locks
    except Timeout as error:
        raise kind(_text(place, what)) from error
    except OSError as error:
        raise kind(
            f"{place}: cannot be locked ({error}). Check that you may write there."
        ) from error
    try:
        _write_owner(place)
        yield
    finally:
        (place / OWNER).unlink(missing_ok=True)
        held.release()


@contextlib.contextmanager
def working_in(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Hold a folder of intermediate results, which is created, until the block ends.

    A folder that then holds no more than the lock is removed. Parameters and errors are those of
    :func:`locked`; the folder above must exist.
    """
    place = Path(folder)
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(f"{place}: cannot be created ({error}). Check the place.") from error
    try:
        with locked(place, what):
            yield
    finally:
        if place.is_dir() and not [path for path in place.iterdir() if path.name not in FILES]:
            shutil.rmtree(place, ignore_errors=True)


def _soft(place: Path) -> SoftFileLock:
    held = SoftFileLock(place / f"{NAME}.soft")
    owner = _owner(place)
    if Path(held.lock_file).exists() and owner.get("host") == node() and not _alive(owner):
        Path(held.lock_file).unlink(missing_ok=True)
    held.acquire(timeout=0)
    return held


def _alive(owner: dict[str, Any]) -> bool:
    """Whether the process that is named still runs, and is not another one of the same number."""
    try:
        return bool(abs(psutil.Process(int(owner["pid"])).create_time() - owner["started"]) < 2.0)
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
    except psutil.Error:  # it is there, and belongs to somebody else
        return True


def _write_owner(place: Path) -> None:
    about = {
        "host": node(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    temporary = place / f"{OWNER}.{node()}.{os.getpid()}.part"
    try:
        temporary.write_text(json.dumps(about) + "\n", encoding="utf-8")
        temporary.replace(place / OWNER)
    except OSError:  # a full disk: the lock itself holds, only the message will say less
        temporary.unlink(missing_ok=True)


def _owner(place: Path) -> dict[str, Any]:
    try:
        owner = json.loads((place / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _text(place: Path, what: str) -> str:
    owner = _owner(place)
    if not owner:  # it took the lock a moment ago and has not written its name yet
        time.sleep(0.2)
        owner = _owner(place)
    text = f"{place}: another process is working on this {what}"
    if owner:
        text += (
            f" (process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}, UTC)"
        )
    text += ". Wait until it ends, or stop it; what is done is kept."
    soft = place / f"{NAME}.soft"
    if soft.exists():
        text += f" If that process no longer exists, remove {soft}."
    return text
