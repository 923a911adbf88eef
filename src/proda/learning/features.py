"""Predictors: which columns of a covariate table they are, and how they are encoded as numbers.

Nothing is filled in silently. A row that lacks a covariate is not usable and is reported; a class
that is absent from training becomes the class 'unknown' and is counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from proda.errors import LearningError
from proda.learning.learning_settings import Categories, Scaling
from proda.learning.predictor import (
    Category,
    Quantity,
    class_names,
    fit_category,
    fit_quantity,
    is_quantity,
)

PLACE = (
    "site",
    "row",
    "column",
    "cell",
    "latitude",
    "longitude",
    "lat",
    "lon",
    "cell_latitude",
    "cell_longitude",
    "distance_km",
)
"""Columns that give the place of a row. They are never predictors."""

Missing = Literal["leave_out", "median"]


@dataclass(frozen=True)
class Encoded:
    """Rows as network inputs, with everything unusual.

    `inputs` are those of usable rows only; `usable` marks them among the table's rows. `missing`
    counts rows by the covariate that they lack, `filled` those filled with the median on request,
    `unseen` rows by category and class that are absent from training.
    """

    inputs: Float[np.ndarray, "usable input"]
    usable: Bool[np.ndarray, " row"]
    missing: dict[str, int]
    filled: dict[str, int]
    unseen: dict[str, dict[str, int]]

    def report(self) -> list[str]:
        """One line for each unusual finding."""
        lines = []
        if not self.usable.all():
            names = ", ".join(f"{k} ({n})" for k, n in self.missing.items())
            left = int((~self.usable).sum())
            lines.append(
                f"{left} of {self.usable.size} rows left out for missing covariates: {names}"
            )
        if self.filled:
            names = ", ".join(f"{k} ({n})" for k, n in self.filled.items())
            lines.append(f"filled with the training median, as requested: {names}")
        for name, classes in self.unseen.items():
            what = ", ".join(f"{k} ({n})" for k, n in classes.items())
            lines.append(f"{name}: classes absent from training, treated as unknown: {what}")
        return lines


@dataclass(frozen=True)
class Features:
    """The predictors as in the training data."""

    quantities: tuple[Quantity, ...]
    categories: tuple[Category, ...]
    constant: tuple[str, ...]
    """Columns left out because they hold one value at all training sites."""
    scaling: Scaling
    encoding: Categories
    n_sites: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the predictors: quantities, then categories."""
        return (*(q.name for q in self.quantities), *(c.name for c in self.categories))

    def encode(self, table: pd.DataFrame, missing: Missing = "leave_out") -> Encoded:
        """Turn a table into network inputs.

        Parameters
        ----------
        table
            The covariates, in any order of columns; others are ignored.
        missing
            "leave_out": rows that lack a covariate are not usable; "median": they are filled with
            the training median (a category: with 'unknown') and counted.

        Raises
        ------
        LearningError
            Naming predictors that the table lacks, or that are of another kind.
        """
        self._check(table)
        absent = table[list(self.names)].isna()
        counts = absent.sum()
        lacking = {str(n): int(c) for n, c in counts.items() if c}
        fill = missing == "median"
        usable = np.ones(len(table), bool) if fill else ~absent.any(axis=1).to_numpy()
        kept = table.loc[usable]
        columns, unseen = [], {}
        for quantity in self.quantities:
            values = kept[quantity.name].to_numpy(dtype=np.float64)
            values = np.where(np.isnan(values), quantity.median, values)
            columns.append(quantity.scaled(values, self.scaling)[:, None])
        for category in self.categories:
            classes = class_names(kept[category.name])
            strange = classes[classes.notna() & ~classes.isin(category.known)].value_counts()
            if len(strange):
                unseen[category.name] = {str(k): int(n) for k, n in strange.items()}
            columns.append(
                category.one_hot(classes)
                if self.encoding == "one_hot"
                else category.numbers(classes)
            )
        inputs = np.concatenate(columns, axis=1).astype(np.float32)
        return Encoded(inputs, usable, {} if fill else lacking, lacking if fill else {}, unseen)

    def _check(self, table: pd.DataFrame) -> None:
        if lost := [n for n in self.names if n not in table]:
            raise LearningError(
                f"The covariates lack {', '.join(lost)}, with which the network was trained."
            )
        for quantity in self.quantities:
            if not is_quantity(table[quantity.name]):
                raise LearningError(
                    f"{quantity.name} is a quantity, but the table contains classes."
                )
            values = table[quantity.name].to_numpy(dtype=np.float64)
            if np.isinf(values).any():
                raise LearningError(
                    f"{quantity.name} is infinite in {np.isinf(values).sum()} rows."
                )
        for category in self.categories:
            if is_quantity(table[category.name]):
                raise LearningError(
                    f"{category.name} is a category, but the table contains numbers; give the "
                    "names of the classes."
                )

    def input_groups(self) -> dict[str, slice]:
        """Which columns of the inputs belong to which predictor."""
        groups, start = {}, 0
        for quantity in self.quantities:
            groups[quantity.name] = slice(start, start + 1)
            start += 1
        for category in self.categories:
            width = len(category.known) + 1 if self.encoding == "one_hot" else 1
            groups[category.name] = slice(start, start + width)
            start += width
        return groups

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Features:
        """Rebuild from plain values."""

        def plain(row: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}

        return cls(
            tuple(Quantity(**plain(row)) for row in values["quantities"]),
            tuple(Category(**plain(row)) for row in values["categories"]),
            tuple(values["constant"]),
            values["scaling"],
            values["encoding"],
            values["n_sites"],
        )


def predictors(table: pd.DataFrame) -> list[str]:
    """Columns of a covariate table that are predictors: all except those that give the place."""
    return [str(name) for name in table.columns if name not in PLACE]


def fit_features(
    table: pd.DataFrame, scaling: Scaling = "quantile", encoding: Categories = "one_hot"
) -> Features:
    """Describe the predictors of the training sites.

    Rows that lack a covariate do not count. Columns with one value are left out and recorded.

    Raises
    ------
    LearningError
        If no row is complete, no predictor varies, or a column holds neither numbers nor classes.
    """
    names = predictors(table)
    whole = table[names].dropna()
    if whole.empty:
        share = table[names].isna().mean()
        worst = ", ".join(f"{n} ({s:.0%})" for n, s in share[share > 0].nlargest(5).items())
        raise LearningError(
            f"None of {len(table)} sites has all covariates. Most often missing: {worst}. "
            "Leave these columns out."
        )
    quantities, categories, constant = [], [], []
    for name in names:
        column = whole[name]
        if len(column.unique()) == 1:
            constant.append(name)
        elif is_quantity(column):
            quantities.append(fit_quantity(name, column.to_numpy(dtype=np.float64)))
        else:
            categories.append(fit_category(name, column))
    if not quantities and not categories:
        raise LearningError(f"No covariate varies between the {len(whole)} sites.")
    return Features(
        tuple(quantities), tuple(categories), tuple(constant), scaling, encoding, len(whole)
    )
