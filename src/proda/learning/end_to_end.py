"""End-to-end training: through the soil model, on every profile, without assimilation.

First one set of parameters is fitted to all profiles (the calibrated constant); networks then
start there. Both are the same program: the constant is a network whose inputs are all 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import expit, logit

from proda.errors import LearningError
from proda.learning.archive import digest
from proda.learning.carbon_loss import MARGIN, Problem, site_weights
from proda.learning.carbon_program import (
    CarbonData,
    CarbonState,
    epoch,
    initial_state,
    runs_of,
)
from proda.learning.checkpoint import read_checkpoint, versions, write_checkpoint
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.layers import SiteLayers
from proda.learning.network import Network
from proda.learning.splits import Plan
from proda.learning.train import Progress
from proda.models.model import SoilModel

CONSTANT, END_TO_END = "constant", "end-to-end"
"""Stages of training."""

NEAREST = 0.05
"""Defaults closer to an end of the prior range than this share, or outside, start here instead."""


@dataclass(frozen=True)
class TrainedThrough:
    """Trained networks with their error scales and history, stacked along the run."""

    networks: Network
    scale: Float[np.ndarray, "run depth_class"]
    """Scale of Student's t for the error of ln carbon, by class of depth."""
    plan: Plan
    history: Float[np.ndarray, "epoch run 3"]
    """Training loss, validation loss, share of validation sites without a steady state."""
    best_epoch: Int[np.ndarray, " run"]

    def select(self, runs: np.ndarray) -> TrainedThrough:
        """Return some of the runs."""
        return TrainedThrough(
            jax.tree.map(lambda leaf: leaf[runs], self.networks), self.scale[runs],
            self.plan.select(runs), self.history[:, runs], self.best_epoch[runs],
        )  # fmt: skip

    def table(self, stage: str = END_TO_END) -> pd.DataFrame:
        """Losses as a table: member, stage, epoch (from 1), losses, lost, kept."""
        parts = []
        for run, member in enumerate(self.plan.member):
            ran = np.flatnonzero(np.isfinite(self.history[:, run, 1]))
            parts.append(
                pd.DataFrame(
                    {
                        "member": int(member),
                        "stage": stage,
                        "epoch": ran + 1,
                        "training_loss": self.history[ran, run, 0],
                        "validation_loss": self.history[ran, run, 1],
                        "kept": ran == self.best_epoch[run],
                        "lost": self.history[ran, run, 2],
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)


def problem_of(layers: SiteLayers, settings: EndToEndSettings) -> Problem:
    """Prepare sites for the soil model."""
    sites = layers.for_training()
    count = np.asarray(sites.measured.mask.sum(axis=1))
    if (count == 0).any():
        first = layers.profiles.site[int(np.argmin(count))]
        raise LearningError(f"{first}: all its measured layers lie in bedrock; leave it out.")
    return Problem(
        layers.model, sites, jnp.asarray(site_weights(count)), 1000.0 * settings.floor,
        settings.steepest, settings.lost, settings.back,
    )  # fmt: skip


def default_share(layers: SiteLayers, b: float) -> Float[np.ndarray, " parameter"]:
    """Return the model's defaults as shares of the prior range, held inside it.

    A default that depends on the site enters as its mean over sites and layers; b, where the
    registry has none, as given.
    """
    model, shares = layers.model, []
    own = jax.vmap(model.default_values)(layers.for_training().column)
    for row in model.rows:
        value = float(np.mean(np.asarray(own[row.name])))
        if np.isnan(value):
            value = b if row.name == "b" else 0.5 * (row.lower + row.upper)
        shares.append((value - row.lower) / (row.upper - row.lower))
    return np.clip(np.array(shares), NEAREST, 1.0 - NEAREST)


def fit_constants(
    problem: Problem, start: Float[np.ndarray, " parameter"], plan: Plan,
    settings: EndToEndSettings, on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Float[np.ndarray, "run parameter"], TrainedThrough]:  # fmt: skip
    """Fit one set of parameters to the training sites of each run; shares of the prior range."""
    own = settings.constant()
    n = int(problem.weight.shape[0])
    starts = np.tile(logit(start), (len(plan.fold), 1))
    trained = train_through(
        np.zeros((n, 1)), problem, starts, plan, own, on_progress=on_progress, stage=CONSTANT
    )
    return np.asarray(expit(np.asarray(trained.networks.biases[-1], float))), trained


def train_through(
    inputs: Float[np.ndarray, "site input"],
    problem: Problem,
    starts: Float[np.ndarray, "run parameter"],
    plan: Plan,
    settings: EndToEndSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stage: str = END_TO_END,
) -> TrainedThrough:
    """Train every run of the plan through the soil model.

    Parameters
    ----------
    inputs
        Encoded covariates and summary of the forcing, one row per site of `problem`.
    starts
        Logits of the parameters (as shares of the prior range) at which each run starts.
    checkpoint
        File from which an interrupted training resumes, epoch for epoch; whoever keeps the result
        removes it.
    on_progress
        Called after every epoch.

    Raises
    ------
    LearningError
        If the checkpoint belongs to something else, a global parameter is not known, or a run
        diverged.
    """
    names = [row.name for row in problem.model.rows]
    if unknown := sorted(set(settings.global_parameters) - set(names)):
        raise LearningError(
            f"global_parameters: {', '.join(unknown)} not known; the model has {', '.join(names)}."
        )
    varies = np.array([name not in settings.global_parameters for name in names], np.float32)
    data = CarbonData(jnp.asarray(inputs, jnp.float32), jnp.asarray(varies))
    runs = runs_of(plan, starts, settings)
    # neither is part of the program; without them it is compiled once for all seeds
    program = replace(settings, seed=0, members=1)
    state = initial_state(data, runs, program)
    print_ = _fingerprint(inputs, problem, starts, plan, settings)
    if checkpoint is not None and Path(checkpoint).exists():
        state = read_checkpoint(checkpoint, state, print_)
    while int(state.epoch) < settings.epochs and not bool(np.all(state.stopped)):
        state = epoch(state, data, runs, problem, program)
        _check_finite(state, plan)
        if checkpoint is not None:
            write_checkpoint(checkpoint, state, print_)
        if on_progress is not None:
            last = np.asarray(state.history)[int(state.epoch) - 1]
            on_progress(
                Progress(int(state.epoch), settings.epochs, last[:, 0], last[:, 1],
                         np.asarray(state.stopped), stage)
            )  # fmt: skip
    best = jax.tree.map(np.asarray, state.best)
    return TrainedThrough(
        best.network, np.exp(best.log_scale.astype(float)), plan,
        np.asarray(state.history)[: int(state.epoch)], np.asarray(state.best_epoch),
    )  # fmt: skip


def physical(
    share: Float[np.ndarray, "... parameter"], model: SoilModel
) -> Float[np.ndarray, "... parameter"]:
    """Return shares of the prior range in physical units, as the soil model saw them."""
    lower = np.array([row.lower for row in model.rows])
    upper = np.array([row.upper for row in model.rows])
    return np.asarray(lower + (upper - lower) * (MARGIN + (1.0 - 2.0 * MARGIN) * share))


def _fingerprint(
    inputs: np.ndarray, problem: Problem, starts: np.ndarray, plan: Plan, settings: EndToEndSettings
) -> dict[str, Any]:
    return {
        "model": problem.model.name,
        "variant": problem.model.variant,
        "covariates and forcing": digest(inputs),
        "measured layers and forcing": digest(*map(np.asarray, jax.tree.leaves(problem.sites))),
        "start": digest(starts),
        "training and validation sites": digest(plan.train, plan.validation, plan.fold,
                                                plan.member),
        "versions": versions(),
        **{f"setting {name}": value for name, value in settings.as_dict().items()},
    }  # fmt: skip


def _check_finite(state: CarbonState, plan: Plan) -> None:
    bad = ~np.isfinite(np.asarray(state.best_loss))
    if bad.any():
        i = int(np.argmax(bad))
        raise LearningError(
            f"End-to-end training diverged: member {plan.member[i]}, fold {plan.fold[i]} has the "
            f"validation loss {np.asarray(state.best_loss)[i]}. Use a smaller learning_rate."
        )
