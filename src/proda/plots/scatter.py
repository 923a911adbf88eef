"""Predicted against observed values."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from proda.errors import MapError
from proda.plots.style import SEQUENTIAL, style
from proda.weighted import correlation


def density_scatter(
    observed: np.ndarray,
    predicted: np.ndarray,
    weights: np.ndarray | None = None,
    observed_label: str = "observed (kg m$^{-2}$)",
    predicted_label: str = "predicted (kg m$^{-2}$)",
    what: str = "",
    weight_label: str = "pairs",
) -> Figure:
    """Draw predicted against observed values on logarithmic axes, as density.

    Parameters
    ----------
    observed, predicted
        (n,), of one unit. Pairs with a missing value are left out; those with a value of 0 or less
        have no logarithm, and are counted in the label of the axis.
    weights
        Weights for R2, bias and colour, such as the area of land; None: equal weights.
    observed_label, predicted_label, what, weight_label
        Labels of the axes, what is predicted (for the title), and what the colour counts.

    Raises
    ------
    MapError
        If fewer than three pairs can be drawn.
    """
    w = np.ones(len(observed)) if weights is None else weights
    with np.errstate(invalid="ignore"):
        fine = (observed > 0) & (predicted > 0) & np.isfinite(observed) & np.isfinite(predicted)
        fine &= w > 0
        pairs = np.isfinite(observed) & np.isfinite(predicted) & (w > 0)
    if fine.sum() < 3:
        raise MapError(f"Only {int(fine.sum())} pairs are above 0; there is nothing to draw.")
    mean = np.average(observed[pairs], weights=w[pairs])
    bias = np.average(predicted[pairs], weights=w[pairs]) - mean
    x, y, w = observed[fine], predicted[fine], w[fine]
    r2 = correlation(np.log(x), np.log(y), w) ** 2
    with style():
        figure, axis = plt.subplots(figsize=(5.2, 4.5))
        low, high = np.quantile(np.concatenate([x, y]), [0.002, 0.998])
        low = max(low, high / 3000.0)
        beyond = int((np.minimum(x, y) < low).sum() + (np.maximum(x, y) > high).sum())
        drawn = _density(axis, x, y, w, (low, high))
        axis.set(xlabel=observed_label, ylabel=predicted_label)
        figure.colorbar(drawn, label=weight_label, pad=0.01)
        gone = int(pairs.sum()) - len(x)
        note = f", {beyond:,} of them beyond the axes, drawn at the edge" if beyond else ""
        note += f"; {gone:,} more not above 0" if gone else ""
        axis.set_title(
            f"{what + ': ' if what else ''}R$^2$ {r2:.2f} (log), bias {bias:+.1f} "
            f"({bias / mean:+.0%})"
        )
        axis.set_xlabel(f"{observed_label}\n{len(x):,} pairs{note}", fontsize="small")
    return figure


def _density(
    axis: Axes, x: np.ndarray, y: np.ndarray, w: np.ndarray, limits: tuple[float, float]
) -> PolyCollection:
    """Draw the density of pairs on equal logarithmic axes, with the line of equality."""
    low, high = limits
    ends = (np.log10(low), np.log10(high))
    drawn = axis.hexbin(
        np.clip(x, low, high),
        np.clip(y, low, high),
        C=w,
        reduce_C_function=np.sum,
        xscale="log",
        yscale="log",
        gridsize=60,
        extent=(*ends, *ends),
        mincnt=1,
        norm=LogNorm(),
        cmap=SEQUENTIAL,
        linewidths=0.1,
    )
    axis.plot([low, high], [low, high], color="black", lw=1)
    axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter("{x:g}")
    return drawn
