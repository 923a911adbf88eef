"""The command line: verbs only. Each noun is one file; this one puts them together."""

from __future__ import annotations

import logging
import signal
import sys

from proda.cli import (
    assimilate,
    column,
    compare,
    covariates,
    demo,
    diagnose,
    export,
    forcing,
    get,
    maps,
    models,
    profiles,
    report,
    run,
    train,
)
from proda.cli.app import app
from proda.cli.console import errors

__all__ = [
    "app",
    "assimilate",
    "column",
    "compare",
    "covariates",
    "demo",
    "diagnose",
    "export",
    "forcing",
    "get",
    "main",
    "maps",
    "models",
    "profiles",
    "report",
    "run",
    "train",
]


class _Notes(logging.Handler):
    """Print notes as the other messages are printed."""

    def emit(self, record: logging.LogRecord) -> None:
        errors.print(f"Note: {record.getMessage()}", highlight=False, soft_wrap=True)


def _show_notes() -> None:
    notes = logging.getLogger("proda.files")
    if not notes.handlers:
        notes.addHandler(_Notes())
        notes.propagate = False


def main() -> None:
    """Run the command line.

    Exit status: 0 if all went well, 2 for wrong input, 130 for Ctrl-C, 143 for SIGTERM (what batch
    systems send before they kill); both leave no unfinished file behind.
    """
    from proda.errors import ProdaError

    _show_notes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except ProdaError as error:
        errors.print("Error:", style="bold red", end=" ")
        errors.print(str(error), highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None or isinstance(error, BrokenPipeError):
            raise
        errors.print("Error:", style="bold red", end=" ")
        errors.print(f"{error.filename}: {error.strerror}.", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("Stopped.")
        sys.exit(130)
