"""Warnings of readers that do not stop a build: printed at its end and kept in its summary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_COLLECTED: ContextVar[list[str] | None] = ContextVar("_COLLECTED", default=None)


@contextlib.contextmanager
def collecting() -> Iterator[list[str]]:
    """Yield the list to which notes of this block are appended, each text once."""
    notes: list[str] = []
    token = _COLLECTED.set(notes)
    try:
        yield notes
    finally:
        _COLLECTED.reset(token)


def note(text: str) -> None:
    """Record a warning for the user that does not stop the build; lost outside `collecting`."""
    notes = _COLLECTED.get()
    if notes is not None and text not in notes:
        notes.append(text)
