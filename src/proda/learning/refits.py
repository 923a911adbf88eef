"""Many trainings of one model on the same profiles, to separate the effect of data and training.

Every refit has its own seed and validation blocks. Kinds differ in where a refit starts, whether it
is pulled back there, and which blocks of the map it is trained on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import logit

from proda.errors import LearningError
from proda.learning.carbon_loss import CarbonProblem
from proda.learning.end_to_end import train_through
from proda.learning.end_to_end_settings import EndToEndSettings, Start
from proda.learning.network import Network
from proda.learning.splits import TrainingPlan, blocks, padded, plan
from proda.learning.train import Progress


@dataclass(frozen=True)
class RefitKind:
    """One kind of repeated training."""

    name: str
    start: Start
    pulled: bool = True
    """Whether training is pulled to the start with the weight of the settings."""
    resampled: bool = False
    """Whether blocks of the map are drawn with replacement."""


KINDS: tuple[RefitKind, ...] = (
    RefitKind("other seeds", "constant"),
    RefitKind("start at defaults", "default"),
    RefitKind("random starts", "random"),
    RefitKind("bootstrap", "constant", resampled=True),
    RefitKind("no pull", "constant", pulled=False),
    RefitKind("random starts, no pull", "random", pulled=False),
)
"""Every kind of refit, by name."""


@dataclass(frozen=True)
class Refits:
    """Trained networks, stacked along the refit, with the kind and the start of each."""

    networks: Network
    kind: tuple[str, ...]
    start: Float[np.ndarray, "refit parameter"]
    """Shares of the prior range."""
    loss: Float[np.ndarray, " refit"]
    """Lowest validation loss; NaN if the settings set no site aside."""
    lost: Float[np.ndarray, " refit"]
    """Share of validation sites without a steady state at that epoch."""


def kinds_named(names: Sequence[str]) -> tuple[RefitKind, ...]:
    """Return kinds of refits by their names.

    Raises
    ------
    LearningError
        Naming unknown kinds.
    """
    known = {kind.name: kind for kind in KINDS}
    if unknown := [name for name in names if name not in known]:
        raise LearningError(
            f"Unknown kinds of refits: {', '.join(unknown)}; choose from {', '.join(known)}."
        )
    return tuple(known[name] for name in names)


def train_refits(
    inputs: Float[np.ndarray, "site input"],
    problem: CarbonProblem,
    latitude: Float[np.ndarray, " site"],
    longitude: Float[np.ndarray, " site"],
    starts: dict[Start, Float[np.ndarray, "any parameter"]],
    settings: EndToEndSettings,
    kinds: Sequence[RefitKind] = KINDS,
    each: int = 3,
    checkpoints: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Refits:
    """Train every kind of refit `each` times, together where the pull is the same.

    Parameters
    ----------
    inputs, problem, latitude, longitude
        Of the training sites.
    starts
        Shares of the prior range by origin: one row, used by every refit, or one row for each refit
        of every kind that starts there.
    settings
        Settings of the training; `members` is ignored. Each refit has its own seed.
    kinds, each
        Which kinds, and how many refits of each.
    checkpoints
        Folder (which must exist) from which an interrupted call resumes when it is repeated.
    on_progress
        Called after every epoch.

    Raises
    ------
    LearningError
        If a start is missing, or training diverged.
    """
    if each < 1 or not kinds:
        raise LearningError(
            f"{each} refits of {len(kinds)} kinds; give at least one refit of one kind."
        )
    runs = [kind for kind in kinds for _ in range(each)]
    design = _plan(runs, latitude, longitude, settings)
    begin = _starts(runs, starts, each)
    parts = []
    for pulled in (True, False):
        rows = np.array([i for i, kind in enumerate(runs) if kind.pulled is pulled], int)
        if rows.size == 0:
            continue
        own = settings if pulled else replace(settings, start_weight=0.0)
        path = None
        if checkpoints is not None:
            path = _checkpoint(checkpoints, problem.model.name, pulled)
        trained = train_through(
            inputs, problem, logit(begin[rows]), design.select(rows), own, path, on_progress
        )
        parts.append((rows, trained))
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    networks = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves)[order], *(trained.networks for _, trained in parts)
    )
    best_epochs = [
        trained.history[trained.best_epoch, np.arange(len(rows))] for rows, trained in parts
    ]
    history = np.concatenate(best_epochs)[order]
    return Refits(networks, tuple(kind.name for kind in runs), begin, history[:, 1], history[:, 2])


def remove_checkpoints(folder: str | os.PathLike[str], model: str) -> None:
    """Remove the checkpoints of an interrupted :func:`train_refits`."""
    for pulled in (True, False):
        shutil.rmtree(_checkpoint(folder, model, pulled), ignore_errors=True)


def _checkpoint(folder: str | os.PathLike[str], model: str, pulled: bool) -> Path:
    return Path(folder) / f".{model}-{'pull' if pulled else 'free'}.refits"


def _starts(
    runs: Sequence[RefitKind], starts: dict[Start, np.ndarray], each: int
) -> Float[np.ndarray, "refit parameter"]:
    """Return every refit's start; kinds with the same rows use the same ones, in order."""
    rows = []
    for i, kind in enumerate(runs):
        if kind.start not in starts:
            raise LearningError(f"The refits {kind.name!r} need a start: {kind.start}.")
        own = np.atleast_2d(starts[kind.start])
        if len(own) not in (1, each):
            raise LearningError(
                f"{len(own)} starts of the kind {kind.start}; expected 1, or {each}, one per refit."
            )
        rows.append(own[i % each if len(own) > 1 else 0])
    return np.clip(np.stack(rows), 1e-6, 1.0 - 1e-6)


def _plan(
    runs: Sequence[RefitKind],
    latitude: np.ndarray,
    longitude: np.ndarray,
    settings: EndToEndSettings,
) -> TrainingPlan:
    """Give every refit its own sites; a bootstrap draws blocks of its training sites."""
    design = plan(latitude, longitude, settings.network(), members=len(runs))
    block = blocks(latitude, longitude, settings.block_degrees)
    train = []
    for i, kind in enumerate(runs):
        rows = design.train[i][design.train[i] >= 0]
        if kind.resampled:
            rng = np.random.default_rng([settings.seed, 21, i])
            rows = draw_blocks(rows, block[rows], rng)
        train.append(rows)
    return TrainingPlan(padded(train), design.validation, design.fold, design.member)


def draw_blocks(rows: np.ndarray, block: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many blocks as there are, with replacement, and return their rows."""
    own = {b: rows[block == b] for b in np.unique(block)}
    chosen = rng.choice(np.array(sorted(own)), len(own))
    return np.concatenate([own[b] for b in chosen])
