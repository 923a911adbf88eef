"""Tuning: networks trained on parameters are trained further on the carbon of their sites.

Posterior means do not contain the joint distribution of parameters, and for a bimodal posterior
they lie between the modes. The purpose of a network is to predict carbon. Each run therefore
continues from its trained weights: the loss of a site is minus the log-likelihood of its measured
layers at the predicted parameters, through the soil model, plus the weighted loss of parameter
training. Validation sites determine, by the same loss, which epoch is kept; this may be the untuned
network (epoch 0).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import jax
import numpy as np

from proda.checksums import digest
from proda.errors import LearningError
from proda.learning.join import TrainingSites
from proda.learning.layers import SiteLayers
from proda.learning.learning_settings import LearningSettings
from proda.learning.posterior_loss import centres, fingerprint, parameter_loss
from proda.learning.program import Learner, Recipe, runs_of
from proda.learning.train import CARBON, Progress, Trained, train
from proda.learning.tuning_loss import TuningLoss


def tune(
    sites: TrainingSites,
    layers: SiteLayers,
    trained: Trained,
    settings: LearningSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Tune every run of a training.

    Parameters
    ----------
    sites, layers
        Training table, and the measured layers of the same sites in the same order.
    trained
        The networks, as trained on parameters.
    settings
        Settings of the training; `tuning_...` and `parameter_weight` apply here.
    checkpoint
        Folder from which an interrupted tuning resumes, epoch by epoch; the caller removes it once
        the result is saved.
    on_progress
        Called after every epoch; its `stage` is "carbon".

    Raises
    ------
    FileError
        If the checkpoint belongs to something else or is damaged.
    LearningError
        If sites and layers differ, outputs are not bounded, the model has other parameters, or a
        run diverged.
    """
    goal = sites.targets
    _check(sites, layers, settings)
    recipe = Recipe(
        "adamw",
        settings.tuning_rate,
        0.0,
        settings.tuning_batch,
        settings.tuning_epochs,
        settings.tuning_patience,
        validation_batch=settings.tuning_batch,
        from_start=True,
    )
    loss = TuningLoss(
        recipe,
        parameter_loss(sites.inputs, goal, settings),
        layers.model,
        layers.likelihood,
        layers.for_training(),
        settings.parameter_weight,
    )
    data = {
        **fingerprint(sites.inputs, goal),
        "trained networks": digest(*map(np.asarray, jax.tree.leaves(trained.networks))),
        "measured layers and forcing": digest(*map(np.asarray, jax.tree.leaves(loss.sites))),
    }
    runs = runs_of(trained.plan, centres(goal, trained.plan, settings), settings.seed)
    return train(
        loss,
        Learner(trained.networks),
        runs,
        trained.plan,
        settings,
        data,
        CARBON,
        checkpoint,
        on_progress=on_progress,
    )


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
            "leave the physically meaningful range of the model. Train with tuning_epochs = 0."
        )
    names = tuple(row.name for row in layers.model.rows)
    if goal.parameters != names:
        odd = sorted(set(goal.parameters) ^ set(names)) or ["their order"]
        raise LearningError(
            f"The posteriors do not have the parameters of {layers.model.name}: {', '.join(odd)}."
        )
    if layers.likelihood.rows:
        raise LearningError(
            "Tuning needs a likelihood whose error is given; that of these posteriors was sampled."
        )
