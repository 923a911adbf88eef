"""The inputs of networks trained end to end: covariates, and the effect of the forcing on carbon.

The response is computed with the calibrated constant, which depends on the sites to which it was
fitted. Each fold therefore has its own inputs, with the constant that was not fitted to its sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda.learning.carbon_sites import CarbonSites
from proda.learning.end_to_end import named
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.features import Features, Missing, fit_features
from proda.learning.forcing_covariates import forcing_summary
from proda.learning.forcing_inputs import beside, response
from proda.learning.join import missing_reasons
from proda.learning.splits import NO_FOLD


@dataclass(frozen=True)
class EndToEndInputs:
    """Inputs of every site for every fold.

    `table` holds the predictors of networks trained on all sites; `reference` the parameters of its
    response in physical units, None with a summary of the forcing.
    """

    features: Features
    table: pd.DataFrame
    folds: tuple[int, ...]
    by_fold: Float[np.ndarray, "fold site input"]
    """With a summary of the forcing, which uses no constant, one entry for all folds."""
    reference: dict[str, float] | None

    def of(self, fold: int) -> Float[np.ndarray, "site input"]:
        """Return the inputs of networks trained without this fold."""
        return self.by_fold[self._entry(fold)]

    def own(self, fold: Int[np.ndarray, " site"]) -> Float[np.ndarray, "site input"]:
        """Return the inputs of each site with the constant fitted without its fold."""
        entry = np.array([self._entry(f) for f in fold.tolist()])
        return self.by_fold[entry, np.arange(len(fold))]

    def _entry(self, fold: int) -> int:
        return self.folds.index(fold) if len(self.by_fold) > 1 else 0


def with_covariates(
    sites: CarbonSites, settings: EndToEndSettings, missing: Missing
) -> tuple[CarbonSites, dict[str, int]]:
    """Leave out sites that lack a covariate, or count the values filled in on request."""
    network = settings.network()
    features = fit_features(sites.table, network.scaling, network.categories)
    encoded = features.encode(sites.table, missing)
    if encoded.usable.all():
        return sites, encoded.filled
    bad = np.flatnonzero(~encoded.usable)
    reasons = missing_reasons(sites.table.iloc[bad], features.names)
    out = pd.DataFrame({"site": sites.layers.profiles.site[bad], "reason": reasons})
    kept = sites.select(np.flatnonzero(encoded.usable))
    left_out = pd.concat([sites.left_out, out], ignore_index=True)
    return CarbonSites(kept.table, kept.layers, left_out), encoded.filled


def end_to_end_inputs(
    sites: CarbonSites,
    constants: Mapping[int, np.ndarray],
    settings: EndToEndSettings,
    missing: Missing = "leave_out",
) -> EndToEndInputs:
    """Return the inputs of sites that have all covariates.

    Parameters
    ----------
    constants
        Calibrated constant of every fold, including `NO_FOLD` if there are networks trained on all
        sites; shares of the prior range.

    Raises
    ------
    LearningError
        If a covariate has the name of an input from the forcing.
    """
    network, layers = settings.network(), sites.layers
    folds = tuple(sorted(constants))
    first = NO_FOLD if NO_FOLD in constants else folds[0]
    if settings.forcing_inputs == "summary":
        table = beside(sites.table, forcing_summary(layers.forcing))
        features = fit_features(table, network.scaling, network.categories)
        inputs = features.encode(table, missing).inputs[None]
        return EndToEndInputs(features, table, folds, inputs, None)
    values = {fold: named(share, layers.model) for fold, share in constants.items()}
    tables = {
        fold: beside(sites.table, response(layers.forcing, layers.model, values[fold]))
        for fold in folds
    }
    features = fit_features(tables[first], network.scaling, network.categories)
    inputs = np.stack([features.encode(tables[fold], missing).inputs for fold in folds])
    return EndToEndInputs(features, tables[first], folds, inputs, values[first])
