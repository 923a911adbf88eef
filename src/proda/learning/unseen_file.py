"""The calibrated constant and the intervals in the folder of an end-to-end network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from proda.errors import FileError

UNSEEN = "unseen.json"


def write_unseen(
    folder: Path, constant: dict[str, float], scale: list[float], intervals: dict[str, Any]
) -> None:
    """Write the constant (physical units), the error's scale by class of depth, the intervals."""
    content = {"constant": constant, "scale": scale, "intervals": intervals}
    (folder / UNSEEN).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_unseen(network: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return `constant` and `intervals`, or None if the network was trained by another route.

    Raises
    ------
    FileError
        If the file is damaged.
    """
    path = Path(network) / UNSEEN
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "constant": {str(name): float(value) for name, value in content["constant"].items()},
            "intervals": dict(content["intervals"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path}: damaged ({error}); copy it again or train again.") from error
