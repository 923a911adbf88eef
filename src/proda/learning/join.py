"""Posteriors and covariates of the same sites, joined; sites left out are listed with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.errors import LearningError
from proda.learning.features import Features, Missing, fit_features, predictors
from proda.learning.learning_settings import LearningSettings
from proda.learning.targets import Targets, targets

NO_COVARIATES = "no covariates"


def missing_reasons(table: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Return for each row which of these covariates it lacks."""
    lacking = table[list(names)].isna()
    return [f"lacks {', '.join(row.index[row])}" for _, row in lacking.iterrows()]


@dataclass(frozen=True)
class TrainingSites:
    """Training data: sites with a posterior and all covariates, in the posterior's order.

    `table` holds the covariates, `inputs` the same encoded; `left_out` lists the other sites
    (columns site, reason); `filled` counts values filled on request, by covariate.
    """

    targets: Targets
    table: pd.DataFrame
    features: Features
    inputs: Float[np.ndarray, "site input"]
    left_out: pd.DataFrame
    filled: dict[str, int]

    def select(self, rows: np.ndarray) -> TrainingSites:
        """Return some of the sites; the description of the predictors is unchanged."""
        return TrainingSites(
            self.targets.select(rows),
            self.table.iloc[rows].reset_index(drop=True),
            self.features,
            self.inputs[rows],
            self.left_out,
            self.filled,
        )


def join(
    covariates: pd.DataFrame,
    posterior: xr.Dataset,
    settings: LearningSettings,
    missing: Missing = "leave_out",
) -> TrainingSites:
    """Join the posteriors of sites with their covariates, by the site's name.

    Parameters
    ----------
    covariates
        Column `site` and the predictors (as `proda covariates build` writes them).
    posterior
        Summary of the site posteriors (`targets.targets`).
    missing
        What to do with sites that lack a covariate: "leave_out" lists them, "median" fills in the
        median of the others and counts the values.

    Raises
    ------
    LearningError
        If a site occurs twice, or no site is left.
    """
    if "site" not in covariates:
        raise LearningError("The covariates lack the column site.")
    names = covariates["site"].astype(str)
    if (double := names[names.duplicated()]).size:
        raise LearningError(f"The covariates contain site {double.iloc[0]} more than once.")
    goal = targets(posterior, settings)
    place = pd.Index(names).get_indexer(pd.Index(goal.sites))
    have = np.flatnonzero(place >= 0)
    if have.size == 0:
        raise LearningError(
            f"None of the {goal.sites.size} sites with a posterior has covariates; do the names "
            f"of the sites match? ({goal.sites[0]!r} against {names.iloc[0]!r})"
        )
    out = pd.DataFrame({"site": goal.sites[place < 0], "reason": NO_COVARIATES})
    table = covariates.iloc[place[have]].reset_index(drop=True)
    features = fit_features(table, settings.scaling, settings.categories)
    encoded = features.encode(table, missing)
    if not encoded.usable.all():
        reasons = missing_reasons(table.loc[~encoded.usable], predictors(table))
        lost = table.loc[~encoded.usable, "site"].astype(str).to_numpy()
        out = pd.concat([out, pd.DataFrame({"site": lost, "reason": reasons})], ignore_index=True)
    return TrainingSites(
        goal.select(have[encoded.usable]),
        table.loc[encoded.usable].reset_index(drop=True),
        features,
        encoded.inputs,
        out,
        encoded.filled,
    )
