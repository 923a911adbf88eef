"""Carbon predicted from covariates by gradient boosting, from which some networks start.

Trees reproduce the layers to which they were fitted. The carbon of a site is therefore predicted by
trees that were fitted neither to its own fold nor to the held-out fold (docs/theory.md#inversion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from proda.learning.carbon_baselines import design, fit_trees, layer_weights, trees_of
from proda.learning.carbon_sites import CarbonSites, layer_table
from proda.learning.forcing_inputs import DEPTHS

SETTINGS = {"max_iter": 120, "learning_rate": 0.12, "max_bins": 63}
"""Fewer and larger steps than for the baseline: boosting is fitted once for each pair of folds,
with the same skill."""

SHARE = 0.05
"""Classes with a smaller share of the sites are not used: trees would hardly ever split on them."""


@dataclass(frozen=True)
class BoostedCarbon:
    """Fitted trees, as arrays, and the inputs that they use."""

    columns: Int[np.ndarray, " column"]
    arrays: dict[str, np.ndarray]

    def profile(self, inputs: Float[np.ndarray, "site input"]) -> Float[np.ndarray, "site depth"]:
        """Return ln carbon (g m-3) at each of `DEPTHS`."""
        n, depths = len(inputs), len(DEPTHS)
        site, depth = np.repeat(np.arange(n), depths), np.tile(DEPTHS, n)
        table = design(inputs[:, self.columns], site, depth)
        return trees_of(self.arrays, table).reshape(n, depths)


def frequent(
    inputs: Float[np.ndarray, "site input"], columns: Int[np.ndarray, " column"]
) -> Int[np.ndarray, " column"]:
    """Return those of the columns that are quantities, or classes of at least `SHARE` of sites."""
    own = inputs[:, columns]
    rare = np.isin(own, (0.0, 1.0)).all(axis=0) & (own.mean(axis=0) < SHARE)
    return columns[~rare]


def fit_boosted_carbon(
    sites: CarbonSites,
    inputs: Float[np.ndarray, "site input"],
    columns: Int[np.ndarray, " column"],
    rows: Int[np.ndarray, " row"],
    seed: int,
) -> BoostedCarbon:
    """Fit ln carbon of the layers of some sites (`rows`)."""
    site, depth, carbon = layer_table(sites)
    use = np.flatnonzero(sites.layers.used & np.isin(site, rows))
    table = design(inputs[:, columns], site[use], depth[use])
    weight = layer_weights(site[use])
    return BoostedCarbon(columns, fit_trees(table, np.log(carbon[use]), weight, seed, **SETTINGS))


def crossed_carbon(
    sites: CarbonSites,
    inputs: Float[np.ndarray, "site input"],
    columns: Int[np.ndarray, " column"],
    fold: Int[np.ndarray, " site"],
    group: Int[np.ndarray, " site"],
    folds: Sequence[int],
    seed: int,
) -> tuple[BoostedCarbon, Float[np.ndarray, "fold site depth"]]:
    """Return trees fitted to all sites, and for each fold the carbon of every site.

    Parameters
    ----------
    inputs, columns
        Encoded inputs, and those of them that are covariates.
    fold, group
        Fold and group of each site; its carbon is predicted by trees fitted neither to the held-out
        fold nor to its group. Both may be the same, which needs fewer fits.
    folds
        Held-out folds of the networks, :data:`proda.learning.splits.NO_FOLD` for none.
    """
    kept = frequent(inputs, columns)
    fitted: dict[bytes, BoostedCarbon] = {}

    def trees(known: np.ndarray) -> BoostedCarbon:
        key = known.tobytes()
        if key not in fitted:
            rows = np.flatnonzero(known)
            fitted[key] = fit_boosted_carbon(sites, inputs, kept, rows, seed)
        return fitted[key]

    carbon = np.empty((len(folds), len(group), len(DEPTHS)))
    for i, left_out in enumerate(folds):
        for own in np.unique(group).tolist():
            rows = np.flatnonzero(group == own)
            known = (fold != left_out) & (group != own)
            carbon[i, rows] = trees(known).profile(inputs[rows])
    return trees(np.ones(len(group), bool)), carbon
