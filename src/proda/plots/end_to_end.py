"""Figure of an end-to-end training: every method at held-out places, and the ceiling."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.errors import LearningError
from proda.plots.style import COLOURS, style

LABELS = {
    "network": "network through the soil model",
    "constant": "calibrated constant",
    "default": "default",
    "depth": "depth alone",
    "boosting": "gradient boosting",
    "plain_network": "plain network",
    "ceiling": "ceiling",
}
OF_MECHANISMS = ("network", "constant", "default")
SHOWN = ("all", "depth", "soil", "zone")
"""Groups that are drawn."""
WORST = -1.0
"""A lower R2 is drawn at this edge."""


def skill_end_to_end(table: pd.DataFrame) -> Figure:
    """Skill of every method in the logarithm of carbon at held-out places.

    Parameters
    ----------
    table
        skill_carbon.csv of a network trained end to end.

    Raises
    ------
    LearningError
        If the table has no network.
    """
    methods = [m for m in LABELS if (table["method"] == m).any()]
    if "network" not in methods:
        raise LearningError("The table of skill lacks the method network.")
    heads = table[table["by"].isin(SHOWN)][["by", "group"]].drop_duplicates()
    heads = heads.sort_values("by", key=lambda by: by.map(SHOWN.index), kind="stable")
    new = (heads["by"] != heads["by"].shift()).cumsum().to_numpy()
    place = np.arange(len(heads)) + 0.6 * (new - 1)
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 1.8 + 0.42 * len(heads)), sharey=True)
        for axis, measure, label in zip(
            axes,
            ("log_r2", "rmse_log"),
            ("R$^2$ of ln carbon (1)", "RMSE of ln carbon (1)"),
            strict=True,
        ):
            for i, method in enumerate(methods):
                own = table[table["method"] == method].set_index(["by", "group"])[measure]
                values = own.reindex(pd.MultiIndex.from_frame(heads)).to_numpy(np.float64)
                if measure == "log_r2":
                    values = np.maximum(values, WORST)
                shift = 0.09 * (i - (len(methods) - 1) / 2)
                _points(axis, values, place + shift, method, COLOURS[i])
            axis.set_xlabel(label)
        axes[0].set_yticks(place, [str(group) for group in heads["group"]])
        axes[0].invert_yaxis()
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=4,
            fontsize="small",
        )
        figure.suptitle(_finding(table), x=0.01, ha="left", fontsize="medium")
    return figure


def _points(axis: Axes, x: np.ndarray, y: np.ndarray, method: str, colour: str) -> None:
    mark = "|" if method == "ceiling" else "D" if method == "network" else "o"
    axis.plot(x, y, mark, ms=9 if mark == "|" else 4.5, color=colour, label=LABELS[method])


def _finding(table: pd.DataFrame) -> str:
    whole = table[table["by"] == "all"].set_index("method")["log_r2"]
    text = f"Held-out places: the network's R² of ln carbon is {whole['network']:.2f}"
    others = whole.drop([*OF_MECHANISMS, "ceiling"], errors="ignore").dropna()
    parts = [f"the constant's {whole['constant']:.2f}"] if "constant" in whole else []
    if len(others):
        best = str(others.idxmax())
        parts.append(f"without a soil model at best {others[best]:.2f} ({LABELS.get(best, best)})")
    if np.isfinite(whole.get("ceiling", np.nan)):
        parts.append(f"the ceiling {whole['ceiling']:.2f}")
    return ", ".join([text, *parts])
