"""The figures of a comparison: captions and sections, as counterparts of the paper's figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from proda.comparison.paper import MICROBES_SAMPLES
from proda.plots.figure_files import save_figure

PLACES: dict[str, tuple[str, str]] = {
    "carbon_before": (
        "figure-2",
        "Organic carbon in 0-100 cm with default parameters, by two "
        "models, and one against the other.",
    ),
    "carbon_after": (
        "figure-3",
        "Organic carbon in 0-100 cm constrained by the profiles, by two "
        "models, and one against the other.",
    ),
    "carbon_end_to_end": (
        "figure-3",
        "Organic carbon in 0-100 cm, trained end to end on all profiles, by two models, and one "
        "against the other.",
    ),
    "components_end_to_end": (
        "figure-4",
        "Components trained end to end on all profiles, by two models, and one against the other.",
    ),
    "litter_to_soil_end_to_end": (
        "figure-s3",
        "Share of litter carbon that reaches mineral soil, trained end to end on all profiles.",
    ),
    "michaelis_end_to_end": (
        "figure-5",
        "Michaelis constants over their substrates, trained end to end on all profiles.",
    ),
    "zonal": (
        "figure-3",
        "Soil carbon along latitude, with default and constrained parameters "
        "(the last panel of the paper's Figures 2 and 3).",
    ),
    "components_after": (
        "figure-4",
        "Components constrained by the profiles, by two models, and one against the other.",
    ),
    "components_before": (
        "components",
        "Components with default parameters, by two models, and one against the other.",
    ),
    "michaelis": ("figure-5", "Michaelis constants over their substrates."),
    "litter_to_soil_after": (
        "figure-s3",
        "Share of litter carbon that reaches mineral soil, constrained by the profiles.",
    ),
    "litter_to_soil_before": (
        "components",
        "Share of litter carbon that reaches mineral soil, with default parameters.",
    ),
    "agreement": (
        "findings",
        "Do all models agree more once profiles constrain them? Each point "
        "is the correlation of two models' maps over land; large marks are means of all "
        "pairs.",
    ),
    "agreement_before": (
        "findings",
        "Correlation of every pair of models with default parameters.",
    ),
    "agreement_after": (
        "findings",
        "Correlation of every pair of models with networks trained on posteriors at sites.",
    ),
    "agreement_end_to_end": ("findings", "Correlation of every pair of models trained end to end."),
    "microbes": (
        "totals",
        "Living microbes as a share of soil carbon in 0-15 cm, by model and route, and as "
        f"measured: {MICROBES_SAMPLES}.",
    ),
    "evidence": (
        "preference",
        "Model preference by zone: the difference of each model's mean log density from the best "
        "one, with its standard error between blocks of 5 degrees, and the stacking weights. All "
        "models are compared on the same data.",
    ),
    "preference": ("preference", "Sites by the model that their profile prefers."),
}
"""By the first words of a figure's name: key of the section, and caption."""


_ALL_CARBON, _ALL_COMPONENTS = (
    "Organic carbon in 0-100 cm {}, by all models, on one scale.",
    "Components {}, by all models (rows); each component (column) has one scale.",
)
GRIDS: dict[str, tuple[str, str]] = {
    f"{kind}_{state}": (place, words.format(how))
    for kind, words, places in (
        ("carbon", _ALL_CARBON, ("figure-2", "figure-3", "figure-3")),
        ("components", _ALL_COMPONENTS, ("components", "figure-4", "figure-4")),
    )
    for state, how, place in zip(
        ("before", "after", "end_to_end"),
        (
            "with default parameters",
            "constrained by the profiles",
            "trained end to end on all profiles",
        ),
        places,
        strict=True,
    )
}
"""Figures of more than two models at once, by their whole name."""


def place_of(name: str) -> tuple[str, str]:
    """Return section and caption of a figure of the comparison by its name.

    An unknown name gets the section `comparison`, which the report shows last.
    """
    if name in GRIDS:
        return GRIDS[name]
    fitting = [start for start in PLACES if name == start or name.startswith(f"{start}_")]
    if not fitting:
        return "comparison", name.replace("_", " ")
    return PLACES[max(fitting, key=len)]


def save_comparison_figures(
    figures: Mapping[str, Callable[[], Figure]], folder: str | os.PathLike[str]
) -> None:
    """Draw and save the figures of a comparison for the report.

    Parameters
    ----------
    figures
        Name -> function that draws it.
    folder
        `figures` of the study.
    """
    for name, draw in figures.items():
        figure = draw()
        section, caption = place_of(name)
        save_figure(figure, folder, f"comparison_{name}", caption, section)
