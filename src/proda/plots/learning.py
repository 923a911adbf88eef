"""Figures of a training: losses, predictions at held-out sites, skill, importance."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.errors import LearningError
from proda.plots.style import COLOURS, SEQUENTIAL, style
from proda.weighted import correlation_of_columns

ORDER = (
    "default",
    "mean",
    "nearest_site",
    "random_forest",
    "network_untuned",
    "network",
    "network_members",
    "assimilated",
)
LABELS = {
    "default": "default",
    "mean": "mean parameters",
    "nearest_site": "nearest site",
    "random_forest": "random forest",
    "network_untuned": "network, untuned",
    "network": "network",
    "network_members": "network, members' mean",
    "assimilated": "own assimilation",
}


def _methods(names: pd.Series | np.ndarray) -> list[str]:
    present = [str(name) for name in pd.unique(np.asarray(names))]
    return [m for m in ORDER if m in present] + [m for m in present if m not in ORDER]


def history(table: pd.DataFrame) -> Figure:
    """Losses of every member by epoch, and the epochs whose weights were kept.

    Parameters
    ----------
    table
        `Ensemble.history`.
    """
    stages = list(pd.unique(table["stage"])) if "stage" in table else ["parameters"]
    parts = {s: table[table["stage"] == s] if "stage" in table else table for s in stages}
    names = {"parameters": "on parameters", "carbon": "tuning through the soil model"}
    with style():
        figure, axes = plt.subplots(
            1, len(stages), figsize=(4.3 * len(stages) + 0.6, 3.6), squeeze=False
        )
        gains = []
        for axis, (stage, part) in zip(axes[0], parts.items(), strict=True):
            # without validation sites the last weights are kept, by no loss
            shown = "validation" if part["validation_loss"].notna().any() else "training"
            for _, own in part.groupby("member"):
                axis.plot(own["epoch"], own["training_loss"], color=COLOURS[0], alpha=0.5, lw=0.8)
                axis.plot(own["epoch"], own["validation_loss"], color=COLOURS[1], lw=0.9)
                kept = own[own["kept"]]
                axis.plot(kept["epoch"], kept[f"{shown}_loss"], "o", ms=4, color=COLOURS[6])
            first = part.groupby("member")[f"{shown}_loss"].first().mean()
            best = part[part["kept"]][f"{shown}_loss"].mean()
            gains.append(f"{stage} {first:.3g} to {best:.3g}")
            positive = (part[f"{shown}_loss"] > 0).all() and not (part["training_loss"] <= 0).any()
            axis.set(
                xlabel=f"epoch {names.get(stage, stage)}", yscale="log" if positive else "linear"
            )
        axes[0, 0].set_ylabel("loss (1)")
        for label, colour, mark in (
            ("training", COLOURS[0], "-"),
            ("validation", COLOURS[1], "-"),
            ("kept", COLOURS[6], "o"),
        ):
            axes[0, -1].plot([], [], mark, color=colour, label=label, ms=4)
        axes[0, -1].legend(fontsize="small")
        n = table["member"].nunique()
        text = f"{shown.capitalize()} loss of {n} networks falls: {'; '.join(gains)}"
        figure.suptitle(text, x=0.01, ha="left", fontsize="medium")
    return figure


def parameters(held_out: xr.Dataset, method: str = "network") -> Figure:
    """Predicted against posterior mean at held-out sites, one panel per parameter.

    Parameters
    ----------
    held_out
        held_out.nc of a training.
    """
    names = held_out["parameter"].to_numpy().astype(str)
    predicted = (
        held_out["predicted"].sel({"method": method}).transpose("site", "parameter").to_numpy()
    )
    mean = held_out["posterior_mean"].transpose("site", "parameter").to_numpy()
    lower, upper = held_out["lower"].to_numpy(), held_out["upper"].to_numpy()
    x, y = ((v - lower) / (upper - lower) for v in (mean, predicted))
    columns = min(6, len(names))
    height = -(-len(names) // columns)
    correlations = correlation_of_columns(x, y)
    with style():
        figure, axes = plt.subplots(
            height,
            columns,
            squeeze=False,
            sharex=True,
            sharey=True,
            figsize=(0.8 + 1.5 * columns, 1.1 + 1.55 * height),
        )
        for axis in axes.flat[len(names) :]:
            axis.axis("off")
        for i, (axis, name) in enumerate(zip(axes.flat, names, strict=False)):
            axis.hexbin(
                x[:, i],
                y[:, i],
                gridsize=25,
                extent=(0, 1, 0, 1),
                mincnt=1,
                bins="log",
                cmap=SEQUENTIAL,
                linewidths=0.1,
            )
            axis.plot([0, 1], [0, 1], color="black", lw=0.7)
            axis.set_title(f"{name}  r {correlations[i]:.2f}", fontsize="x-small")
            axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        figure.supxlabel(
            "posterior mean of the site (share of the prior range, 1)", fontsize="small"
        )
        figure.supylabel("predicted (share of the prior range, 1)", fontsize="small")
        best = int(np.nanargmax(correlations))
        figure.suptitle(
            f"{held_out.attrs.get('model', '')}: {int((correlations > 0.5).sum())} of {len(names)} "
            f"parameters are predicted with r above 0.5 at {len(x):,} held-out sites, best "
            f"{names[best]}",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def carbon(held_out: xr.Dataset) -> Figure:
    """Modelled against measured carbon of the layers of held-out sites, a panel per method.

    Parameters
    ----------
    held_out
        held_out.nc of a training with profiles.
    """
    methods = _methods(held_out["carbon_method"].to_numpy().astype(str))
    used = held_out["row_used"].to_numpy().astype(bool)
    observed = held_out["row_observed"].to_numpy()[used]
    columns = min(4, len(methods))
    height = -(-len(methods) // columns)
    low, high = np.quantile(observed, [0.002, 0.998]) * [0.5, 2.0]
    scores = {}
    with style():
        figure, axes = plt.subplots(
            height,
            columns,
            squeeze=False,
            sharex=True,
            sharey=True,
            figsize=(0.9 + 2.3 * columns, 1.2 + 2.3 * height),
        )
        for axis in axes.flat[len(methods) :]:
            axis.axis("off")
        for axis, method in zip(axes.flat, methods, strict=False):
            modelled = held_out["row_modelled"].sel(carbon_method=method).to_numpy()[used]
            label = LABELS.get(method, method)
            scores[method] = _draw_layers(axis, observed, modelled, (low, high), label)
        figure.supxlabel("measured carbon (kg m$^{-3}$)", fontsize="small")
        figure.supylabel("modelled carbon (kg m$^{-3}$)", fontsize="small")
        within = [
            f"{LABELS.get(m, m)} {scores[m]:.2f}"
            for m in ("default", "network", "assimilated")
            if m in scores
        ]
        figure.suptitle(
            f"{held_out.attrs.get('model', '')}, {int(used.sum()):,} layers; half of "
            f"them within a factor: {', '.join(within)}",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def _draw_layers(
    axis: Axes,
    observed: np.ndarray,
    modelled: np.ndarray,
    limits: tuple[float, float],
    label: str,
) -> float:
    """Draw modelled against measured layers; return the factor within which half of them lie."""
    low, high = limits
    known = np.isfinite(modelled) & (modelled > 0)
    x, y = observed[known], modelled[known]
    beyond = int(((y < low) | (y > high)).sum())
    axis.hexbin(
        x,
        np.clip(y, low, high),
        xscale="log",
        yscale="log",
        gridsize=40,
        extent=(np.log10(low), np.log10(high)) * 2,
        mincnt=1,
        bins="log",
        cmap=SEQUENTIAL,
        linewidths=0.1,
    )
    axis.plot([low, high], [low, high], color="black", lw=0.8)
    factor = float(np.exp(np.median(np.abs(np.log(y / x)))))
    note = f"; {beyond:,} beyond" if beyond else ""
    axis.set_title(f"{label}\nhalf within a factor {factor:.2f}{note}", fontsize="x-small")
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    return factor


def skill(table: pd.DataFrame) -> Figure:
    """Skill of every method in carbon: over all layers, by depth, zone and climate.

    Parameters
    ----------
    table
        skill_carbon.csv.
    """
    methods = _methods(table["method"])
    kinds = [k for k in ("all", "depth", "zone", "koeppen") if (table["by"] == k).any()]
    labels, positions, start = [], [], 0.0
    for kind in kinds:
        for group in pd.unique(table.loc[table["by"] == kind, "group"]):
            own = table[(table["by"] == kind) & (table["group"] == group)]
            labels.append((kind, group, int(own["sites"].max())))
            positions.append(start)
            start += 1.0
        start += 0.6
    measures = (
        ("site_rmse_log", "median of the sites' RMSE of ln carbon (1)"),
        ("site_nse_positive", "share of sites with NSE > 0 (1)"),
    )
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 1.6 + 0.42 * len(labels)), sharey=True)
        for axis, (measure, label) in zip(axes, measures, strict=True):
            for i, method in enumerate(methods):
                values = [
                    float(
                        table[
                            (table["method"] == method)
                            & (table["by"] == kind)
                            & (table["group"] == group)
                        ][measure].iloc[0]
                    )
                    for kind, group, _ in labels
                ]
                shift = (i - (len(methods) - 1) / 2) * 0.09
                mark = "D" if method.startswith("network") else "o"
                axis.plot(
                    values,
                    np.array(positions) + shift,
                    mark,
                    ms=4.5,
                    color=COLOURS[i % len(COLOURS)],
                    label=LABELS.get(method, method),
                )
            axis.set_xlabel(label)
        axes[0].set_yticks(positions, [f"{g} ({n:,} sites)" for _, g, n in labels])
        axes[0].invert_yaxis()
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=4,
            fontsize="small",
        )
        figure.suptitle(_finding(table), x=0.01, ha="left", fontsize="medium")
    return figure


def _finding(table: pd.DataFrame) -> str:
    whole = table[table["by"] == "all"].set_index("method")["site_rmse_log"]
    if "network" not in whole:
        raise LearningError("The table of skill lacks the method network.")
    others = whole.drop([m for m in whole.index if m.startswith("network") or m == "assimilated"])
    if others.empty:
        return f"Held-out sites: the network's median log RMSE is {whole['network']:.2f}"
    best = str(others.idxmin())
    word = "below" if whole["network"] < others[best] else "not below"
    return (
        f"Held-out sites: the network's median log RMSE is {whole['network']:.2f}, {word} the "
        f"best baseline's ({LABELS.get(best, best)}, {others[best]:.2f})"
    )


def curve(table: pd.DataFrame) -> Figure:
    """Skill of parameters against the number of sites in training.

    Parameters
    ----------
    table
        curve.csv.
    """
    by = table.groupby("sites_trained")["skill"]
    middle, low, high = by.median(), by.quantile(0.1), by.quantile(0.9)
    with style():
        figure, axis = plt.subplots(figsize=(5.2, 3.6))
        axis.fill_between(
            middle.index, low, high, color=COLOURS[0], alpha=0.2, label="80 % of the parameters"
        )
        axis.plot(middle.index, middle, "o-", color=COLOURS[0], label="median parameter")
        axis.axhline(0.0, color=COLOURS[7], lw=1)
        axis.set(xscale="log", xlabel="training sites", ylabel="skill at held-out sites (1)")
        axis.set_xticks(middle.index, [f"{size:,}" for size in middle.index])
        axis.set_xticks([], minor=True)
        axis.legend(fontsize="small")
        n = middle.index.to_numpy()
        axis.set_title(
            f"From {n[0]:,} to {n[-1]:,} sites the median skill changes from {middle.iloc[0]:.2f} "
            f"to {middle.iloc[-1]:.2f}"
        )
    return figure


def importance(table: pd.DataFrame, most: int = 20) -> Figure:
    """Covariates by the increase of the error at held-out sites when they are shuffled.

    Parameters
    ----------
    table
        importance.csv.
    most
        Rows to draw.
    """
    top = table.head(most).iloc[::-1]
    with style():
        figure, axis = plt.subplots(figsize=(5.6, 1.2 + 0.2 * len(top)))
        axis.barh(
            top["group"],
            100 * top["increase"],
            xerr=100 * top["sd"],
            color=COLOURS[0],
            ecolor=COLOURS[6],
        )
        axis.set_xlabel("increase of the error of parameters (%)")
        axis.set_axisbelow(True)
        axis.grid(visible=False, axis="y")
        best = table.iloc[0]
        axis.set_title(f"{best['group']} matters most: {best['increase']:+.1%} when shuffled")
    return figure
