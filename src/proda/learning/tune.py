"""Tuning: networks trained on parameters go on learning from the carbon of their sites.

Posterior means lose what a posterior says of parameters together, and of two hills they take the
pass between. What a network is for is the carbon at the end. So each run goes on from its trained
weights: the loss of a site is minus the log-likelihood of its measured layers at the predicted
parameters, through the soil model, plus the loss of parameter training with a weight. Validation
sites decide, by the same loss, which epoch is kept, the untuned network (epoch 0) among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int

from proda.errors import LearningError
from proda.learning.archive import digest
from proda.learning.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from proda.learning.join import TrainingSites
from proda.learning.layers import SiteLayers
from proda.learning.network import Network
from proda.learning.program import prepare
from proda.learning.settings import LearningSettings
from proda.learning.train import Progress, Trained
from proda.learning.tuning_program import Tuner, TuningState, epoch, first, start

STAGE = "carbon"


@dataclass(frozen=True)
class Tuned:
    """Tuned networks, stacked along the run, with their history."""

    networks: Network
    history: Float[np.ndarray, "epoch run 3"]
    """Training loss, validation loss, share of validation sites without a steady state; row 0 is
    the untuned network (no training loss); NaN after a run has stopped."""
    best_epoch: Int[np.ndarray, " run"]
    """0: the untuned network was best."""
    best_loss: Float[np.ndarray, " run"]


def tune(
    sites: TrainingSites,
    layers: SiteLayers,
    trained: Trained,
    settings: LearningSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Tuned:
    """Tune every run of a training.

    Parameters
    ----------
    sites, layers
        Training table, and the measured layers of the same sites in the same order.
    trained
        The networks, as trained on parameters.
    settings
        As trained with; those named `tuning_...` and `parameter_weight` decide here.
    checkpoint
        File from which an interrupted tuning goes on, epoch for epoch; it is removed by whoever
        keeps the result.
    on_progress
        Called after every epoch; its `stage` is "carbon".

    Raises
    ------
    LearningError
        If sites and layers differ, outputs are not bounded, the model has other parameters, the
        checkpoint belongs to something else, or a validation loss is not finite.
    """
    goal = sites.targets
    _check(sites, layers, settings)
    data, runs = prepare(sites.inputs, goal, trained.plan, settings)
    # neither is part of the program; without them it is compiled once for all seeds
    program = replace(settings, seed=0, members=1)
    tuner = Tuner(layers.model, layers.likelihood, layers.for_training())
    state = start(trained.networks, program)
    print_ = {
        **fingerprint(sites.inputs, goal, trained.plan, settings),
        "trained networks": digest(*map(np.asarray, jax.tree.leaves(trained.networks))),
        "measured layers and forcing": digest(*map(np.asarray, jax.tree.leaves(tuner.sites))),
    }
    if checkpoint is not None and Path(checkpoint).exists():
        state = read_checkpoint(checkpoint, state, print_)
    while int(state.epoch) <= settings.tuning_epochs and not bool(np.all(state.stopped)):
        step = first if int(state.epoch) == 0 else epoch
        state = step(state, data, runs, tuner, program)
        _check_finite(state, trained)
        if checkpoint is not None:
            write_checkpoint(checkpoint, state, print_)
        if on_progress is not None:
            last = np.asarray(state.history)[int(state.epoch) - 1]
            on_progress(
                Progress(int(state.epoch) - 1, settings.tuning_epochs, last[:, 0], last[:, 1],
                         np.asarray(state.stopped), STAGE)
            )  # fmt: skip
    return Tuned(
        jax.tree.map(np.asarray, state.best), np.asarray(state.history)[: int(state.epoch)],
        np.asarray(state.best_epoch), np.asarray(state.best_loss),
    )  # fmt: skip


def _check(sites: TrainingSites, layers: SiteLayers, settings: LearningSettings) -> None:
    goal = sites.targets
    if not np.array_equal(goal.sites.astype(str), layers.profiles.site.astype(str)):
        raise LearningError(
            f"The measured layers are of other sites than the covariates ({len(layers)} against "
            f"{goal.sites.size}, or in another order); select the same sites of both."
        )
    if not settings.bounded:
        raise LearningError(
            "Tuning through the soil model needs bounded = True: a network without bounds can "
            "leave the range in which the model has a meaning. Train with tuning_epochs = 0."
        )
    names = tuple(row.name for row in layers.model.rows)
    if goal.parameters != names:
        odd = sorted(set(goal.parameters) ^ set(names)) or ["their order"]
        raise LearningError(
            f"The posteriors have other parameters than {layers.model.name}: {', '.join(odd)}."
        )
    if layers.likelihood.rows:
        raise LearningError(
            "Tuning needs a likelihood whose error is given; that of these posteriors was sampled."
        )


def _check_finite(state: TuningState, trained: Trained) -> None:
    bad = ~np.isfinite(np.asarray(state.best_loss))
    if bad.any():
        i = int(np.argmax(bad))
        raise LearningError(
            f"Tuning: member {trained.plan.member[i]}, fold {trained.plan.fold[i]} has the "
            f"validation loss {np.asarray(state.best_loss)[i]}."
        )
