"""All figures of a comparison, by name: counterparts of P-Fig 2, 3, 4, 5, S3, and preference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from proda.comparison.inputs import COMPONENTS, STOCK, pairs, states_of
from proda.comparison.run import Comparison
from proda.maps.totals import land_area
from proda.plots.comparison_maps import carbon_maps, component_maps, zonal_figure
from proda.plots.comparison_sites import michaelis_figure, preference_figure
from proda.plots.style import save


def figures(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """Return what can be drawn: name -> function that draws it.

    `carbon_STATE_A_B` (P-Fig 2, 3), `components_STATE_A_B` (P-Fig 4), `litter_to_soil_STATE_A_B`
    (P-Fig S3), `preference_A_B` for every pair; `michaelis_MODEL` (P-Fig 5); `zonal`.
    """
    opened, tables = comparison.models, comparison.tables
    correlations = tables["correlations"]
    drawn: dict[str, Callable[[], Figure]] = {}
    for a, b in pairs(opened):
        here = correlations[(correlations["first"] == a) & (correlations["second"] == b)]
        states = states_of(opened, (a, b))
        values = np.concatenate([
            opened[m].maps[s][STOCK].to_numpy().ravel() for m in (a, b) for s in states
        ])  # fmt: skip
        low, high = np.nanquantile(values, [0.02, 0.98])
        limits = (max(float(low), float(high) / 200), float(high))
        for state in states:
            first, second = (opened[m].maps[state] for m in (a, b))
            rows = here[here["state"] == state].set_index("variable", drop=False)
            tail = f"{state}_{a}_{b}"
            drawn[f"carbon_{tail}"] = lambda f=first, s=second, n=(a, b), st=state, r=rows: (  # type: ignore[misc]
                carbon_maps(f, s, n, st, r.loc[STOCK], limits=limits)
            )
            for name, chosen in (
                ("components", COMPONENTS),
                ("litter_to_soil", ["litter_to_soil"]),
            ):
                drawn[f"{name}_{tail}"] = (  # type: ignore[assignment]
                    lambda f=first, s=second, n=(a, b), st=state, r=rows, c=tuple(chosen): (
                        component_maps(f, s, n, [r.loc[v] for v in c], st)
                    )
                )
        if (a, b) in comparison.sites:
            told = tables["preference"]
            mine = told[(told["first"] == a) & (told["second"] == b)]
            land = land_area(opened[a].maps["after"])
            behind = (land["lat"].to_numpy(), land["lon"].to_numpy(), land.to_numpy() > 0)
            drawn[f"preference_{a}_{b}"] = lambda d=comparison.sites[a, b], t=mine, m=behind: (  # type: ignore[misc]
                preference_figure(d, t, m)
            )
    for name in tables["michaelis"]["model"].unique():
        after = opened[name].maps["after"]
        drawn[f"michaelis_{name}"] = lambda n=name, m=after: michaelis_figure(  # type: ignore[misc]
            comparison.michaelis.get(n), m, land_area(m)
        )
    drawn["zonal"] = lambda: zonal_figure(tables["zonal"])
    return drawn


def draw(
    comparison: Comparison, folder: str | os.PathLike[str], endings: Sequence[str] = ("png",)
) -> Iterator[Path]:
    """Draw all figures into a folder (made if absent) and yield their paths.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    for name, make in figures(comparison).items():
        figure = make()
        for ending in endings:
            save(figure, root / f"{name}.{ending}")
            yield root / f"{name}.{ending}"
        plt.close(figure)
