"""Truth against what was recovered, for made-up worlds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from proda.comparison.truth import truth_table
from proda.maps.outputs import PARAMETER_PREFIX
from proda.plots.style import style


def truth_figure(
    maps: Mapping[str, tuple[xr.Dataset, xr.Dataset, xr.Dataset]], names: tuple[str, ...]
) -> Figure:
    """Draw what was recovered against the truth: one panel per variable, a row per model.

    Parameters
    ----------
    maps
        Model -> map, truth, and map of draws (docs/maps.md), whose 5-95 % range is drawn.
    names
        Variables; those that a model lacks leave their panel empty.
    """
    with style():
        figure, axes = plt.subplots(
            len(maps), len(names), figsize=(2.9 * len(names), 2.9 * len(maps)), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        said = []
        for row, (model, (found, truth, spread)) in zip(axes, maps.items(), strict=True):
            table = truth_table(
                found, truth, [n for n in names if n in found and n in truth], spread
            )
            scores = table.set_index("variable")
            for axis, name in zip(row, names, strict=True):
                short = name.removeprefix(PARAMETER_PREFIX)
                if short not in scores.index:
                    axis.set_axis_off()
                    continue
                score = scores.loc[short]
                x, y = (d[name].to_numpy().ravel() for d in (truth, found))
                use = np.isfinite(x) & np.isfinite(y)
                if f"{name}_q05" in spread:
                    low, high = (spread[f"{name}_{q}"].to_numpy().ravel() for q in ("q05", "q95"))
                    axis.vlines(x[use], low[use], high[use], color="0.8", lw=0.6, zorder=1)
                axis.scatter(x[use], y[use], s=4, color="#0072B2", lw=0, zorder=2)
                ends = [min(x[use].min(), y[use].min()), max(x[use].max(), y[use].max())]
                axis.plot(ends, ends, color="black", lw=0.8, zorder=3)
                if score["scale"] == "log":
                    axis.set(xscale="log", yscale="log")
                axis.set_xlabel(f"{short}, truth ({score['unit']})", fontsize="small")
                axis.set_title(
                    f"{model.upper()} {short}: r {score['r']:.2f}, 90 % range holds "
                    f"{score['coverage_90']:.0%}", fontsize="small",
                )  # fmt: skip
            row[0].set_ylabel("recovered")
            stock = scores["r"].get("cSoilAbove1m", np.nan)
            said.append(f"{model.upper()} r {stock:.2f}")
        figure.suptitle("Carbon to 1 m against the truth: " + ", ".join(said))
    return figure
