"""Recovered values against the truth, for synthetic worlds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from proda.comparison.truth import truth_table
from proda.plots.style import style

STOCK = "cSoilAbove1m"
MECHANISMS = ("residence_time", "CTE", "K", "XI")
LABELS = {
    STOCK: "carbon to 1 m",
    "residence_time": "residence time",
    "CTE": "transfer efficiency",
    "K": "decomposition",
    "XI": "environment",
}


def truth_figure(
    maps: Mapping[str, tuple[xr.Dataset, xr.Dataset, xr.Dataset]],
    measured: str,
    route: str = "from posteriors",
) -> Figure:
    """Draw recovered values against the truth: carbon of every model, mechanisms of one.

    Parameters
    ----------
    maps
        Model -> map, truth, and map of draws (docs/maps.md), whose 5-95 % range is drawn where it
        has one.
    measured
        The model that generated the world; only its mechanisms have a truth.
    route
        Route of the study, for the title.
    """
    panels = [(model, STOCK) for model in maps]
    panels += [(measured, name) for name in MECHANISMS if measured in maps]
    columns = 3
    rows = -(-len(panels) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.4 * columns, 3.3 * rows), squeeze=False, layout="constrained"
        )
        parts = []
        for axis in axes.ravel()[len(panels) :]:
            axis.set_axis_off()
        for axis, (model, name) in zip(axes.ravel(), panels, strict=False):
            estimate, truth, spread = maps[model]
            score = truth_table(estimate, truth, [name], spread).iloc[0]
            x, y = (d[name].to_numpy().ravel() for d in (truth, estimate))
            use = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
            ranged = f"{name}_q05" in spread
            if ranged:
                low, high = (spread[f"{name}_{q}"].to_numpy().ravel() for q in ("q05", "q95"))
                axis.vlines(x[use], low[use], high[use], color="0.85", lw=0.6, zorder=1)
            axis.scatter(x[use], y[use], s=5, color="#0072B2", lw=0, zorder=2)
            ends = [x[use].min(), x[use].max()]
            axis.plot(ends, ends, color="black", lw=0.8, zorder=3)
            if ends[1] > 5.0 * ends[0]:
                axis.set(xscale="log", yscale="log")
                for each in (axis.xaxis, axis.yaxis):
                    each.set_minor_formatter(NullFormatter())
            axis.set_xlabel(f"truth ({score['unit']})")
            axis.set_ylabel("recovered")
            holds = f"; range contains {score['coverage_90']:.0%}" if ranged else ""
            axis.set_title(
                f"{model.upper()}: {LABELS[name]}\nr {score['r']:.2f}{holds}", fontsize="medium"
            )
            if name == STOCK:
                parts.append(f"{model.upper()} r {score['r']:.2f}")
        figure.suptitle(f"Carbon to 1 m {route} against the truth: {', '.join(parts)}")
    return figure
