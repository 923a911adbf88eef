"""Figure of the evidence: which model the data prefer, by zone and by measure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator

from proda.errors import ComparisonError
from proda.plots.style import colours_of, style

ORDER = ("all", "koppen", "latitude", "depth")


def evidence_figure(evidence: pd.DataFrame, stacking: pd.DataFrame) -> Figure:
    """Draw by zone the difference of every model from the best one, and the stacking weights.

    Parameters
    ----------
    evidence, stacking
        Of :mod:`proda.comparison.choice_of_many`. Zones are those of Köppen where they are known,
        else of latitude; layers left out are also shown by depth.

    Raises
    ------
    ComparisonError
        If no two models could be compared on the same data.
    """
    judged = evidence[evidence["sites"] > 0]
    measures = list(judged["measure"].unique())
    if not measures:
        raise ComparisonError(
            "No two models could be compared on the same data; there is nothing to draw."
        )
    models = sorted(judged["model"].unique())
    colours = colours_of(models)
    heads = {m: _zones(judged[judged["measure"] == m]) for m in measures}
    heights = [0.7 + 0.30 * len(h) for h in heads.values()]
    with style():
        figure, grid = plt.subplots(
            len(measures),
            2,
            figsize=(10.0, 0.9 + sum(heights)),
            squeeze=False,
            height_ratios=heights,
            width_ratios=(1.4, 1.0),
            layout="constrained",
        )
        for (left, right), measure in zip(grid, measures, strict=True):
            rows = judged[judged["measure"] == measure].set_index(["grouping", "zone"])
            weights = stacking[stacking["measure"] == measure].set_index(["grouping", "zone"])
            _differences(left, rows, heads[measure], colours)
            _weights(right, weights, heads[measure], colours)
            left.set_title(f"{measure[0].upper()}{measure[1:]}", fontsize="medium")
        grid[-1, 0].set_xlabel("mean log density behind the best model (± standard error)")
        grid[-1, 1].set_xlabel("stacking weight")
        handles = [
            Line2D([], [], color=colours[m], marker="o", ls="", label=m.upper()) for m in models
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize="small")
        figure.suptitle(_finding(judged), x=0.01, ha="left", fontsize="medium")
    return figure


def _zones(rows: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Return grouping, zone and number of sites in the order of drawing."""
    skipped = "latitude" if (rows["grouping"] == "koppen").any() else ""
    heads = rows[rows["grouping"] != skipped].drop_duplicates(["grouping", "zone"])
    return [
        (grouping, str(row["zone"]), int(row["sites"]))
        for grouping in ORDER
        for _, row in heads[heads["grouping"] == grouping].iterrows()
    ]


def _differences(
    axis: Axes, rows: pd.DataFrame, heads: list[tuple[str, str, int]], colours: dict[str, str]
) -> None:
    names = list(colours)
    for y, (grouping, zone, _) in enumerate(heads):
        for _, row in rows.loc[[(grouping, zone)]].iterrows():
            shift = 0.6 * ((names.index(row["model"]) + 0.5) / len(names) - 0.5)
            error = np.nan_to_num(row["standard_error"])
            axis.errorbar(
                row["difference"],
                y + shift,
                xerr=error,
                fmt="o",
                ms=3.5,
                lw=1,
                color=colours[row["model"]],
            )
    axis.axvline(0, color="0.6", lw=0.8, zorder=0)
    labels = [f"{'all' if g == 'all' else zone} ({n:,})" for g, zone, n in heads]
    axis.set_yticks(range(len(heads)), labels)
    axis.set_ylim(len(heads) - 0.5, -0.5)
    away = rows["difference"].abs()
    if away.max() > 20.0 * away[away > 0].quantile(0.25):
        # One model far behind the others must not hide the differences between them.
        axis.set_xscale("symlog", linthresh=max(float(away[away > 0].median()), 1e-3))
        axis.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=[1, 3]))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
    axis.grid(visible=False, axis="y")


def _weights(
    axis: Axes, rows: pd.DataFrame, heads: list[tuple[str, str, int]], colours: dict[str, str]
) -> None:
    for y, (grouping, zone, _) in enumerate(heads):
        if (grouping, zone) not in rows.index:
            axis.text(0.01, y, "too few sites", va="center", fontsize="x-small", color="0.4")
            continue
        left = 0.0
        for _, row in rows.loc[[(grouping, zone)]].iterrows():
            axis.barh(
                y,
                row["weight"],
                left=left,
                height=0.7,
                color=colours[row["model"]],
                edgecolor="white",
                linewidth=0.4,
            )
            if row["weight"] >= 0.12:
                axis.text(
                    left + row["weight"] / 2,
                    y,
                    f"{row['weight']:.2f}",
                    ha="center",
                    va="center",
                    fontsize="x-small",
                    color="white",
                )
            left += row["weight"]
    axis.set(xlim=(0, 1), ylim=(len(heads) - 0.5, -0.5), yticks=[])
    axis.grid(visible=False)


def _finding(judged: pd.DataFrame) -> str:
    parts = []
    whole = judged[judged["grouping"] == "all"]
    for measure, rows in whole.groupby("measure", sort=False):
        ordered = rows.sort_values("mean", ascending=False)
        best, second = ordered.iloc[0], ordered.iloc[1]
        gap, error = -second["difference"], second["standard_error"]
        sure = "" if gap > 2.0 * error else ", within two standard errors of the next"
        parts.append(f"{measure}: {str(best['model']).upper()} first{sure}")
    return "Which model the data prefer\n" + "\n".join(parts)
