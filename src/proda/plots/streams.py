"""Figure of data beside carbon: modelled against measured."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.errors import AssimilationError
from proda.inference.stream_fit import stream_fit, stream_values, streams_of
from proda.plots.style import COLOURS, style
from proda.streams.registry import STREAMS

CLASSES = (
    ("0-30 cm", 0.0, 0.3, "o", COLOURS[0]),
    ("30-100 cm", 0.3, 1.0, "^", COLOURS[1]),
    ("below 1 m", 1.0, np.inf, "s", COLOURS[2]),
)
"""Classes of depth by the middle of the layer, m: name, limits, marker, colour."""
UNITS = {"permil": "‰", "1": "share", "g m-2 yr-1": "g m$^{-2}$ yr$^{-1}$"}


def stream_scatter(summary: xr.Dataset) -> Figure:
    """Draw the posterior mean and 90 % interval of each stream against the measured value.

    Parameters
    ----------
    summary
        summary.nc of a run with streams.

    Raises
    ------
    AssimilationError
        If it has no value of any stream.
    """
    fit = stream_fit(summary)
    names = [n for n in streams_of(summary) if len(stream_values(summary, n))]
    if not names:
        raise AssimilationError("The run has no value of any data beside carbon to draw.")
    with style():
        figure, axes = plt.subplots(
            1, len(names), figsize=(4.3 * len(names) + 0.3, 4.6), squeeze=False
        )
        for axis, name in zip(axes[0], names, strict=True):
            _panel(axis, stream_values(summary, name), fit[fit["stream"] == name].iloc[0])
    return figure


def _panel(axis: Axes, table: pd.DataFrame, fit: pd.Series) -> None:
    stream = STREAMS[fit["stream"]]
    middle = 0.5 * (table["upper"] + table["lower"])
    classes = CLASSES if stream.layered else (("", -np.inf, np.inf, "o", COLOURS[0]),)
    for name, low, high, marker, colour in classes:
        here = table[middle.between(low, high, inclusive="left")] if stream.layered else table
        if here.empty:
            continue
        centre = np.clip(here["modelled"], here["low"], here["high"])  # a mean may lie outside
        ends = np.abs(here[["low", "high"]].to_numpy().T - centre.to_numpy())
        axis.errorbar(
            here["observed"],
            centre,
            yerr=ends,
            fmt=marker,
            ms=3.5,
            lw=0.5,
            color=colour,
            alpha=0.6,
            label=f"{name} ({len(here):,})" if name else None,
        )
    if stream.scale == "log":
        axis.set(xscale="log", yscale="log")
    limits = [
        min(axis.get_xlim()[0], axis.get_ylim()[0]),
        max(axis.get_xlim()[1], axis.get_ylim()[1]),
    ]
    axis.plot(limits, limits, color="black", lw=0.8, ls="--", zorder=0, label="1:1")
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    quantity = "Δ$^{14}$C" if stream.name == "radiocarbon" else stream.title
    unit = UNITS.get(stream.unit, stream.unit)
    axis.set_xlabel(f"measured {quantity} ({unit})")
    axis.set_ylabel(f"modelled, posterior mean and 90 % interval ({unit})")
    of = "" if stream.scale == "identity" else f" of the {stream.scale}"
    size = f" {unit}" if stream.scale == "identity" else ""
    role = "fitted" if fit["fitted"] else "held out"
    axis.set_title(
        f"{stream.title}, {role}:\nRMSE{of} {fit['rmse']:.3g}{size}, NSE {fit['nse']:.2f}, "
        f"{fit['inside90']:.0%} of values in the interval"
    )
    axis.legend(fontsize="small", loc="upper left")
