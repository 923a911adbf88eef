"""Figures of projections: time series, maps of change, agreement today and in the changes."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.comparison.model_files import AFTER, BEFORE, END_TO_END
from proda.comparison.projections import OPEN_QUESTION, Moment, Projections, regions
from proda.latitude import GLOBE
from proda.plots.style import DIVERGING, colours_of, draw_land, style
from proda.projection.projection_variables import CHANGE, STOCK

WORDS = {
    BEFORE: "default parameters",
    AFTER: "from posteriors",
    END_TO_END: "trained end to end",
}
_LINES = {BEFORE: "--", AFTER: "-.", END_TO_END: "-"}
SHOWN_REGIONS = (GLOBE, "boreal", "tropics", "permafrost soil")
SHOWN_EXPERIMENTS = (OPEN_QUESTION, "input_plus_20", "plus_4K_input_plus_20", "priming")
_MARKS = "osD^vP*Xh<>"


def projection_figures(result: Projections) -> Iterator[tuple[str, str, Figure]]:
    """Yield the name, the caption and the figure of each figure of projections.

    Parameters
    ----------
    result
        From :func:`proda.comparison.projections.compare_projections`.
    """
    yield (
        "series",
        "Change of soil carbon in 0-100 cm since the start, by experiment (rows) and region: mean "
        "and 5-95 % range of the members; dashed with default parameters. Permafrost soil has an "
        "active layer that is shallower than 3 m at present.",
        series_figure(result),
    )
    if any(OPEN_QUESTION in _names(d) for s in result.opened.values() for d in s.values()):
        yield (
            "maps",
            "Change of soil carbon in 0-100 cm at the last year of 4 K of warming, by model "
            "(columns) and parameters (rows), on one colour scale.",
            change_maps(result),
        )
    if len(result.tables["agreement"]):
        yield (
            "agreement",
            "Each mark is an experiment at its last year, with the correlation of the two models' "
            "maps of carbon today and of their maps of change; bars are 95 % intervals with "
            "effective numbers of cells. Of more than two models, one experiment is shown, and "
            "lines join the marks of a pair.",
            agreement_figure(result.tables["agreement"]),
        )


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["experiment"].to_numpy()]


def series_figure(result: Projections) -> Figure:
    """Draw the change of carbon over time, by experiment and region."""
    first = next(iter(next(iter(result.opened.values())).values()))
    shown = [n for n in SHOWN_EXPERIMENTS if n in _names(first)] or _names(first)[:4]
    colours = colours_of(result.opened)
    with style():
        figure, axes = plt.subplots(
            len(shown),
            len(SHOWN_REGIONS),
            figsize=(3.0 * len(SHOWN_REGIONS), 2.2 * len(shown) + 0.6),
            squeeze=False,
            sharex=True,
            layout="constrained",
        )
        for i, experiment in enumerate(shown):
            for axis, region in zip(axes[i], SHOWN_REGIONS, strict=True):
                for model, states in result.opened.items():
                    for state, dataset in states.items():
                        if experiment in _names(dataset):
                            _series(axis, dataset, experiment, region, (model, state), colours)
                axis.axhline(0.0, color="black", lw=0.6)
                axis.set_title(f"{experiment}, {region}", fontsize="small")
            axes[i, 0].set_ylabel("change (Pg)")
        for axis in axes[-1]:
            axis.set_xlabel("years")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize="small", loc="outside lower center", ncols=4)
        figure.suptitle(f"Projected change of soil carbon in 0-100 cm\n{_in_words(result)}")
    return figure


def _series(
    axis: Axes,
    dataset: xr.Dataset,
    experiment: str,
    region: str,
    label: tuple[str, str],
    colours: dict[str, str],
) -> None:
    model, state = label
    at = _names(dataset).index(experiment)
    stock = [str(s) for s in dataset["stock"].to_numpy()].index(STOCK)
    years = dataset["series_years"].isel(experiment=at).to_numpy()
    series = dataset["series_carbon"].isel(experiment=at, stock=stock).to_numpy()
    total = series[:, regions(dataset)[region]].sum(axis=1)
    change, here = total - total[:, :1], np.isfinite(years)
    if len(change) > 1:
        low, high = np.quantile(change[:, here], [0.05, 0.95], axis=0)
        axis.fill_between(years[here], low, high, color=colours[model], alpha=0.2, lw=0)
    axis.plot(
        years[here],
        change[:, here].mean(axis=0),
        color=colours[model],
        ls=_LINES[state],
        label=f"{model.upper()}, {WORDS[state]}",
    )


def _in_words(result: Projections) -> str:
    """State the loss of each model under warming at its last year."""
    table = result.tables["totals"]
    rows = table[(table["experiment"] == OPEN_QUESTION) & (table["region"] == GLOBE)]
    rows = rows[rows["years"] == rows["years"].max()]
    if len(result.opened) > 2:
        return "\n".join(_range_in_words(str(s), t) for s, t in rows.groupby("state", sort=False))
    parts = [
        f"{row['model'].upper()} {WORDS[row['state']]} {row['change']:+,.0f} Pg "
        f"({row['per_cent']:+.0f} %)"
        for row in rows.to_dict("records")
    ]
    return "4 K warmer: " + ";\n".join(parts) if parts else ""


def _range_in_words(state: str, rows: pd.DataFrame) -> str:
    """State the largest loss and the largest gain of many models."""
    ordered = rows.sort_values("change").to_dict("records")
    ends = (ordered[0], ordered[-1])
    low, high = (f"{row['change']:+,.0f} Pg ({str(row['model']).upper()})" for row in ends)
    return f"4 K warmer, {WORDS[state]}: {low} to {high}"


def change_maps(result: Projections) -> Figure:
    """Draw the change under warming by every model and state on one scale.

    Models are columns, or rows where there are more than three.
    """
    states = list(dict.fromkeys(s for given in result.opened.values() for s in given))
    drawn = {}
    for model, given in result.opened.items():
        for state, dataset in given.items():
            last = float(dataset["years"].to_numpy()[-1])
            drawn[model, state] = Moment(OPEN_QUESTION, last).take(dataset, CHANGE + STOCK)
    every = np.concatenate([v[np.isfinite(v)] for v in drawn.values()])
    most = float(np.quantile(np.abs(every), 0.98)) or 1.0
    models = list(result.opened)
    upright = len(models) > 3
    n_rows, n_columns = sorted((len(states), len(models)), reverse=upright)
    with style():
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(4.6 * n_columns, 2.3 * n_rows + 0.8),
            squeeze=False,
            layout="constrained",
        )
        by_state = axes.T if upright else axes
        mesh = None
        for (model, state), values in drawn.items():
            axis = by_state[states.index(state), models.index(model)]
            dataset = result.opened[model][state]
            lat, lon = dataset["lat"].to_numpy(), dataset["lon"].to_numpy()
            land = np.nan_to_num(dataset["land_fraction"].to_numpy()) > 0
            draw_land(axis, lat, lon, land)
            mesh = axis.pcolormesh(lon, lat, values, cmap=DIVERGING, vmin=-most, vmax=most)
            axis.set_title(f"{model.upper()}, {WORDS[state]}", fontsize="medium")
            axis.set_ylim(-60, 85)
        assert mesh is not None
        figure.colorbar(mesh, ax=axes, label="change in 0-100 cm (kg m$^{-2}$)", shrink=0.7)
        figure.suptitle(f"Where carbon changes with 4 K of warming\n{_in_words(result)}")
    return figure


def agreement_figure(table: pd.DataFrame) -> Figure:
    """Draw the agreement of the changes against that of today's carbon, by experiment and state.

    Of more than two models only one experiment is drawn; lines join the states of a pair.
    """
    timed = table[pd.to_numeric(table["years"], errors="coerce").notna()]
    keys = ["first", "second", "state", "experiment"]
    last = timed.groupby(keys, sort=False).tail(1)
    pairs = last.groupby(["first", "second"], sort=False)
    if len(pairs) > 1:
        names = list(last["experiment"].unique())
        shown = OPEN_QUESTION if OPEN_QUESTION in names else names[0]
        last = last[last["experiment"] == shown]
        pairs = last.groupby(["first", "second"], sort=False)
    colours = colours_of(WORDS)
    marks = dict(zip(last["experiment"].unique(), _MARKS, strict=False))
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
        if len(pairs) > 1:
            for _, pair in pairs:
                axis.plot(pair["r_today"], pair["r"], color="0.75", lw=0.8, zorder=0)
        _points(axis, last, colours, marks)
        for state in last["state"].unique():
            axis.plot([], [], color=colours[state], marker="o", ls="none", label=WORDS[state])
        for name, mark in marks.items():
            axis.plot([], [], color="0.4", marker=mark, ls="none", label=name)
        axis.axhline(0.0, color="black", lw=0.6)
        axis.set_xlabel("r of today's carbon (0-100 cm, logarithms)")
        axis.set_ylabel("r of the change (0-100 cm)")
        figure.legend(fontsize="x-small", loc="outside right center")
        figure.suptitle(f"Agreement of models today and in their projected changes\n{_agree(last)}")
    return figure


def _points(axis: Axes, last: pd.DataFrame, colours: dict[str, str], marks: dict[str, str]) -> None:
    spread = np.linspace(-0.01, 0.01, max(len(marks), 2)) if len(marks) > 1 else [0.0]
    for row in last.to_dict("records"):
        bar = [[row["r"] - row["low"]], [row["high"] - row["r"]]]
        axis.errorbar(
            row["r_today"] + spread[list(marks).index(row["experiment"])],
            row["r"],
            yerr=np.maximum(np.nan_to_num(bar), 0.0),
            color=colours[row["state"]],
            marker=marks[row["experiment"]],
            ms=5,
            lw=0.8,
            ls="none",
        )


def _agree(last: pd.DataFrame) -> str:
    """State the agreement under warming, on the mean of all pairs."""
    rows = last[last["experiment"] == OPEN_QUESTION]
    pairs = len(rows[["first", "second"]].drop_duplicates())
    mean = f", means of {pairs} pairs" if pairs > 1 else ""
    means = rows.groupby("state", sort=False)[["r_today", "r"]].mean()
    parts = [
        f"{WORDS[str(state)]}: today r = {row['r_today']:.2f}, 4 K r = {row['r']:.2f}{mean}"
        for state, row in means.iterrows()
    ]
    return "\n".join(parts)
