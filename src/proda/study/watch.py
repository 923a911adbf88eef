"""Peak memory and disk space of a stage."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

INTERVAL = 0.25
"""Seconds between two measurements; shorter peaks are not measured."""


class Peak:
    """The largest memory measured so far, bytes."""

    memory = 0


@contextmanager
def watching() -> Iterator[Peak]:
    """Measure the memory of this process and its children until the block ends."""
    peak, stop = Peak(), threading.Event()

    def look() -> None:
        me = psutil.Process()
        while True:
            peak.memory = max(peak.memory, _resident(me))
            if stop.wait(INTERVAL):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def release_freed_memory() -> None:
    """Return memory that was freed to the operating system, where the C library can (glibc).

    glibc keeps what many threads have freed; without this call the peak of a stage includes what
    the stages before it no longer use.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it ended between the two calls
            continue
    return total


def size_on_disk(path: Path) -> int:
    """Return bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
