"""End-to-end training: through the soil model, on every profile, without assimilation.

First one set of parameters is fitted to all profiles (the calibrated constant). By default,
networks then start there. Both use the same program: the constant is a network whose inputs are all
0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import expit, logit

from proda.checksums import digest
from proda.default_b import b_where_needed
from proda.errors import LearningError
from proda.learning.carbon_loss import DEPTH_CLASSES, CarbonProblem, site_weights
from proda.learning.end_to_end_loss import end_to_end_loss, initial_learners
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.layers import SiteLayers
from proda.learning.logits import MARGIN
from proda.learning.program import keys_of, runs_of
from proda.learning.splits import TrainingPlan
from proda.learning.stream_loss import (
    check_some,
    named_parameters,
    stream_problem,
    stream_rows,
)
from proda.learning.train import CONSTANT, END_TO_END, Progress, Trained, train
from proda.models.model import SoilModel
from proda.models.outside import provenance
from proda.streams.stream import Stream
from proda.streams.table import StreamTable

RANDOM = (0.1, 0.9)
"""Random starts lie between these shares of the prior range, uniformly."""

STEPS = 12
"""Minimum number of batches of an epoch: small studies have smaller batches."""

NEAREST = 0.05
"""Defaults closer to an end of the prior range than this share, or outside, start here instead."""


def problem_of(
    layers: SiteLayers, settings: EndToEndSettings, tables: tuple[StreamTable, ...] = ()
) -> CarbonProblem:
    """Prepare sites for the soil model.

    Parameters
    ----------
    layers, settings
        The sites, and the settings of the training.
    tables
        Data beside carbon from which networks of this model can learn.
    """
    sites = layers.for_training()
    count = np.asarray(sites.measured.mask.sum(axis=1))
    if (count == 0).any():
        first = layers.profiles.site[int(np.argmin(count))]
        raise LearningError(f"{first}: all its measured layers lie in bedrock; leave it out.")
    beside = stream_problem(layers, tables, float(np.sqrt(count).mean())) if tables else None
    check_some(beside, tables)
    return CarbonProblem(
        layers.model,
        sites,
        jnp.asarray(site_weights(count)),
        1000.0 * settings.floor,
        settings.steepest,
        settings.lost,
        settings.back,
        beside,
    )


def default_share(layers: SiteLayers, b: float | None = None) -> Float[np.ndarray, " parameter"]:
    """Return the model's defaults as shares of the prior range, held inside it.

    A default that depends on the site enters as its mean over sites and layers; b, where the
    registry has none, as given (None: the mean over all vegetation).
    """
    model, shares = layers.model, []
    needed = b_where_needed(model.rows, b)
    own = jax.vmap(model.default_values)(layers.for_training().column)
    for row in model.rows:
        value = float(np.mean(np.asarray(own[row.name])))
        if row.name == "b" and needed is not None:
            value = needed
        elif np.isnan(value):
            value = row.middle
        shares.append(row.share(value))
    return np.clip(np.array(shares), NEAREST, 1.0 - NEAREST)


def starts_of(
    plan: TrainingPlan,
    constants: Mapping[int, np.ndarray],
    default: Float[np.ndarray, " parameter"],
    settings: EndToEndSettings,
) -> Float[np.ndarray, "run parameter"]:
    """Return the logits at which each run starts, and to which it is pulled.

    Parameters
    ----------
    constants
        Calibrated constant by fold, shares of the prior range.
    default
        The model's defaults as such shares (:func:`default_share`).
    settings
        `start`, and the seed: a random start comes from (seed, fold, member).
    """
    if settings.start == "random":
        low, high = RANDOM

        def draw(key: PRNGKeyArray) -> Array:  # epochs use the numbers below
            own = jax.random.fold_in(key, 1_000_033)
            return jax.random.uniform(own, default.shape, float, low, high)

        share = np.asarray(jax.vmap(draw)(keys_of(plan, settings.seed)))
    elif settings.start == "default":
        share = np.tile(default, (len(plan.fold), 1))
    else:
        return constant_logits(constants, plan.fold.tolist())
    return np.asarray(logit(share))


def constant_logits(
    constants: Mapping[int, np.ndarray], folds: Sequence[int]
) -> Float[np.ndarray, "fold parameter"]:
    """Return the logits of the calibrated constants (shares of the prior range) of some folds."""
    return np.asarray(logit(np.stack([np.clip(constants[f], 1e-6, 1 - 1e-6) for f in folds])))


def fit_constants(
    problem: CarbonProblem,
    start: Float[np.ndarray, " parameter"],
    plan: TrainingPlan,
    settings: EndToEndSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Float[np.ndarray, "run parameter"], Trained]:
    """Fit one set of parameters to the training sites of each run; shares of the prior range."""
    own = settings.constant()
    n = int(problem.weight.shape[0])
    starts = np.tile(logit(start), (len(plan.fold), 1))
    trained = train_through(
        np.zeros((n, 1)), problem, starts, plan, own, on_progress=on_progress, stage=CONSTANT
    )
    return np.asarray(expit(np.asarray(trained.networks.biases[-1], float))), trained


def train_through(
    inputs: Float[np.ndarray, "site input"] | Float[np.ndarray, "fold site input"],
    problem: CarbonProblem,
    starts: Float[np.ndarray, "run parameter"],
    plan: TrainingPlan,
    settings: EndToEndSettings,
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stage: str = END_TO_END,
    offset: Float[np.ndarray, "fold site parameter"] | None = None,
) -> Trained:
    """Train every run of the plan through the soil model.

    Parameters
    ----------
    inputs
        Encoded covariates and inputs from the forcing, one row per site of `problem`; with a
        leading axis, one entry for every fold of the plan, in ascending order.
    starts
        Logits of the parameters (as shares of the prior range) at which each run starts.
    offset
        Values added to the networks' logits at each site; the leading axis is that of `inputs`.
    checkpoint, on_progress
        As in :func:`proda.learning.train.train`; both follow every epoch.

    Raises
    ------
    FileError
        If the checkpoint belongs to something else or is damaged.
    LearningError
        If a global parameter is unknown, or a run diverged.
    """
    names = [row.name for row in problem.model.rows]
    if unknown := sorted(set(settings.global_parameters) - set(names)):
        raise LearningError(
            f"global_parameters: {', '.join(unknown)} unknown; the model has {', '.join(names)}."
        )
    settings = replace(settings, batch_size=batch_size(plan, settings))
    varies = np.array([name not in settings.global_parameters for name in names])
    each = inputs if inputs.ndim == 3 else inputs[None]
    entry = np.searchsorted(np.unique(plan.fold), plan.fold) if len(each) > 1 else 0 * plan.fold
    loss = end_to_end_loss(each, entry, problem, varies, settings, offset)
    runs = runs_of(plan, starts, settings.seed)
    data: dict[str, Any] = {
        "model": problem.model.name,
        "variant": problem.model.variant,
        **provenance(problem.model),
        "covariates and forcing": digest(inputs),
        "measured layers and forcing": digest(*map(np.asarray, jax.tree.leaves(problem.sites))),
        "start": digest(starts),
        **({} if offset is None else {"inversion": digest(offset)}),
    }
    if (beside := problem.beside) is not None:
        data["streams"] = digest(*map(np.asarray, jax.tree.leaves((beside.sites, beside.place))))
        data["settings of streams"] = {s.name: s.settings for s in beside.streams}
    learners = initial_learners(runs, inputs.shape[-1], settings, problem.own_start)
    return train(
        loss, learners, runs, plan, settings, data, stage, checkpoint, on_progress=on_progress
    )


def batch_size(plan: TrainingPlan, settings: EndToEndSettings) -> int:
    """Return the sites of a batch: at most `settings.batch_size`, and `STEPS` batches an epoch.

    Otherwise the training of a small study would end after a few steps.
    """
    longest = int((plan.train >= 0).sum(axis=1).max())
    return max(1, min(settings.batch_size, longest // STEPS))


def error_scale(trained: Trained) -> Float[np.ndarray, "run depth_class"]:
    """Return the scale of Student's t for the error of ln carbon, by class of depth."""
    return np.exp(trained.extra[:, : len(DEPTH_CLASSES)].astype(float))


def stream_parameters(
    trained: Trained, streams: tuple[Stream, ...], model: SoilModel
) -> dict[str, float]:
    """Return the parameters of the streams that were learnt, in physical units.

    The mean over the runs of their shares of the range.
    """
    own = trained.extra[:, len(DEPTH_CLASSES) :].astype(float)
    return named_parameters(stream_rows(streams, model), own)


def named(share: Float[np.ndarray, " parameter"], model: SoilModel) -> dict[str, float]:
    """Return one set of shares of the prior range in physical units, by parameter."""
    values = physical(share, model).tolist()
    return {row.name: value for row, value in zip(model.rows, values, strict=True)}


def physical(
    share: Float[np.ndarray, "... parameter"], model: SoilModel
) -> Float[np.ndarray, "... parameter"]:
    """Return shares of the prior range in physical units, as used by the soil model."""
    lower = np.array([row.lower for row in model.rows])
    upper = np.array([row.upper for row in model.rows])
    return np.asarray(lower + (upper - lower) * (MARGIN + (1.0 - 2.0 * MARGIN) * share))
