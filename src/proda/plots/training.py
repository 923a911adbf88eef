"""The figures of a training, by name."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from proda.learning.from_posteriors import TrainingResult
from proda.plots import end_to_end, learning

CAPTIONS = {
    "training": "losses of every network during training, also at validation sites.",
    "parameters": "parameters at held-out sites, predicted against estimated.",
    "carbon": "carbon of layers at held-out sites, predicted against measured.",
    "skill": "carbon of held-out profiles by the network and simpler methods; `assimilated` was "
    "fitted to the profiles and is the ceiling.",
    "learning_curve": "skill of parameters with fewer training sites.",
    "importance": "increase of the error when one covariate is shuffled.",
}

THROUGH_CAPTIONS = {
    "training": "losses of every network during training, also at validation sites.",
    "skill": "carbon at held-out places by the network and by methods without a soil model, and "
    "the ceiling given by the variation within half-degree cells at equal depth. R² below -1 is "
    "drawn at -1.",
}


def training_figures(result: TrainingResult) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the figures for which a training has the tables."""
    made: dict[str, Callable[[], Figure]] = {
        "training": lambda: learning.history(result.learned.ensemble.history)
    }
    held, skill = result.held_out, result.skill_carbon
    growth, shuffled = result.curve, result.importance
    if held is not None:
        made["parameters"] = lambda: learning.parameters(held)
        if "row_modelled" in held:
            made["carbon"] = lambda: learning.carbon(held)
    if skill is not None:
        made["skill"] = lambda: learning.skill(skill)
    if growth is not None:
        made["learning_curve"] = lambda: learning.curve(growth)
    if shuffled is not None:
        made["importance"] = lambda: learning.importance(shuffled)
    return made


def through_figures(
    history: pd.DataFrame, skill: pd.DataFrame | None
) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the figures of an end-to-end training.

    Parameters
    ----------
    history
        `Ensemble.history`.
    skill
        skill_carbon.csv; None without folds.
    """
    made: dict[str, Callable[[], Figure]] = {"training": lambda: learning.history(history)}
    if skill is not None:
        made["skill"] = lambda: end_to_end.skill_end_to_end(skill)
    return made
