"""All figures of a comparison, by name: counterparts of P-Fig 2, 3, 4, 5, S3, and preference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from proda.comparison.compare_models import Comparison
from proda.comparison.model_files import (
    AFTER,
    COMPONENTS,
    ROUTES,
    STATES,
    STOCK,
    grid_of,
    pairs,
    states_of,
)
from proda.comparison.paper import PAIR
from proda.maps.totals import land_area
from proda.plots.comparison_many import (
    agreement_figure,
    agreement_matrices,
    carbon_grid,
    component_grid,
    microbes_figure,
)
from proda.plots.comparison_maps import carbon_maps, component_maps, zonal_figure
from proda.plots.comparison_sites import michaelis_figure, preference_figure
from proda.plots.evidence import evidence_figure
from proda.plots.style import save_all

LITTER = "litter_to_soil"


def figures(
    comparison: Comparison, every_pair: bool | None = None
) -> dict[str, Callable[[], Figure]]:
    """Return what can be drawn: name -> function that draws it.

    `carbon_STATE_A_B` (P-Fig 2, 3), `components_STATE_A_B` (P-Fig 4), `litter_to_soil_STATE_A_B`
    (P-Fig S3), `preference_A_B` for pairs; `michaelis_MODEL` (P-Fig 5), and
    `michaelis_end_to_end_MODEL`; `zonal`, `evidence`, `microbes`. Of more than two models also
    `agreement`, and for each state `agreement_STATE`, `carbon_STATE` and `components_STATE`.

    Parameters
    ----------
    comparison
        Result of :func:`proda.comparison.compare_models`.
    every_pair
        Whether to draw the figures of all pairs. By default, with more than two models, only those
        of the paper's pair, because nine models have 36 pairs.
    """
    opened, tables = comparison.models, comparison.tables
    drawn: dict[str, Callable[[], Figure]] = {}
    r_of_cells: dict[str, float] = {}
    many = len(opened) > 2
    if every_pair is None:
        every_pair = not many
    for a, b in (pair for pair in pairs(opened) if every_pair or pair == PAIR):
        maps, r_of_states = _maps_of_pair(comparison, a, b)
        drawn |= maps
        r_of_cells |= r_of_states
        if (a, b) in comparison.sites and comparison.sites[a, b].sizes["site"]:
            preference = tables["preference"]
            mine = preference[(preference["first"] == a) & (preference["second"] == b)]
            land = land_area(grid_of(opened))
            behind = (land["lat"].to_numpy(), land["lon"].to_numpy(), land.to_numpy() > 0)
            drawn[f"preference_{a}_{b}"] = partial(
                preference_figure, comparison.sites[a, b], mine, behind
            )
    for name in tables["michaelis"]["model"].unique():
        for state in (s for s in ROUTES if s in opened[name].maps):
            there = opened[name].maps[state]
            at_sites = comparison.michaelis.get(name) if state == AFTER else None
            tail = "" if state == AFTER else f"{state.replace(' ', '_')}_"
            drawn[f"michaelis_{tail}{name}"] = partial(
                michaelis_figure, at_sites, there, land_area(there)
            )
    if (tables["evidence"]["sites"] > 0).any():
        drawn["evidence"] = partial(evidence_figure, tables["evidence"], tables["stacking"])
    if len(tables["microbes"]):
        drawn["microbes"] = partial(microbes_figure, tables["microbes"])
    if many:
        drawn |= _of_many(comparison)
    # With more than two models there is no single r of the cells.
    only = None if many else r_of_cells
    drawn["zonal"] = partial(zonal_figure, tables["zonal"], correlations=only)
    return drawn


def _maps_of_pair(
    comparison: Comparison, a: str, b: str
) -> tuple[dict[str, Callable[[], Figure]], dict[str, float]]:
    """Return the maps of carbon and components of two models, and the r of carbon, by state."""
    opened, correlations = comparison.models, comparison.tables["correlations"]
    here = correlations[(correlations["first"] == a) & (correlations["second"] == b)]
    states = states_of(opened, (a, b))
    limits = _limits([opened[m].maps[s] for m in (a, b) for s in states])
    drawn: dict[str, Callable[[], Figure]] = {}
    r_of_cells: dict[str, float] = {}
    for state in states:
        one, two = (opened[m].maps[state] for m in (a, b))
        of_state = here[here["state"] == state].set_index("variable", drop=False)
        rows = {name: of_state.loc[name] for name in of_state.index}
        r_of_cells[state] = float(rows[STOCK]["r"])
        tail = f"{state.replace(' ', '_')}_{a}_{b}"
        drawn[f"carbon_{tail}"] = partial(
            carbon_maps, one, two, (a, b), state, rows[STOCK], limits=limits
        )
        for name, chosen in (("components", COMPONENTS), (LITTER, (LITTER,))):
            drawn[f"{name}_{tail}"] = partial(
                component_maps, one, two, (a, b), [rows[v] for v in chosen], state
            )
    return drawn, r_of_cells


def _of_many(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """Return the figures that show all of more than two models at once."""
    opened, tables = comparison.models, comparison.tables
    correlations = tables["correlations"]
    drawn: dict[str, Callable[[], Figure]] = {
        "agreement": partial(agreement_figure, correlations, tables["agreement"])
    }
    limits = _limits([dataset for model in opened.values() for dataset in model.maps.values()])
    for state in STATES:
        maps = {name: model.maps[state] for name, model in opened.items() if state in model.maps}
        tail = state.replace(" ", "_")
        if (correlations["state"] == state).any():
            drawn[f"agreement_{tail}"] = partial(agreement_matrices, correlations, state)
        if len(maps) > 1:
            drawn[f"carbon_{tail}"] = partial(carbon_grid, maps, state, limits)
            drawn[f"components_{tail}"] = partial(component_grid, maps, state)
    return drawn


def _limits(maps: Sequence[xr.Dataset]) -> tuple[float, float]:
    """Return one colour scale for the stocks of several maps."""
    values = np.concatenate([dataset[STOCK].to_numpy().ravel() for dataset in maps])
    low, high = (float(q) for q in np.nanquantile(values, [0.02, 0.98]))
    return max(low, high / 200.0), high


def draw(
    comparison: Comparison,
    folder: str | os.PathLike[str],
    endings: Sequence[str] = ("png",),
    every_pair: bool | None = None,
) -> Iterator[Path]:
    """Draw all figures into a folder (created if absent) and yield their paths.

    Parameters
    ----------
    comparison, every_pair
        As for :func:`figures`.
    folder
        Folder to write to.
    endings
        Endings of the files: "png", "pdf", "svg".

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    return save_all(figures(comparison, every_pair), folder, endings)
