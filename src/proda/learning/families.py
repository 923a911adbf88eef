"""The two kinds of networks of an end-to-end ensemble: their inputs and their training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from proda.errors import LearningError
from proda.learning.applicability import fit_range
from proda.learning.carbon_sites import CarbonSites
from proda.learning.end_to_end import (
    default_share,
    error_scale,
    fit_constants,
    problem_of,
    starts_of,
    stream_parameters,
    train_through,
)
from proda.learning.end_to_end_inputs import EndToEndInputs, end_to_end_inputs
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.ensemble import Ensemble, predict_members
from proda.learning.features import Missing
from proda.learning.inverted_inputs import InvertedInputs, inverted_inputs
from proda.learning.splits import NO_FOLD, TrainingPlan
from proda.learning.train import Progress, Trained
from proda.models.model import SoilModel
from proda.models.outside import provenance
from proda.streams.table import StreamTable

Inputs = tuple[Float[np.ndarray, "site input"], Float[np.ndarray, "site parameter"] | None]
"""Inputs of every site, and values added to the logits there (None: nothing)."""


@dataclass(frozen=True)
class Family:
    """Networks of one kind, in all folds, and their inputs by fold."""

    trained: Trained
    of: Callable[[int], Inputs]

    def shares(
        self, fold: int, rows: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, "member row parameter"]:
        """Return parameters, as shares of the prior range, by networks without this fold."""
        inputs, offset = self.of(fold)
        runs = np.flatnonzero(self.trained.plan.fold == fold)
        networks = jax.tree.map(lambda leaf: leaf[runs], self.trained.networks)
        return predict_members(networks, inputs[rows], None if offset is None else offset[rows])


@dataclass(frozen=True)
class TrainedFamilies:
    """All networks of an end-to-end training, and the constants at which they start.

    `constants` are the calibrated constants by fold, shares of the prior range; `inverted` holds
    the inputs of the networks that correct an inversion, None without any.
    """

    families: tuple[Family, ...]
    inputs: EndToEndInputs
    inverted: InvertedInputs | None
    constants: dict[int, Float[np.ndarray, " parameter"]]
    tables: tuple[StreamTable, ...] = ()
    """Data beside carbon from which the networks have learnt."""

    @property
    def n_inputs(self) -> int:
        """Number of inputs of the networks that take the covariates."""
        return int(self.inputs.by_fold.shape[2])

    def shares(
        self, fold: int, rows: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, "member row parameter"]:
        """Return the parameters of sites by all networks trained without this fold."""
        return np.concatenate([one.shares(fold, rows) for one in self.families])

    def _wholes(self) -> list[Trained]:
        trained = [one.trained for one in self.families]
        return [one.select(np.flatnonzero(one.plan.fold == NO_FOLD)) for one in trained]

    def stream_parameters(self, fold: int, model: SoilModel) -> dict[str, float]:
        """Return the parameters of the streams of networks trained without this fold."""
        streams = tuple(table.stream for table in self.tables)
        parts = [
            one.trained.select(np.flatnonzero(one.trained.plan.fold == fold))
            for one in self.families
        ]
        counted = [(len(p.plan.fold), stream_parameters(p, streams, model)) for p in parts]
        total = sum(n for n, _ in counted)
        return {name: sum(n * one[name] for n, one in counted) / total for name in counted[0][1]}

    def error_scale(self) -> Float[np.ndarray, " depth_class"]:
        """Return the scale of the error of ln carbon: geometric mean over the members."""
        scales = np.concatenate([error_scale(whole) for whole in self._wholes()])
        return np.asarray(np.exp(np.log(scales).mean(axis=0)))

    def ensemble(self, sites: CarbonSites, settings: EndToEndSettings) -> Ensemble:
        """Return the networks trained on all sites."""
        wholes, model = self._wholes(), sites.layers.model
        return Ensemble(
            wholes[0].networks,
            self.inputs.features,
            fit_range(self.inputs.table, self.inputs.features),
            None,
            model.name,
            model.variant,
            tuple(row.name for row in model.rows),
            np.array([row.lower for row in model.rows]),
            np.array([row.upper for row in model.rows]),
            settings.network(),
            len(sites),
            pd.concat([whole.table() for whole in wholes], ignore_index=True),
            self.inputs.reference,
            provenance(model),
            None if self.inverted is None else self.inverted.members(wholes[1].networks),
        )


def train_families(
    sites: CarbonSites,
    design: TrainingPlan,
    fold: Int[np.ndarray, " site"] | None,
    group: Int[np.ndarray, " site"] | None,
    settings: EndToEndSettings,
    checkpoint: Path,
    missing: Missing,
    tell: Callable[[str], None],
    progress: Callable[[Progress], None] | None,
    tables: tuple[StreamTable, ...] = (),
) -> TrainedFamilies:
    """Fit the constants, then train the networks of both kinds.

    Parameters
    ----------
    design
        Runs of both kinds, which :func:`correcting_runs` distinguishes.
    fold, group
        Fold of each site, and its group for boosting
        (:func:`proda.learning.boosted_carbon.crossed_carbon`); None where no run corrects an
        inversion.
    checkpoint
        Folder for the checkpoints.
    tables
        Data beside carbon from which networks of this model can learn.
    """
    correcting = correcting_runs(design, settings)
    tell("preparing")
    problem = problem_of(sites.layers, settings, tables)
    tell("calibrated constant")
    default = default_share(sites.layers)
    firsts = np.array([int(np.flatnonzero(design.fold == f)[0]) for f in np.unique(design.fold)])
    fitted, _ = fit_constants(problem, default, design.select(firsts), settings, progress)
    constants = dict(zip(design.fold[firsts].tolist(), fitted, strict=True))
    inputs = end_to_end_inputs(sites, constants, settings, missing)
    tell("training")
    seeing = design.select(np.flatnonzero(~correcting))
    trained = train_through(
        inputs.by_fold,
        problem,
        starts_of(seeing, constants, default, settings),
        seeing,
        settings,
        checkpoint / "first",
        progress,
    )
    first = Family(trained, lambda fold: (inputs.of(fold), None))
    if fold is None or group is None or not correcting.any():
        return TrainedFamilies((first,), inputs, None, constants, tables)
    tell("inversion of boosted carbon")
    inverted = inverted_inputs(sites, inputs, constants, fold, group, settings)
    tell("training on the inversion")
    own = design.select(np.flatnonzero(correcting))
    corrected = train_through(
        inverted.by_fold,
        problem,
        inverted.start[np.searchsorted(inverted.folds, own.fold)],
        own,
        settings.inverted(),
        checkpoint / "inverted",
        progress,
        offset=inverted.offset,
    )
    second = Family(corrected, inverted.of)
    return TrainedFamilies((first, second), inputs, inverted, constants, tables)


def correcting_runs(plan: TrainingPlan, settings: EndToEndSettings) -> Bool[np.ndarray, " run"]:
    """Return which runs correct an inversion: the last members of the ensemble and of each fold.

    Raises
    ------
    LearningError
        If the ensemble has such members, but a fold would have none.
    """
    out = np.zeros(len(plan.fold), bool)
    members = {fold: int((plan.fold == fold).sum()) for fold in np.unique(plan.fold).tolist()}
    if settings.inverted_of(members.get(NO_FOLD, 0)) == 0:
        return out
    for fold, count in members.items():
        further = settings.inverted_of(count)
        if further == 0:
            raise LearningError(
                f"Each fold has {count} network, but the ensemble has members of two kinds "
                f"(inverted_share = {settings.inverted_share:g}); train at least 2 networks in "
                "each fold, or set inverted_share to 0."
            )
        out |= (plan.fold == fold) & (plan.member >= count - further)
    return out
