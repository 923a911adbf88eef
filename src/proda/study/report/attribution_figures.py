"""The figures of an attribution: their captions and sections."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from proda.plots.figure_files import save_figure

SECTION = "attribution"
CAPTIONS = {
    "components": "Shapley values of the six components: the contribution of each to the carbon "
    "in 0-100 cm, to the variance of its logarithm over land and to the skill at profiles, "
    "relative to a map with one calibrated set of parameters and one carbon input. Lines: 5-95 % "
    "of the networks. Last panel, as published: the change of carbon when one component is "
    "replaced everywhere.",
    "map": "Shapley values of ln carbon in every cell: the component increases carbon (red) or "
    "decreases it (blue). The six values add up to the log ratio of the map to the map with "
    "constants.",
    "difference": "Attribution of the difference between the models' maps: parts of the "
    "difference in carbon and of the variance of the log ratio, when each model is run with the "
    "other's parameters (left), and by the components of the maps (right). Lines: 5-95 % of the "
    "networks.",
}
"""By the first word of a figure's name."""


def save_attribution_figures(
    figures: Mapping[str, Callable[[], Figure]], folder: str | os.PathLike[str]
) -> None:
    """Draw and save the figures of an attribution for the report.

    Parameters
    ----------
    figures
        Name -> function that draws it (:func:`proda.plots.attribution.figures`).
    folder
        `figures` of the study.
    """
    for name, draw in figures.items():
        caption = CAPTIONS[name.partition("_")[0]]
        save_figure(draw(), folder, f"attribution_{name}", caption, SECTION)
