"""One predictor: a quantity or a category, as in the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from proda.errors import LearningError
from proda.learning.learning_settings import Scaling

RARE = 5
"""Classes with fewer training sites are pooled: they train the class 'unknown'."""

KNOTS = 65
"""Number of quantiles of each quantity."""


@dataclass(frozen=True)
class Quantity:
    """A number: its training range, median, and quantiles with the share of sites below."""

    name: str
    minimum: float
    maximum: float
    median: float
    knots: tuple[float, ...]
    shares: tuple[float, ...]

    def scaled(self, values: np.ndarray, scaling: Scaling) -> np.ndarray:
        """Scale to 0-1 by the range (the study), or to -1..1 by quantiles, flat outside."""
        if scaling == "minmax":
            return (values - self.minimum) / (self.maximum - self.minimum)
        return 2.0 * np.interp(values, self.knots, self.shares) - 1.0


@dataclass(frozen=True)
class Category:
    """A category: all classes in the file's order, those in training, and the most frequent."""

    name: str
    classes: tuple[str, ...]
    known: tuple[str, ...]
    shares: tuple[float, ...]
    """Share of training sites of each known class, then of the rare ones pooled as unknown."""

    def one_hot(self, values: pd.Series) -> np.ndarray:
        """One column per known class and one for 'unknown', which is trained on the rare ones.

        If no class was rare, 'unknown' is not trained; such a row is the average of all classes.
        """
        column = pd.Index(self.known).get_indexer(pd.Index(values))
        out = np.zeros((len(values), len(self.known) + 1))
        seen = column >= 0
        out[np.flatnonzero(seen), column[seen]] = 1.0
        trained = self.shares[-1] > 0
        out[~seen] = np.eye(len(self.known) + 1)[-1] if trained else np.array(self.shares)
        return out

    def numbers(self, values: pd.Series) -> np.ndarray:
        """Position in the file's list of classes, scaled to 0-1 by the positions in training.

        This is the encoding of the study. A class absent from training gets the number of the most
        frequent class.
        """
        index = pd.Index(self.classes)
        met = index.get_indexer(pd.Index(self.known))
        place = index.get_indexer(pd.Index(values)).astype(float)
        place[~np.isin(place, met)] = met[int(np.argmax(self.shares[:-1]))]
        return ((place - met.min()) / max(met.max() - met.min(), 1))[:, None]


def is_quantity(column: pd.Series) -> bool:
    """Whether a column holds numbers; true and false are classes."""
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def class_names(column: pd.Series) -> pd.Series:
    """Return the classes of a column as text; missing values stay missing."""
    classes = column.astype(object)
    return classes.where(classes.isna(), classes.astype(str))


def fit_quantity(name: str, values: np.ndarray) -> Quantity:
    """Describe a quantity by its values at the training sites."""
    if np.isinf(values).any():
        raise LearningError(f"{name} is infinite at {int(np.isinf(values).sum())} sites.")
    levels = np.linspace(0.0, 1.0, KNOTS)
    at = np.quantile(values, levels)
    # ties (a share that is 0 almost everywhere) get the mean rank of their sites
    knots, place = np.unique(at, return_inverse=True)
    shares = np.bincount(place, weights=levels) / np.bincount(place)
    return Quantity(
        name,
        float(values.min()),
        float(values.max()),
        float(np.median(values)),
        tuple(knots.tolist()),
        tuple(shares.tolist()),
    )


def fit_category(name: str, column: pd.Series) -> Category:
    """Describe a category by its classes at the training sites.

    Raises
    ------
    LearningError
        If most sites have a class of their own, so that the column is a name.
    """
    if (different := len(column.unique())) > max(20, len(column) // 2):
        raise LearningError(
            f"{name} has {different} different values at {len(column)} sites: this is a name, "
            "not a class. Leave the column out."
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        classes = tuple(str(c) for c in column.cat.categories)
    else:
        classes = tuple(sorted(str(c) for c in column.unique()))
    count = column.astype(str).value_counts()
    known = tuple(c for c in classes if count.get(c, 0) >= RARE) or (str(count.index[0]),)
    share = np.array([count[c] for c in known]) / len(column)
    return Category(name, classes, known, (*share.tolist(), float(max(0.0, 1.0 - share.sum()))))
