"""Correlations between maps of refits: of one model, and across models."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from proda.comparison.identification import BETWEEN, VARIABLES
from proda.comparison.model_files import STOCK
from proda.comparison.paper import CORRELATIONS, PAIR
from proda.comparison.refit_runs import CONSTANT, DEFAULTS
from proda.plots.style import COLOURS, style

LABELS = {
    STOCK: "carbon to 1 m\n(log)",
    "CTE": "CTE\ntransfer",
    "K": "K\ndecomposition",
    "XI": "XI\nenvironment",
    "B": "B\nallocation",
    "V": "V\ntransport",
}


def identification_figure(pairs: pd.DataFrame, means: pd.DataFrame | None = None) -> Figure:
    """Draw every pair of refits as a dot: components across, correlation upwards.

    Parameters
    ----------
    pairs
        From :func:`proda.comparison.identification.pair_table`.
    means
        From :func:`proda.comparison.identification.mean_table`: the 95 % interval of the mean
        maps' correlation is drawn as a bar.
    """
    models = [of for of in dict.fromkeys(pairs["of"]) if of != BETWEEN]
    groups = [*models, BETWEEN]
    with style():
        figure, axis = plt.subplots(figsize=(9.5, 4.4), layout="constrained")
        rng = np.random.default_rng(0)
        for i, name in enumerate(VARIABLES):
            own = pairs[pairs["variable"] == name]
            for k, of in enumerate(groups):
                r = own[own["trained"] & (own["of"] == of)]["r"].to_numpy()
                x = i + 0.26 * (k - 1)
                axis.scatter(
                    x + rng.uniform(-0.08, 0.08, len(r)), r, s=5, alpha=0.35, lw=0, color=COLOURS[k]
                )
                if np.isfinite(r).any():
                    axis.hlines(np.nanmedian(r), x - 0.11, x + 0.11, color=COLOURS[k], lw=2)
            _marks(axis, own, i + 0.26, name, set(models) == set(PAIR))
        if means is not None:
            place = np.arange(len(means)) + 0.44
            axis.vlines(place, means["low"], means["high"], color="0.4", lw=1.2)
        handles = [
            Line2D(
                [],
                [],
                marker="o",
                ls="",
                color=COLOURS[k],
                label=f"refits of {of.upper()}" if of in models else of,
            )
            for k, of in enumerate(groups)
        ]
        handles += [
            Line2D([], [], marker=m, ls="", mfc=fill, mec="black", label=label)
            for m, fill, label in _MARKS
        ]
        if means is not None:
            handles.append(Line2D([], [], color="0.4", label="95 % of the mean maps' r"))
        axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axis.set_xticks(range(len(VARIABLES)), [LABELS[name] for name in VARIABLES])
        axis.axhline(0.0, color="0.3", lw=0.8)
        axis.set_ylim(-1.02, 1.02)
        axis.set_ylabel("correlation of two maps, weighted by land (1)")
        axis.set_title("Correlation of patterns between refits of a model, and between two models")
    return figure


_MARKS = (
    ("D", "black", "paper, between models"),
    ("s", "white", "defaults, untrained"),
    ("^", "white", "calibrated constants"),
)


def _marks(axis: Axes, own: pd.DataFrame, x: float, name: str, papers: bool) -> None:
    """Mark the paper's correlation and those of untrained models."""
    between = own[own["of"] == BETWEEN].set_index("kind")["r"]
    values = [CORRELATIONS.get((name, "after"), np.nan) if papers else np.nan]
    values += [between.get(kind, np.nan) for kind in (DEFAULTS, CONSTANT)]
    for (marker, fill, _), value in zip(_MARKS, values, strict=True):
        axis.plot([x], [value], marker=marker, ls="", mfc=fill, mec="black", ms=5, zorder=5)
