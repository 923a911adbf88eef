"""Checkpoints of training: written whole, and never continued with other data or settings."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from proda.errors import LearningError
from proda.learning.archive import digest, read_archive, write_archive
from proda.learning.learning_settings import LearningSettings
from proda.learning.splits import TrainingPlan

Tree = TypeVar("Tree")

FORM = 2
"""Counts changes of what the state of training consists of."""


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {name: version(name) for name in ("proda", "jax", "equinox", "optax")}


def fingerprint(
    data: dict[str, Any], plan: TrainingPlan, settings: LearningSettings
) -> dict[str, Any]:
    """Describe, by name, what a checkpoint must agree with; `data` does so for the data."""
    return {
        **data,
        "training and validation sites": digest(
            plan.train, plan.validation, plan.fold, plan.member
        ),
        "form of the checkpoint": FORM,
        "versions": versions(),
        **{f"setting {name}": value for name, value in settings.as_dict().items()},
    }


def write_checkpoint(path: str | os.PathLike[str], state: Any, fingerprint: dict[str, Any]) -> None:
    """Write the state of training, whole or not at all."""
    leaves = jax.tree.leaves(state)
    arrays = {f"leaf_{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    write_archive(path, {"kind": "checkpoint", "fingerprint": fingerprint}, arrays)


def read_checkpoint(path: str | os.PathLike[str], like: Tree, fingerprint: dict[str, Any]) -> Tree:
    """Read the state of training; `like` is a state of the same form.

    Raises
    ------
    FileError
        If the file is damaged.
    LearningError
        If it is of other data, settings or versions, naming them.
    """
    header, arrays = read_archive(path)
    found = header.get("fingerprint", {})
    other = [name for name in fingerprint if found.get(name) != fingerprint[name]]
    if header.get("kind") != "checkpoint" or other:
        what = ", ".join(other) or "a file of another kind"
        raise LearningError(
            f"{path}: this checkpoint belongs to another training; different: {what}. "
            "Remove it, or train with the data and settings it was written with."
        )
    leaves, form = jax.tree.flatten(like)
    read = [jnp.asarray(arrays[f"leaf_{i:03d}"]) for i in range(len(leaves))]
    return jax.tree.unflatten(form, read)
