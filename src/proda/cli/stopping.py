"""Stopping before a time limit: the option and the exit status."""

from __future__ import annotations

from proda.cli.numbers import number
from proda.errors import ProdaError

STOPPED = 75
"""Exit status of a run that stopped before its time limit (EX_TEMPFAIL of sysexits.h)."""


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str | None) -> float | None:
    """Return the value of `--stop-after` in seconds.

    Raises
    ------
    ProdaError
        If it is not a time.
    """
    if text is None:
        return None
    unit = text[-1:] if text[-1:] in _UNITS else ""
    try:
        return number(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError as error:
        raise ProdaError(
            f"--stop-after {text}: expected a time such as 600s, 90m or 11.5h."
        ) from error
