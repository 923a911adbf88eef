"""Inputs of members that correct an inversion, for every fold (`inverted_members.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from proda.learning.boosted_carbon import BoostedCarbon, crossed_carbon
from proda.learning.carbon_sites import CarbonSites
from proda.learning.end_to_end import constant_logits
from proda.learning.end_to_end_inputs import EndToEndInputs
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.features import Features, fit_features
from proda.learning.inversion import invert
from proda.learning.inverted_members import InvertedMembers, boosted_table, covariate_columns
from proda.learning.network import Network
from proda.learning.splits import NO_FOLD


@dataclass(frozen=True)
class InvertedInputs:
    """Data for training inverted members. Folds as in `EndToEndInputs`.

    `by_fold` are the networks' inputs, `offset` the values added to their logits, `start` the
    logits of the calibrated constant of each fold.
    """

    features: Features
    boosting: BoostedCarbon
    folds: tuple[int, ...]
    by_fold: Float[np.ndarray, "fold site input"]
    offset: Float[np.ndarray, "fold site parameter"]
    start: Float[np.ndarray, "fold parameter"]
    varies: Float[np.ndarray, " parameter"]

    def members(self, networks: Network) -> InvertedMembers:
        """Return networks trained on all sites as members of an ensemble."""
        start = self.start[self.folds.index(NO_FOLD)]
        return InvertedMembers(networks, self.features, self.boosting, start, self.varies)

    def of(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and offsets of networks trained without this fold."""
        entry = self.folds.index(fold)
        return self.by_fold[entry], self.offset[entry]


def inverted_inputs(
    sites: CarbonSites,
    inputs: EndToEndInputs,
    constants: Mapping[int, np.ndarray],
    fold: Int[np.ndarray, " site"],
    group: Int[np.ndarray, " site"],
    settings: EndToEndSettings,
) -> InvertedInputs:
    """Fit boosting for every fold, and invert the carbon that it predicts at every site.

    Parameters
    ----------
    constants
        Calibrated constant of every fold, shares of the prior range.
    fold, group
        As in :func:`proda.learning.boosted_carbon.crossed_carbon`.
    """
    model = sites.layers.model
    folds = tuple(sorted(constants))
    columns = covariate_columns(inputs.features)
    boosting, carbon = crossed_carbon(
        sites, inputs.of(folds[0]), columns, fold, group, folds, settings.seed
    )
    varies = np.array([row.name not in settings.global_parameters for row in model.rows], float)
    features = fit_features(boosted_table(carbon[0]), settings.scaling)
    start = constant_logits(constants, folds)
    logits = np.stack(
        [
            invert(sites.layers.forcing, model, start[i], carbon[i], varies)
            for i in range(len(folds))
        ]
    )
    encoded = np.stack([features.encode(boosted_table(one)).inputs for one in carbon])
    offset = logits - start[:, None]
    return InvertedInputs(features, boosting, folds, encoded, offset, start, varies)
