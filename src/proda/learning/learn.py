"""From posteriors and covariates to a calibrated ensemble, in one call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.learning.applicability import fit_range
from proda.learning.calibration import fit_calibration
from proda.learning.ensemble import Ensemble
from proda.learning.features import Missing
from proda.learning.join import TrainingSites, join
from proda.learning.layers import SiteLayers
from proda.learning.learning_settings import LearningSettings
from proda.learning.posterior_loss import train_parameters
from proda.learning.splits import NO_FOLD, plan
from proda.learning.targets import Targets, targets
from proda.learning.train import Progress, Trained
from proda.learning.tune import tune
from proda.learning.validation import NETWORK, UNTUNED, CrossValidation, assess, folds_of
from proda.validation_settings import FOLDS, FROM_POSTERIORS, TREES


@dataclass(frozen=True)
class Learned:
    """The ensemble, its cross-validation (None without folds), and the sites it was made from.

    Where it was tuned, `tuned` holds that training, and the cross-validation contains the network
    before tuning as the method `network_untuned`.
    """

    ensemble: Ensemble
    validation: CrossValidation | None
    sites: TrainingSites
    tuned: Trained | None = None
    layers: SiteLayers | None = None


def learn(
    covariates: pd.DataFrame,
    posterior: xr.Dataset,
    settings: LearningSettings | None = None,
    *,
    folds: int = FOLDS,
    fold_members: int = FROM_POSTERIORS,
    spatial: bool = True,
    methods: Sequence[str] = (),
    default: Float[np.ndarray, "..."] | None = None,
    trees: int = TREES,
    jobs: int = 1,
    missing: Missing = "leave_out",
    layers: Callable[[np.ndarray], SiteLayers] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    keep_checkpoint: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Learned:
    """Train an ensemble on all sites and networks without each fold, all in one program.

    Parameters
    ----------
    covariates, posterior, missing
        As in `join`.
    settings
        Settings of network and training; by default ours. `learning_settings.study()` returns the
        paper's.
    folds, fold_members, spatial
        Folds of the cross-validation that calibrates the spread (0: none), networks in each, and
        whether folds are blocks of the map.
    methods, default, trees, jobs
        Baselines, as in `cross_validate`.
    layers
        Called with the names of the sites that have all covariates; returns their measured layers
        (`layers.read_layers`). With them, and `tuning_epochs` above 0, the networks are tuned
        through the soil model; without them, they are trained on parameters only.
    checkpoint
        Folder from which an interrupted training resumes; removed at the end.
    keep_checkpoint
        Whether to keep it, for a caller that has yet to write the result.
    on_progress
        Called every few epochs.

    Raises
    ------
    LearningError, FileError
        If data, settings or checkpoint are inconsistent.
    """
    settings = LearningSettings() if settings is None else settings
    sites = join(covariates, posterior, settings, missing)
    goal = sites.targets
    fold = folds_of(sites, settings, folds, spatial) if folds else None
    design = plan(goal.latitude, goal.longitude, settings, fold, fold_members if folds else 0)
    trained = train_parameters(
        sites.inputs, goal, design, settings, checkpoint=checkpoint, on_progress=on_progress
    )
    measured = None if layers is None else layers(goal.sites)
    tuned, before = None, trained
    if measured is not None and settings.tuning_epochs > 0:
        tuned = tune(sites, measured, trained, settings, checkpoint, on_progress)
        trained = replace(trained, networks=tuned.networks)
    validation, calibration = None, None
    if fold is not None:
        validation = assess(sites, fold, trained, settings, methods, default, trees, jobs)
        if tuned is not None:
            untuned = assess(sites, fold, before, settings).predicted[NETWORK]
            validation = replace(validation, predicted=validation.predicted | {UNTUNED: untuned})
        reference = _estimates_from_profiles(posterior, settings, goal.sites)
        calibration = fit_calibration(reference, validation.predicted[NETWORK], validation.spread)
    runs = np.flatnonzero(design.fold == NO_FOLD)
    stages = [before] if tuned is None else [before, tuned]
    history = pd.concat([one.select(runs).table() for one in stages], ignore_index=True)
    ensemble = Ensemble(
        jax.tree.map(lambda leaf: leaf[runs], trained.networks),
        sites.features,
        fit_range(sites.table, sites.features),
        calibration,
        goal.model,
        goal.variant,
        goal.parameters,
        goal.lower,
        goal.upper,
        settings,
        goal.sites.size,
        history,
        origin=goal.origin,
    )
    if checkpoint is not None and not keep_checkpoint:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return Learned(ensemble, validation, sites, tuned, measured)


def _estimates_from_profiles(
    posterior: xr.Dataset, settings: LearningSettings, sites: np.ndarray
) -> Targets:
    """Return the reference of the calibration.

    The prior pulls the posterior means to the middle of its range, but not these estimates.
    """
    estimates = targets(posterior, replace(settings, target="likelihood", loss="weighted"))
    return estimates.select(pd.Index(estimates.sites).get_indexer(pd.Index(sites)))
