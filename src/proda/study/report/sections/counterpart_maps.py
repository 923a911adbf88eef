"""Maps of soil carbon of all models on one scale, and along latitude (P-Fig 2 and 3)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from proda.comparison.model_files import ROUTES
from proda.maps.totals import by_latitude, land_area
from proda.plots.latitude import latitude_figure
from proda.plots.maps import map_figure
from proda.study.report.elements import Block, not_run
from proda.study.report.map_tables import CONSTRAINED, DEFAULT, STOCK, map_of
from proda.study.report.results import StudyResults

WIDEST = 200.0
"""Maximum ratio of the ends of the colour scale, so that deserts do not dominate it."""

_WORDS = {
    DEFAULT: "with default parameters",
    **{file: f"constrained by the profiles {ROUTES[s]}" for s, file in CONSTRAINED.items()},
}


def by_maps(study: StudyResults, file: str, key: str) -> list[Block]:
    """Return a map of each model on a common scale and their curves along latitude.

    Parameters
    ----------
    study
        The folder.
    file
        default.nc, or that of a route.
    key
        Of the paper's figure: figure-2 or figure-3.
    """
    words, blocks = _WORDS[file], list[Block]()
    stem = file.removesuffix(".nc").replace("/", "_")
    maps: dict[str, xr.Dataset] = {}
    for model in study.models:
        opened = map_of(study, model, file)
        if opened is not None:
            maps[model] = opened
        else:
            blocks.append(not_run(f"map of {model.upper()} {words}", "map"))
    if not maps:
        return blocks or [not_run("maps", "map")]
    limits = _limits(list(maps.values()))
    for model, dataset in maps.items():
        figure = map_figure(dataset, STOCK, spread=f"{STOCK}_sd" in dataset, limits=limits)
        spread = " Below: spread of the ensemble of networks." if f"{STOCK}_sd" in dataset else ""
        blocks.append(
            study.draw(
                figure,
                f"{model}_soc_{stem}",
                f"{model.upper()} {words}: organic carbon in 0-100 cm; all models in this figure "
                f"have the same colour scale.{spread}",
                key,
            )
        )
    curves = {model.upper(): by_latitude(d[STOCK], land_area(d)) for model, d in maps.items()}
    blocks.append(
        study.draw(
            latitude_figure(curves),
            f"soc_by_latitude_{stem}",
            f"Median of the land cells of each 2.5 degrees of latitude, {words}.",
            key,
        )
    )
    return blocks


def _limits(maps: list[xr.Dataset]) -> tuple[float, float]:
    values = np.concatenate([d[STOCK].to_numpy().ravel() for d in maps])
    low, high = np.quantile(values[values > 0], [0.02, 0.98])
    return max(float(low), float(high) / WIDEST), float(high)
