"""Simulated columns: soil carbon with depth, one panel per site, or all sites as a band."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.grid import CLM5_GRID
from proda.plots.style import COLOURS, style

MAX_PANELS = 12


def columns(results: Mapping[str, xr.Dataset], depth: float = 3.0) -> Figure:
    """Draw soil carbon with depth: up to twelve sites one by one, more as median and bands.

    Parameters
    ----------
    results
        Results of :func:`proda.steady_state` for the same sites, by label.
    depth
        Depth to which to draw, m.
    """
    n = next(iter(results.values())).sizes["site"]
    if n > MAX_PANELS:
        return _bands(results, depth)
    n_columns = min(n, 3)
    n_rows = -(-n // n_columns)
    with style():
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(2.6 * n_columns + 0.6, 2.5 * n_rows + 0.7),
            sharey=True,
            squeeze=False,
        )
        for i, axis in enumerate(axes.flat):
            if i >= n:
                axis.set_axis_off()
                continue
            _panel(axis, results, i, depth)
        for axis in axes[:, 0]:
            axis.set_ylabel("Depth (m)")
        for axis in axes[-1]:
            axis.set_xlabel("Soil carbon (kg m$^{-3}$)")
        axes[0, 0].legend(loc="lower right")
        figure.suptitle(_finding(results), x=0.01, ha="left", fontsize="medium")
    return figure


def _bands(results: Mapping[str, xr.Dataset], depth: float) -> Figure:
    with style():
        figure, axis = plt.subplots(figsize=(5.6, 4.4))
        for (label, result), colour in zip(results.items(), COLOURS, strict=False):
            feasible = result["reason"].to_numpy() == 0
            if not feasible.any():
                axis.plot([], [], color=colour, label=f"{label}: no steady state")
                continue
            carbon = result["soil_carbon"].to_numpy()[feasible] / 1000.0
            low, lower, middle, upper, high = np.percentile(carbon, [5, 25, 50, 75, 95], axis=0)
            z = result["depth"].to_numpy()
            axis.fill_betweenx(z, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.fill_betweenx(z, lower, upper, color=colour, alpha=0.3, linewidth=0)
            axis.plot(middle, z, color=colour, label=f"{label}, {feasible.sum():,} sites")
        axis.set_ylim(depth, 0.0)
        axis.set_xlim(left=0.0)
        axis.set_ylabel("Depth (m)")
        axis.set_xlabel("Soil carbon (kg m$^{-3}$): median, middle half and 90 % of the sites")
        axis.legend(loc="lower right")
        axis.set_title(_finding(results))
    return figure


def _panel(axis: Axes, results: Mapping[str, xr.Dataset], i: int, depth: float) -> None:
    missing = []
    for (label, result), colour in zip(results.items(), COLOURS, strict=False):
        one = result.isel(site=i)
        if int(one["reason"]) != 0:
            missing.append(label)
            axis.plot([], [], color=colour, label=label)
            continue
        interface = np.concatenate([[0.0], np.cumsum(one["thickness"].to_numpy())])
        axis.stairs(
            one["soil_carbon"].to_numpy() / 1000.0,
            interface,
            orientation="horizontal",
            baseline=None,
            color=colour,
            linewidth=1.6,
            label=label,
        )
    axis.set_ylim(depth, 0.0)
    axis.set_xlim(left=0.0)
    axis.set_title(str(next(iter(results.values()))["site"].to_numpy()[i]))
    if missing:
        axis.text(
            0.5,
            0.5,
            "no steady state:\n" + ", ".join(missing),
            transform=axis.transAxes,
            ha="center",
            va="center",
            color="0.4",
        )


def stock(result: xr.Dataset, upper: float = 0.0, lower: float = 1.0) -> np.ndarray:
    """Return the soil carbon between two depths (m), kg m-2, one number per site."""
    within = CLM5_GRID.thickness_within(upper, lower)
    return np.asarray((result["soil_carbon"].to_numpy() * within).sum(axis=-1) / 1000.0)


def _finding(results: Mapping[str, xr.Dataset]) -> str:
    stocks = {
        label: stock(result)[result["reason"].to_numpy() == 0] for label, result in results.items()
    }
    parts = [
        f"{label} {values.mean():.1f} kg m$^{{-2}}$" if values.size else f"{label}: no steady state"
        for label, values in stocks.items()
    ]
    return "Soil carbon to 1 m, mean over sites: " + ", ".join(parts)
