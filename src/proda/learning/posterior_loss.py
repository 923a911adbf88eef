"""Training on parameters: networks learn the posteriors of sites (P-section 2.6)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from proda.checksums import digest
from proda.errors import LearningError
from proda.learning.learning_settings import LearningSettings
from proda.learning.network import Network, initial_networks, study_loss, weighted_loss
from proda.learning.program import WARM_UP, BatchLoss, Learner, Loss, Recipe, Runs, runs_of
from proda.learning.splits import TrainingPlan
from proda.learning.targets import PRIOR_VARIANCE, Targets
from proda.learning.train import PARAMETERS, Progress, Trained, train


class ParameterLoss(Loss):
    """Distance of predicted parameters from the targets of sites, in shares of the prior range."""

    recipe: Recipe = eqx.field(static=True)
    inputs: Float[Array, "site input"]
    value: Float[Array, "site parameter"]
    weight: Float[Array, "site parameter"]
    prior_weight: Float[Array, ""]
    study: bool = eqx.field(static=True)
    """Whether the loss is the paper's, which has no weights."""

    def __call__(
        self,
        learners: Learner,
        rows: Int[Array, "run batch"],
        keys: PRNGKeyArray | None,
        runs: Runs,
    ) -> BatchLoss:
        """Evaluate a batch of each run by its parameters; no soil model is run."""

        def predict(network: Network, own: Array, key: Any) -> Array:
            return network(self.inputs[own], key)

        axis = None if keys is None else 0
        predicted = jax.vmap(predict, in_axes=(0, 0, axis))(learners.network, rows, keys)
        if self.study:
            valid = (rows >= 0).astype(jnp.float32)
            loss = jax.vmap(study_loss)(predicted, self.value[rows], valid)
        else:
            loss = self.weighted(predicted, rows, runs)
        return BatchLoss(loss, jax.lax.stop_gradient(loss), jnp.full_like(loss, jnp.nan))

    def weighted(
        self,
        predicted: Float[Array, "run batch parameter"],
        rows: Int[Array, "run batch"],
        runs: Runs,
    ) -> Float[Array, " run"]:
        """Return the weighted loss of predictions for a batch of each run."""

        def one(predicted: Array, own: Array, start: Array) -> Array:
            valid = (own >= 0).astype(jnp.float32)
            return weighted_loss(
                predicted, self.value[own], self.weight[own], start, self.prior_weight, valid
            )

        return jax.vmap(one)(predicted, rows, runs.start)


def parameter_loss(
    inputs: Float[np.ndarray, "site input"], targets: Targets, settings: LearningSettings
) -> ParameterLoss:
    """Move the data to the device; weights are scaled to a mean of 1 per site.

    Raises
    ------
    LearningError
        If the numbers of rows differ, or no site constrains any parameter.
    """
    if inputs.shape[0] != targets.sites.size:
        raise LearningError(f"{inputs.shape[0]} rows of covariates, {targets.sites.size} sites.")
    total = float(targets.weight.sum(axis=1).mean())
    if total == 0:
        raise LearningError("No site constrains any parameter: every posterior is the prior.")
    recipe = Recipe(
        settings.optimizer,
        settings.learning_rate,
        settings.weight_decay,
        settings.batch_size,
        settings.epochs,
        settings.patience,
        warm_up=WARM_UP,
        own_pace=True,
    )
    return ParameterLoss(
        recipe,
        jnp.asarray(inputs, jnp.float32),
        jnp.asarray(targets.value, jnp.float32),
        jnp.asarray(targets.weight / total, jnp.float32),
        jnp.asarray(settings.prior_weight / PRIOR_VARIANCE / total, jnp.float32),
        settings.loss == "study",
    )


def centres(
    targets: Targets, plan: TrainingPlan, settings: LearningSettings
) -> Float[np.ndarray, "run parameter"]:
    """Mean of each run's training targets, weighted by information, and of the prior's middle."""
    out = []
    for rows in plan.train:
        rows = rows[rows >= 0]
        w, z = targets.weight[rows], targets.value[rows]
        # the prior's middle has the weight of the pull in the loss
        n = settings.prior_weight / PRIOR_VARIANCE * rows.size
        out.append(((w * z).sum(axis=0) + n * 0.5) / (w.sum(axis=0) + n))
    return np.array(out)


def fingerprint(inputs: np.ndarray, targets: Targets) -> dict[str, Any]:
    """Return the data with which a checkpoint must agree, by name."""
    return {
        "model": targets.model,
        "variant": targets.variant,
        **targets.origin,
        "parameters": list(targets.parameters),
        "covariates": digest(inputs),
        "posteriors": digest(targets.value, targets.weight),
    }


def train_parameters(
    inputs: Float[np.ndarray, "site input"],
    targets: Targets,
    plan: TrainingPlan,
    settings: LearningSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    chunk: int = 5,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train every run of the plan on the targets of its sites.

    Parameters
    ----------
    inputs
        Encoded covariates, one row per site of `targets`.
    checkpoint, chunk, on_progress
        As in :func:`proda.learning.train.train`.

    Raises
    ------
    FileError
        If the checkpoint is of other data or settings (naming them), or damaged.
    LearningError
        If the numbers of rows differ, no site constrains any parameter, or a run diverged (naming
        it).
    """
    if settings.validation_share == 0:
        raise LearningError(
            "validation_share = 0; training on posteriors keeps the weights with the lowest "
            "validation loss, so it must be above 0."
        )
    loss = parameter_loss(inputs, targets, settings)
    runs = runs_of(plan, centres(targets, plan, settings), settings.seed)
    networks = initial_networks(runs.key, inputs.shape[1], runs.start, settings)
    return train(
        loss,
        Learner(networks),
        runs,
        plan,
        settings,
        fingerprint(inputs, targets),
        PARAMETERS,
        checkpoint,
        chunk,
        on_progress,
    )
