"""Training: all members, and all folds of a cross-validation, in one compiled program.

Every random number of a run comes from (seed, fold, member, epoch), so a run does not depend on
which others train beside it, on how training is cut into chunks, or on restarts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from proda.errors import LearningError
from proda.learning.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from proda.learning.network import Network
from proda.learning.program import State, initial_state, prepare, run_chunk
from proda.learning.settings import LearningSettings
from proda.learning.splits import Plan
from proda.learning.targets import Targets


@dataclass(frozen=True)
class Progress:
    """Where training stands: epochs done, of how many, last losses and which runs have stopped.

    `stage`: "parameters", or "carbon" in tuning through the soil model (`tune.py`).
    """

    epoch: int
    epochs: int
    training_loss: Float[np.ndarray, " run"]
    validation_loss: Float[np.ndarray, " run"]
    stopped: Bool[np.ndarray, " run"]
    stage: str = "parameters"


@dataclass(frozen=True)
class Trained:
    """Trained networks, stacked along the run, with their history."""

    networks: Network
    plan: Plan
    history: Float[np.ndarray, "epoch run 2"]
    """Training and validation loss; NaN after a run has stopped."""
    best_epoch: Int[np.ndarray, " run"]
    best_loss: Float[np.ndarray, " run"]


def train(
    inputs: Float[np.ndarray, "site input"],
    targets: Targets,
    plan: Plan,
    settings: LearningSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    chunk: int = 5,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train every run of the plan.

    Parameters
    ----------
    inputs
        Encoded covariates, one row per site of `targets`.
    checkpoint
        File that holds the state between chunks; if it exists, training goes on from it, bit for
        bit as if it had never stopped. It is removed by whoever keeps the result.
    chunk
        Epochs between two checkpoints or reports.
    on_progress
        Called after each chunk, after its checkpoint is safe.

    Raises
    ------
    LearningError
        If rows do not fit, if the checkpoint is of other data or settings (naming them), or if a
        run diverged (naming it).
    """
    if inputs.shape[0] != targets.sites.size:
        raise LearningError(f"{inputs.shape[0]} rows of covariates, {targets.sites.size} sites.")
    data, runs = prepare(inputs, targets, plan, settings)
    # neither is part of the program; without them it is compiled once for all seeds
    program = replace(settings, seed=0, members=1)
    state = initial_state(data, runs, program)
    print_ = fingerprint(inputs, targets, plan, settings)
    if checkpoint is not None and Path(checkpoint).exists():
        state = read_checkpoint(checkpoint, state, print_)
    while not _done(state, settings):
        stop = jnp.asarray(min(int(state.epoch) + chunk, settings.epochs), jnp.int32)
        state = run_chunk(state, data, runs, stop, program)
        _check_finite(state, plan)
        if checkpoint is not None:
            write_checkpoint(checkpoint, state, print_)
        if on_progress is not None:
            on_progress(_progress(state, settings))
    history = np.asarray(state.history)[: int(state.epoch)]
    return Trained(
        jax.tree.map(np.asarray, state.best), plan, history, np.asarray(state.best_epoch),
        np.asarray(state.best_loss),
    )  # fmt: skip


def _done(state: State, settings: LearningSettings) -> bool:
    return int(state.epoch) >= settings.epochs or bool(np.all(state.stopped))


def _progress(state: State, settings: LearningSettings) -> Progress:
    last = np.asarray(state.history)[int(state.epoch) - 1]
    return Progress(
        int(state.epoch), settings.epochs, last[:, 0], last[:, 1], np.asarray(state.stopped)
    )


def _check_finite(state: State, plan: Plan) -> None:
    bad = ~np.isfinite(np.asarray(state.best_loss))
    if bad.any():
        i = int(np.argmax(bad))
        raise LearningError(
            f"Training diverged: member {plan.member[i]}, fold {plan.fold[i]} has the validation "
            f"loss {np.asarray(state.best_loss)[i]} ({int(bad.sum())} runs in all). Use a smaller "
            "learning_rate."
        )
