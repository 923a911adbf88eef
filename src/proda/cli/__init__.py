"""The command line. Each noun is one module; this one combines them."""

from __future__ import annotations

import logging
import os
import sys

from proda import termination
from proda.cli import (
    assimilate,
    attribute,
    cite,
    column,
    compare,
    covariates,
    demo,
    diagnose,
    evidence,
    export,
    forcing,
    get,
    ladder,
    maps,
    models,
    profiles,
    project,
    report,
    run,
    streams,
    train,
)
from proda.cli.app import app
from proda.cli.console import errors
from proda.machine import JAX_CACHE, JAX_CACHES_FROM, compiled_programs

__all__ = [
    "app",
    "assimilate",
    "attribute",
    "cite",
    "column",
    "compare",
    "covariates",
    "demo",
    "diagnose",
    "evidence",
    "export",
    "forcing",
    "get",
    "ladder",
    "main",
    "maps",
    "models",
    "profiles",
    "project",
    "report",
    "run",
    "streams",
    "train",
]


class _Notes(logging.Handler):
    """Print notes in the same way as other messages."""

    def emit(self, record: logging.LogRecord) -> None:
        errors.print(f"Note: {record.getMessage()}", highlight=False, soft_wrap=True)


def _show_notes() -> None:
    notes = logging.getLogger("proda.files")
    if not notes.handlers:
        notes.addHandler(_Notes())
        notes.propagate = False


def main() -> None:
    """Run the command line.

    Exit status: 0 for success, 2 for invalid input, 130 for Ctrl-C, 143 for SIGTERM (sent by batch
    systems before they kill a process). No unfinished file remains after the last two.
    """
    from proda.errors import ProdaError

    _show_notes()
    termination.watch()
    _keep_programs()
    try:
        app()
    except ProdaError as error:
        _say(str(error))
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
    except Exception:
        if (reason := _unusable_platform()) is None:
            raise
        _say(reason)
        sys.exit(2)


def _keep_programs() -> None:
    """Keep compiled programs for later commands, as worker processes do.

    By JAX's environment variable, because importing JAX here would delay each command.
    """
    if (place := compiled_programs()) is not None:
        os.environ[JAX_CACHE] = str(place)
        os.environ.setdefault(JAX_CACHES_FROM, "0")


def _say(text: str) -> None:
    errors.print("Error:", style="bold red", end=" ")
    errors.print(text, highlight=False, soft_wrap=True)


def _unusable_platform() -> str | None:
    """Return a message on JAX_PLATFORMS if it is the cause of an error.

    It is called only after an error, because most commands start without JAX.
    """
    asked = os.environ.get("JAX_PLATFORMS", "")
    if not asked or "jax" not in sys.modules:
        return None
    import jax

    try:
        jax.devices()
    except Exception:
        return (
            f"JAX_PLATFORMS={asked}: this machine has no such device, or JAX is installed without "
            "support for it. The variable often comes with a module of the cluster. Unset it, or "
            "set JAX_PLATFORMS=cpu to compute on the processor; for a GPU, start the command in a "
            'job that has one, after `pip install "proda[cuda]"`.'
        )
    return None
