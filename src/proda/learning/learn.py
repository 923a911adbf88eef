"""From posteriors and covariates to a calibrated ensemble, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.learning import baselines
from proda.learning.applicability import fit_range
from proda.learning.calibration import fit_calibration
from proda.learning.ensemble import Ensemble
from proda.learning.features import Missing
from proda.learning.join import TrainingSites, join
from proda.learning.settings import LearningSettings
from proda.learning.splits import NO_FOLD, plan
from proda.learning.train import Progress, Trained, train
from proda.learning.validation import CrossValidation, assess, folds_of


@dataclass(frozen=True)
class Learned:
    """The ensemble, its cross-validation (None without folds), and the sites it was made from."""

    ensemble: Ensemble
    validation: CrossValidation | None
    sites: TrainingSites


def learn(
    covariates: pd.DataFrame,
    posterior: xr.Dataset,
    settings: LearningSettings | None = None,
    *,
    folds: int = 5,
    fold_members: int = 4,
    spatial: bool = True,
    methods: Sequence[str] = (),
    default: Float[np.ndarray, "..."] | None = None,
    trees: int = baselines.TREES,
    jobs: int = 1,
    missing: Missing = "leave_out",
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Learned:
    """Train an ensemble on all sites and networks without each fold, all in one program.

    Parameters
    ----------
    covariates, posterior, missing
        As in `join`.
    settings
        Default: ours; `settings.study()` for the paper's.
    folds, fold_members, spatial
        Folds of the cross-validation that calibrates the spread (0: none), networks in each, and
        whether folds are blocks of the map.
    methods, default, trees, jobs
        Baselines, as in `cross_validate`.
    checkpoint
        File from which an interrupted training goes on; removed at the end.
    on_progress
        Called every few epochs.

    Raises
    ------
    LearningError, FileError
        If data, settings or checkpoint do not fit.
    """
    settings = LearningSettings() if settings is None else settings
    sites = join(covariates, posterior, settings, missing)
    goal = sites.targets
    fold = folds_of(sites, settings, folds, spatial) if folds else None
    design = plan(goal.latitude, goal.longitude, settings, fold, fold_members if folds else 0)
    trained = train(
        sites.inputs, goal, design, settings, checkpoint=checkpoint, on_progress=on_progress
    )
    validation, calibration = None, None
    if fold is not None:
        validation = assess(sites, fold, trained, settings, methods, default, trees, jobs)
        calibration = fit_calibration(goal, validation.predicted["network"], validation.spread)
    runs = np.flatnonzero(design.fold == NO_FOLD)
    ensemble = Ensemble(
        jax.tree.map(lambda leaf: leaf[runs], trained.networks), sites.features,
        fit_range(sites.table, sites.features), calibration, goal.model, goal.variant,
        goal.parameters, goal.lower, goal.upper, settings, goal.sites.size,
        training_history(trained, runs),
    )  # fmt: skip
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return Learned(ensemble, validation, sites)


def training_history(trained: Trained, runs: np.ndarray) -> pd.DataFrame:
    """Losses as a table: member, epoch (from 1), training_loss, validation_loss, kept."""
    parts = []
    for run in runs:
        losses = trained.history[:, run]
        ran = np.flatnonzero(np.isfinite(losses[:, 1]))
        parts.append(
            pd.DataFrame(
                {
                    "member": int(trained.plan.member[run]),
                    "epoch": ran + 1,
                    "training_loss": losses[ran, 0],
                    "validation_loss": losses[ran, 1],
                    "kept": ran == trained.best_epoch[run],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
