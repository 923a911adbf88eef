"""All figures of a comparison, by name: counterparts of P-Fig 2, 3, 4, 5, S3, and preference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from proda.comparison.comparison import Comparison
from proda.comparison.inputs import AFTER, COMPONENTS, ROUTES, STOCK, grid_of, pairs, states_of
from proda.maps.totals import land_area
from proda.plots.comparison_maps import carbon_maps, component_maps, zonal_figure
from proda.plots.comparison_sites import michaelis_figure, preference_figure
from proda.plots.evidence import evidence_figure
from proda.plots.style import save_all

LITTER = "litter_to_soil"


def figures(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """Return what can be drawn: name -> function that draws it.

    `carbon_STATE_A_B` (P-Fig 2, 3), `components_STATE_A_B` (P-Fig 4), `litter_to_soil_STATE_A_B`
    (P-Fig S3), `preference_A_B` for every pair; `michaelis_MODEL` (P-Fig 5), and
    `michaelis_end_to_end_MODEL`; `zonal`.
    """
    opened, tables = comparison.models, comparison.tables
    correlations = tables["correlations"]
    drawn: dict[str, Callable[[], Figure]] = {}
    r_of_cells: dict[str, float] = {}
    for a, b in pairs(opened):
        here = correlations[(correlations["first"] == a) & (correlations["second"] == b)]
        states = states_of(opened, (a, b))
        limits = _limits([opened[m].maps[s] for m in (a, b) for s in states])
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
        if (a, b) in comparison.sites and comparison.sites[a, b].sizes["site"]:
            told = tables["preference"]
            mine = told[(told["first"] == a) & (told["second"] == b)]
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
    # With more than two models there is no one r of the cells.
    only = r_of_cells if len(opened) == 2 else None
    drawn["zonal"] = partial(zonal_figure, tables["zonal"], correlations=only)
    return drawn


def _limits(maps: Sequence[xr.Dataset]) -> tuple[float, float]:
    """Return one colour scale for the stocks of several maps."""
    values = np.concatenate([dataset[STOCK].to_numpy().ravel() for dataset in maps])
    low, high = (float(q) for q in np.nanquantile(values, [0.02, 0.98]))
    return max(low, high / 200.0), high


def draw(
    comparison: Comparison, folder: str | os.PathLike[str], endings: Sequence[str] = ("png",)
) -> Iterator[Path]:
    """Draw all figures into a folder (made if absent); yield their paths.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    return save_all(figures(comparison), folder, endings)
