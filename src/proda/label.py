"""What stands on every result of a study whose method is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LABEL: ContextVar[str] = ContextVar("label", default="")

ATTRIBUTE = "method"
"""Global attribute of netCDF files that holds the label."""
LABEL_COLUMN = "method_label"
"""Column of tables of results that holds the label."""


def label() -> str:
    """Return the label of what is written now; empty if there is none."""
    return _LABEL.get()


def label_attributes() -> dict[str, str]:
    """Return the label as a global attribute of a file."""
    return {ATTRIBUTE: label()} if label() else {}


@contextmanager
def labelled(text: str) -> Iterator[None]:
    """Put a label on the figures, netCDF files and tables that are written inside."""
    token = _LABEL.set(text)
    try:
        yield
    finally:
        _LABEL.reset(token)
