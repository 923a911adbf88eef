"""Places whose conditions the training sites of a network do not cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from proda.learning.features import Features
from proda.learning.predictor import class_names

QUANTILE = 0.99
"""The distance of this share of training sites is 1."""


@dataclass(frozen=True)
class TrainingRange:
    """Mean and spread of the training sites in the space of scaled quantities.

    The distance is Mahalanobis' over the principal components that vary, divided by the distance
    within which 99 % of the training sites lie: above 1, a place is farther than almost all of
    them.
    """

    mean: Float[np.ndarray, " quantity"]
    whiten: Float[np.ndarray, "quantity component"]
    scale: float

    def distance(self, table: pd.DataFrame, features: Features) -> Float[np.ndarray, " row"]:
        """Return the distance of each row; NaN where a quantity is missing."""
        scores = (_scaled(table, features) - self.mean) @ self.whiten
        return np.sqrt((scores**2).sum(axis=1)) / self.scale


def fit_range(table: pd.DataFrame, features: Features) -> TrainingRange:
    """Describe the spread of the training sites (rows that lack a quantity do not count)."""
    x = _scaled(table, features)
    x = x[np.isfinite(x).all(axis=1)]
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x.T)))
    # shares of one total are dependent: directions without spread would give infinite distances
    vary = values > 1e-4 * values.max()
    whiten = vectors[:, vary] / np.sqrt(values[vary])
    distance = np.sqrt((((x - mean) @ whiten) ** 2).sum(axis=1))
    return TrainingRange(mean, whiten, float(np.quantile(distance, QUANTILE)))


def applicability(table: pd.DataFrame, features: Features, training: TrainingRange) -> pd.DataFrame:
    """Return for each row how far it lies from the training data.

    Returns
    -------
    table
        `outside`: how many quantities lie outside the training range; `unseen`: how many categories
        have a class that is absent from training; `distance`: 1 = as far as the farthest 1 % of
        training sites, NaN where a quantity is missing; `flag`: any of these (distance > 1). The
        index is the table's.
    """
    outside = np.zeros(len(table), int)
    for quantity in features.quantities:
        values = table[quantity.name].to_numpy(dtype=np.float64)
        outside += (values < quantity.minimum) | (values > quantity.maximum)
    unseen = np.zeros(len(table), int)
    for category in features.categories:
        classes = class_names(table[category.name])
        unseen += (classes.notna() & ~classes.isin(category.known)).to_numpy()
    distance = training.distance(table, features)
    flag = (outside > 0) | (unseen > 0) | (distance > 1.0)
    return pd.DataFrame(
        {"outside": outside, "unseen": unseen, "distance": distance, "flag": flag},
        index=table.index,
    )


def _scaled(table: pd.DataFrame, features: Features) -> np.ndarray:
    columns = [
        q.scaled(table[q.name].to_numpy(dtype=np.float64), "minmax") for q in features.quantities
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))
