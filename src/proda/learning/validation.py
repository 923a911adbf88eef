"""Cross-validation: every method's parameters at every site, predicted without that site.

Ranges and classes of the covariates come from all sites, as for a map. Posteriors of the held-out
sites are used neither in training nor in choosing the epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from proda.errors import LearningError
from proda.learning import baselines
from proda.learning.ensemble import predict_members
from proda.learning.join import TrainingSites
from proda.learning.learning_settings import LearningSettings
from proda.learning.network import Network
from proda.learning.posterior_loss import train_parameters
from proda.learning.skill import skill
from proda.learning.splits import NO_FOLD, plan, random_folds, spatial_folds
from proda.learning.train import Progress, Trained
from proda.validation_settings import FROM_POSTERIORS, TREES

NETWORK = "network"
UNTUNED = "network_untuned"
"""The same network before it was tuned through the soil model."""


@dataclass(frozen=True)
class CrossValidation:
    """Predictions for held-out sites; arrays are (site, parameter), shares of the prior range.

    `predicted` has one array per method; `spread` is the sd between the network's members;
    `weighted_mean` is the reference of skill.
    """

    sites: TrainingSites
    folds: Int[np.ndarray, " site"]
    predicted: dict[str, Float[np.ndarray, "site parameter"]]
    spread: Float[np.ndarray, "site parameter"]
    weighted_mean: Float[np.ndarray, "site parameter"]
    trained: Trained

    def parameters(self) -> dict[str, Float[np.ndarray, "site parameter"]]:
        """Predicted parameters in physical units by method, in the order of `sites`."""
        return {name: self.sites.targets.physical(p) for name, p in self.predicted.items()}

    def skill(self) -> pd.DataFrame:
        """Skill of every method and parameter (`skill.skill`)."""
        return skill(self.sites.targets, self.predicted, self.weighted_mean)

    def networks(self, fold: int) -> Network:
        """Return the networks that were trained without a fold, stacked."""
        runs = np.flatnonzero(self.trained.plan.fold == fold)
        return jax.tree.map(lambda leaf: leaf[runs], self.trained.networks)

    def members(self) -> Float[np.ndarray, "member site parameter"]:
        """Parameters at every site by each network that was trained without it, physical units."""
        goal = self.sites.targets
        parts = {
            int(fold): predict_members(
                self.networks(int(fold)), self.sites.inputs[self.folds == fold]
            )
            for fold in np.unique(self.folds)
        }
        out = np.full((min(len(part) for part in parts.values()), *goal.posterior.shape), np.nan)
        for fold, part in parts.items():
            out[:, self.folds == fold] = part[: len(out)]
        return goal.physical(out)

    def as_dataset(self) -> xr.Dataset:
        """All predictions (method, site, parameter) in physical units, with fold and place."""
        goal = self.sites.targets
        dims = ("site", "parameter")
        return xr.Dataset(
            {
                "predicted": (("method", *dims), np.stack(list(self.parameters().values()))),
                "posterior_mean": (dims, goal.physical(goal.posterior)),
                "spread": (dims, self.spread * (goal.upper - goal.lower)),
                "fold": ("site", self.folds),
            },
            coords={
                "method": list(self.predicted),
                "site": goal.sites.astype(object),
                "parameter": list(goal.parameters),
                "latitude": ("site", goal.latitude),
                "longitude": ("site", goal.longitude),
                "lower": ("parameter", goal.lower),
                "upper": ("parameter", goal.upper),
            },
            attrs={"model": goal.model, "variant": goal.variant, **goal.origin},
        )


def folds_of(
    sites: TrainingSites, settings: LearningSettings, k: int, spatial: bool = True
) -> Int[np.ndarray, " site"]:
    """Return the fold of each site: whole blocks of the map, or at random."""
    goal = sites.targets
    if spatial:
        return spatial_folds(
            goal.latitude, goal.longitude, k, settings.block_degrees, settings.seed
        )
    return random_folds(goal.sites.size, k, settings.seed)


def cross_validate(
    sites: TrainingSites,
    folds: Int[np.ndarray, " site"],
    settings: LearningSettings,
    fold_members: int = FROM_POSTERIORS,
    methods: Sequence[str] = ("mean", "nearest_site", "random_forest"),
    default: Float[np.ndarray, "..."] | None = None,
    trees: int = TREES,
    jobs: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CrossValidation:
    """Train without each fold in turn (all folds together) and predict it.

    Parameters
    ----------
    folds
        Fold of each site (`folds_of`).
    fold_members
        Networks in each fold.
    methods
        Baselines: any of mean, nearest_site, random_forest.
    default
        Default parameters, physical, (parameter,) or (site, parameter): a further baseline.
    trees, jobs
        Size of the random forest, and processes to grow it.

    Raises
    ------
    LearningError
        If a method is unknown or data are inconsistent.
    """
    goal = sites.targets
    design = plan(goal.latitude, goal.longitude, settings, folds, fold_members, members=0)
    trained = train_parameters(
        sites.inputs, goal, design, settings, checkpoint=checkpoint, on_progress=on_progress
    )
    return assess(sites, folds, trained, settings, methods, default, trees, jobs)


def assess(
    sites: TrainingSites,
    folds: Int[np.ndarray, " site"],
    trained: Trained,
    settings: LearningSettings,
    methods: Sequence[str] = (),
    default: Float[np.ndarray, "..."] | None = None,
    trees: int = TREES,
    jobs: int = 1,
) -> CrossValidation:
    """Predict every fold with the networks trained without it, and with the baselines."""
    if unknown := sorted(set(methods) - {"mean", "nearest_site", "random_forest"}):
        raise LearningError(
            f"Unknown method: {', '.join(unknown)}; known: mean, nearest_site, random_forest."
        )
    shape = sites.targets.posterior.shape
    predicted = {name: np.full(shape, np.nan) for name in (NETWORK, *methods)}
    spread, reference = np.full(shape, np.nan), np.full(shape, np.nan)
    for fold in np.unique(folds):
        test, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        runs = np.flatnonzero((trained.plan.fold == fold) & (fold != NO_FOLD))
        networks = jax.tree.map(lambda leaf, runs=runs: leaf[runs], trained.networks)
        members = predict_members(networks, sites.inputs[test])
        predicted[NETWORK][test] = members.mean(axis=0)
        spread[test] = members.std(axis=0, ddof=1) if len(runs) > 1 else 0.0
        known, asked = sites.select(rest), sites.select(test)
        reference[test] = baselines.weighted_mean(known, test.size)
        if "mean" in methods:
            predicted["mean"][test] = baselines.mean_parameters(known, test.size)
        if "nearest_site" in methods:
            predicted["nearest_site"][test] = baselines.nearest_site(known, asked)
        if "random_forest" in methods:
            predicted["random_forest"][test] = baselines.random_forest(
                known, asked, settings.seed, trees, jobs
            )
    if default is not None:
        predicted["default"] = baselines.default_parameters(default, sites)
    return CrossValidation(sites, folds, predicted, spread, reference, trained)
