"""Training: all members, and all folds of a cross-validation, in one compiled program.

One driver serves every loss (`program.Loss`): parameters (`parameters.py`), parameters then carbon
(`tune.py`) and carbon end to end (`end_to_end.py`). Every random number of a run comes from (seed,
fold, member, epoch), so a run does not depend on how training is cut into chunks, or on restarts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from proda.blocks.store import BlockStore
from proda.checksums import digest
from proda.errors import FileError, LearningError
from proda.learning.archive import versions
from proda.learning.learning_settings import LearningSettings
from proda.learning.network import Network
from proda.learning.program import (
    Learner,
    Loss,
    Recipe,
    Runs,
    State,
    initial_state,
    judge_start,
    run_until,
)
from proda.learning.splits import TrainingPlan

PARAMETERS, CARBON, CONSTANT, END_TO_END = "parameters", "carbon", "constant", "end-to-end"
"""Stages of training."""

FORM = 2
"""Version of the format of the training state."""

SAVE_SECONDS = 30.0
"""Time between two checkpoints, which a killed run loses. That of wide networks takes as long to
write as half an epoch."""

RATES = {CARBON: "tuning_rate", CONSTANT: "constant_rate"}
"""Settings with the learning rate of a stage, where it is not `learning_rate`."""


@dataclass(frozen=True)
class Progress:
    """Progress of training: epochs done and in total, latest losses, and which runs have stopped.

    `stage`: "parameters", "carbon" (tuning through the soil model), "constant" or "end-to-end".
    """

    epoch: int
    epochs: int
    training_loss: Float[np.ndarray, " run"]
    validation_loss: Float[np.ndarray, " run"]
    stopped: Bool[np.ndarray, " run"]
    stage: str = PARAMETERS


@dataclass(frozen=True)
class Trained:
    """Trained networks, stacked along the run, with their history."""

    networks: Network
    extra: Any
    """Other values that the loss has estimated, stacked along the run."""
    plan: TrainingPlan
    history: Float[np.ndarray, "epoch run 3"]
    """Training loss, validation loss, share of validation sites without a steady state (NaN where
    no soil model is run); NaN after a run has stopped. In tuning, row 0 is the untuned network (no
    training loss)."""
    best_epoch: Int[np.ndarray, " run"]
    """Row of `history` whose weights these are."""
    best_loss: Float[np.ndarray, " run"]
    stage: str

    def select(self, runs: np.ndarray) -> Trained:
        """Return some of the runs."""
        networks, extra = jax.tree.map(lambda leaf: leaf[runs], (self.networks, self.extra))
        return Trained(
            networks,
            extra,
            self.plan.select(runs),
            self.history[:, runs],
            self.best_epoch[runs],
            self.best_loss[runs],
            self.stage,
        )

    def table(self) -> pd.DataFrame:
        """Losses as a table: member, stage, epoch, training_loss, validation_loss, kept, lost.

        Epochs count from 1; 0 is the network before tuning. `lost`, the share of validation sites
        without a steady state, exists where a soil model is run.
        """
        parts = []
        for run, member in enumerate(self.plan.member):
            ran = np.flatnonzero(np.isfinite(self.history[:, run, :2]).any(axis=1))
            columns = {
                "member": int(member),
                "stage": self.stage,
                "epoch": ran + (self.stage != CARBON),
                "training_loss": self.history[ran, run, 0],
                "validation_loss": self.history[ran, run, 1],
                "kept": ran == self.best_epoch[run],
            }
            if self.stage != PARAMETERS:
                columns["lost"] = self.history[ran, run, 2]
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)


def train(
    loss: Loss,
    learner: Learner,
    runs: Runs,
    plan: TrainingPlan,
    settings: LearningSettings,
    data: dict[str, Any],
    stage: str,
    checkpoint: str | os.PathLike[str] | None = None,
    chunk: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train every run of the plan.

    Parameters
    ----------
    loss
        The loss and how it is minimised.
    learner
        Initial networks, stacked along the run.
    runs, plan
        Keys, sites and start of each run, and the plan to which they belong.
    settings, data
        Settings, and digests of the data by name, with which a checkpoint must agree.
    stage
        Name of this training in reports.
    checkpoint
        Folder that holds the state, saved every `SAVE_SECONDS` and at the end; if it exists,
        training resumes from it, bit for bit as if it had never stopped. The caller removes it once
        the result is saved.
    chunk
        Epochs between two reports.
    on_progress
        Called after each chunk. If it raises an exception, the state is saved, and training can be
        resumed from there.

    Raises
    ------
    FileError
        If the checkpoint belongs to other data or settings (naming them), or is damaged.
    LearningError
        If a run diverged (naming it).
    """
    recipe = loss.recipe
    state = initial_state(learner, recipe)
    store = None
    if checkpoint is not None:
        store = BlockStore(Path(checkpoint) / stage, _identity(data, plan, settings))
        state = _read_latest(store, state)
    saved = time.monotonic()
    while (done := int(state.epoch)) < recipe.rows and not bool(np.all(state.stopped)):
        if recipe.from_start and done == 0:
            state = judge_start(state, loss, runs)
        else:
            stop = jnp.asarray(min(done + chunk, recipe.rows), jnp.int32)
            state = run_until(state, loss, runs, stop)
        _check_finite(state, plan, stage)
        if store is not None and time.monotonic() - saved > SAVE_SECONDS:
            _write_latest(store, state)
            saved = time.monotonic()
        try:
            if on_progress is not None:
                on_progress(_progress(state, recipe, stage))
        except BaseException:
            if store is not None:
                _write_latest(store, state)
            raise
    if store is not None:
        _write_latest(store, state)
    best = jax.tree.map(np.asarray, state.best)
    return Trained(
        best.network,
        best.extra,
        plan,
        np.asarray(state.history)[: int(state.epoch)],
        np.asarray(state.best_epoch),
        np.asarray(state.best_loss),
        stage,
    )


def _progress(state: State, recipe: Recipe, stage: str) -> Progress:
    """Return how far training is."""
    last = np.asarray(state.history)[int(state.epoch) - 1]
    return Progress(
        int(state.epoch) - recipe.from_start,
        recipe.epochs,
        last[:, 0],
        last[:, 1],
        np.asarray(state.stopped),
        stage,
    )


def _identity(
    data: dict[str, Any], plan: TrainingPlan, settings: LearningSettings
) -> dict[str, Any]:
    """Return the values with which a checkpoint must agree, by name."""
    return {
        **data,
        "training and validation sites": digest(
            plan.train, plan.validation, plan.fold, plan.member
        ),
        "form of the checkpoint": FORM,
        "versions": versions(),
        **{f"setting {name}": value for name, value in settings.as_dict().items()},
    }


def _write_latest(store: BlockStore, state: State) -> None:
    """Write the state as the block of its epoch, and remove the previous block."""
    number, earlier = int(state.epoch), store.numbers()
    leaves = jax.tree.leaves(state)
    store.write_arrays(number, {f"leaf_{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves)})
    for other in set(earlier) - {number}:
        store.discard(other)


def _read_latest(store: BlockStore, like: State) -> State:
    """Return the latest state, with the structure of `like`; `like` itself if there is none.

    Raises
    ------
    FileError
        If it is damaged, or belongs to other data, settings or versions.
    """
    numbers = store.numbers()
    if not numbers:
        return like
    if why := store.check(numbers[-1]):
        raise FileError(f"{why}. Delete the folder {store.folder} to train again.")
    arrays = store.read(numbers[-1])
    leaves, form = jax.tree.flatten(like)
    read = [jnp.asarray(arrays[f"leaf_{i:03d}"]) for i in range(len(leaves))]
    return jax.tree.unflatten(form, read)


def _check_finite(state: State, plan: TrainingPlan, stage: str) -> None:
    bad = ~np.isfinite(np.asarray(state.best_loss))
    if bad.any():
        i = int(np.argmax(bad))
        raise LearningError(
            f"Training ({stage}) diverged: member {plan.member[i]}, fold {plan.fold[i]} has the "
            f"validation loss {np.asarray(state.best_loss)[i]} ({int(bad.sum())} runs in all). Use "
            f"a smaller {RATES.get(stage, 'learning_rate')}."
        )
