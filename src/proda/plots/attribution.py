"""Figures of an attribution: components by map, their maps, and the difference of two models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.attribution.attribute import Attribution
from proda.attribution.difference import PATTERN
from proda.attribution.measures import LOG_R2, STOCK, VARIANCE
from proda.attribution.players import COMPONENTS
from proda.attribution.single import ONE_AT_A_TIME, SHAPLEY
from proda.plots.maps import MOST_CELLS
from proda.plots.style import DIVERGING, colours_of, draw_land, style

LABELS = {
    STOCK: "stock in 0-100 cm (Pg)",
    VARIANCE: "variance of ln stock over land",
    LOG_R2: "log R$^2$ at profiles",
    PATTERN: "share of the variance of the log ratio",
}


def figures(result: Attribution) -> dict[str, Callable[[], Figure]]:
    """Return the figures by name, each as a function that draws it."""
    made: dict[str, Callable[[], Figure]] = {
        "components": lambda: components_figure(result.tables["importance"])
    }
    for name in map(str, result.maps["map"].to_numpy()):
        made[f"map_{_stem(name)}"] = partial(map_figure, result.maps, name)
    if len(result.tables["differences"]):
        made["difference"] = lambda: difference_figure(result.tables["differences"])
    return made


def _stem(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_")


def components_figure(importance: pd.DataFrame) -> Figure:
    """Draw the Shapley values of every map's components, and the published importance."""
    own = importance[importance["method"] == SHAPLEY]
    measures = [m for m in (STOCK, VARIANCE, LOG_R2) if (own["measure"] == m).any()]
    published = importance[
        (importance["method"] == ONE_AT_A_TIME) & (importance["measure"] == STOCK)
    ]
    panels = len(measures) + bool(len(published))
    with style():
        figure, axes = plt.subplots(1, panels, figsize=(3.3 * panels, 3.6), squeeze=False)
        for axis, measure in zip(axes[0], measures, strict=False):
            _bars(axis, own[own["measure"] == measure])
            axis.set_title(LABELS[measure], fontsize="small")
        if len(published):
            _bars(axes[0, -1], published)
            axes[0, -1].set_title(
                "published: one at a time,\ncarbon changed (Pg)", fontsize="small"
            )
        axes[0, 0].legend(fontsize="small")
        figure.suptitle(_finding(own), x=0.01, ha="left", fontsize="medium")
    return figure


def _finding(own: pd.DataFrame) -> str:
    """State the most important component of each map."""
    parts = []
    rows = own[own["measure"] == VARIANCE]
    for (model, route), each in rows.groupby(["model", "route"], sort=False):
        top = each.iloc[int(each["value"].abs().argmax())]
        parts.append(f"{str(model).upper()} ({route}) {top['component']} {top['value']:+.2f}")
    return "Component that changes the variance of ln carbon most: " + "; ".join(parts)


def _bars(axis: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["component"]))
    maps = list(dict.fromkeys(zip(rows["model"], rows["route"], strict=True)))
    several = len({route for _, route in maps}) > 1
    colours = colours_of([f"{m} {r}" for m, r in maps])
    width = 0.8 / len(maps)
    for k, (model, route) in enumerate(maps):
        own = rows[(rows["model"] == model) & (rows["route"] == route)].set_index("component")
        own = own.reindex(names)
        place = np.arange(len(names)) + (k - (len(maps) - 1) / 2) * width
        words = f"{model.upper()}, {route}" if several else model.upper()
        axis.bar(place, own["value"], width, color=colours[f"{model} {route}"], label=words)
        known = own["q05"].notna().to_numpy()
        axis.vlines(place[known], own["q05"][known], own["q95"][known], color="black", lw=1)
    axis.axhline(0.0, color="black", lw=0.8)
    axis.set_xticks(np.arange(len(names)), names, rotation=30, ha="right", fontsize="small")


def map_figure(maps: xr.Dataset, name: str) -> Figure:
    """Draw where each component of a map increases or decreases carbon."""
    values = maps["shapley"].sel(map=name)
    thinned = {d: slice(None, None, -(-values.sizes[d] // n)) for d, n in MOST_CELLS.items()}
    values = values.isel(thinned)
    lat, lon = values["lat"].to_numpy(), values["lon"].to_numpy()
    array = values.transpose("component", "lat", "lon").to_numpy()
    known = np.isfinite(array).any(axis=0)
    top = float(np.nanquantile(np.abs(array), 0.99)) if known.any() else 1.0
    mean = np.nanmean(np.abs(array), axis=(1, 2))
    with style():
        figure, axes = plt.subplots(2, 3, figsize=(11.0, 5.0))
        for axis, component, field, size in zip(axes.flat, COMPONENTS, array, mean, strict=True):
            draw_land(axis, lat, lon, known)
            mesh = axis.pcolormesh(
                lon,
                lat,
                field,
                cmap=DIVERGING,
                vmin=-top,
                vmax=top,
                shading="nearest",
                rasterized=True,
            )
            axis.set_title(f"{component}: mean absolute {size:.2f}", fontsize="small")
            axis.set(xticks=[], yticks=[])
        bar = figure.colorbar(mesh, ax=axes, shrink=0.8, extend="both")
        bar.set_label("part of ln carbon in 0-100 cm")
        largest = COMPONENTS[int(np.argmax(mean))]
        figure.suptitle(
            f"{name[0].upper()}{name[1:]}: {largest} changes carbon most from place to place",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def difference_figure(differences: pd.DataFrame) -> Figure:
    """Draw the contributions of components to the difference between two models' maps."""
    pairs = list(
        dict.fromkeys(
            zip(differences["first"], differences["second"], differences["route"], strict=True)
        )
    )
    ways = [(w, m) for w in dict.fromkeys(differences["way"]) for m in (STOCK, PATTERN)]
    with style():
        figure, axes = plt.subplots(1, len(ways), figsize=(3.3 * len(ways), 3.8), squeeze=False)
        for axis, (way, measure) in zip(axes[0], ways, strict=True):
            rows = differences[(differences["way"] == way) & (differences["measure"] == measure)]
            labelled = rows.assign(model=rows["second"] + " - " + rows["first"])
            _bars(axis, labelled)
            axis.set_title(f"{way} swapped:\n{LABELS[measure]}", fontsize="small")
        axes[0, 0].legend(fontsize="small")
        first, second, route = pairs[0]
        rows = differences[
            (differences["first"] == first)
            & (differences["second"] == second)
            & (differences["route"] == route)
            & (differences["measure"] == STOCK)
        ]
        total = rows.groupby("way", sort=False)["value"].sum().iloc[0]
        figure.suptitle(
            f"{second.upper()} - {first.upper()}, {route}: {total:+,.0f} Pg in 0-100 cm, "
            "by component",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure
