"""The two kinds of networks of an end-to-end ensemble, and what each of them sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from proda.errors import LearningError
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.ensemble import predict_members
from proda.learning.splits import NO_FOLD, TrainingPlan
from proda.learning.train import Trained

Inputs = tuple[Float[np.ndarray, "site input"], Float[np.ndarray, "site parameter"] | None]
"""Inputs of every site, and what is added to the logits there (None: nothing)."""


@dataclass(frozen=True)
class Family:
    """Networks of one kind, in all folds, and their inputs by fold."""

    trained: Trained
    of: Callable[[int], Inputs]

    def shares(
        self, fold: int, rows: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, "member row parameter"]:
        """Return the parameters, as shares of the prior range, by networks without this fold."""
        inputs, offset = self.of(fold)
        runs = np.flatnonzero(self.trained.plan.fold == fold)
        networks = jax.tree.map(lambda leaf: leaf[runs], self.trained.networks)
        return predict_members(networks, inputs[rows], None if offset is None else offset[rows])


def correcting_runs(plan: TrainingPlan, settings: EndToEndSettings) -> Bool[np.ndarray, " run"]:
    """Say which runs correct an inversion: the last members of the ensemble and of each fold.

    Raises
    ------
    LearningError
        If the ensemble has such members and a fold, by which it is judged, would have none.
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
