"""Curves along latitude, of models and of references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.plots.style import LINES, colours_of, style


def latitude_figure(
    models: Mapping[str, xr.Dataset],
    references: Mapping[str, xr.Dataset] | None = None,
    label: str = "soil carbon, 0-100 cm (kg m$^{-2}$)",
    title: str = "",
) -> Figure:
    """Draw curves along latitude: models with bands, references as dashed lines.

    Parameters
    ----------
    models, references
        By label: results of :func:`proda.maps.totals.by_latitude` (median and 5-95 % of the cells
        of a band of latitude) or of :func:`~proda.maps.totals.ensemble_by_latitude` (mean, and
        5-95 % of the members).
    label
        Quantity and unit.
    title
        By default, the latitudes of the models' highest and lowest values.
    """
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 4.6))
        many = len(models) > 3
        finding = _draw_models(axis, models, many)
        looks = (("#000000", "--"), ("#777777", "-."), ("#000000", ":"))
        for (name, curve), (colour, line) in zip((references or {}).items(), looks, strict=False):
            axis.plot(
                curve["lat"], _positive(_middle(curve)), line, color=colour, lw=1.4, label=name
            )
        axis.set(xlabel="latitude (°N)", ylabel=label, yscale="log")
        top_of = _middle if many else (lambda c: c["q95"])
        highest = max(float(np.nanmax(top_of(c))) for c in models.values())
        lowest = min(float(np.nanmin(_positive(_middle(c)))) for c in models.values())
        axis.set_ylim(max(lowest / 2, highest / 2000), 1.3 * highest)
        axis.yaxis.set_major_formatter("{x:g}")
        what = "members" if "median" not in next(iter(models.values())) else "cells"
        figure.legend(
            loc="outside lower center",
            ncols=4,
            fontsize="small",
            title=None if many else f"bands: 5-95 % of the {what}",
            title_fontsize="small",
        )
        axis.set_title(title or ("; ".join(finding) if not many else _highest(finding)))
    return figure


def _draw_models(axis: Axes, models: Mapping[str, xr.Dataset], many: bool) -> list[str]:
    """Draw the curve of each model, with its band unless there are many; return the maxima."""
    finding = []
    for k, ((name, curve), colour) in enumerate(
        zip(models.items(), colours_of(models).values(), strict=True)
    ):
        middle = _middle(curve)
        lat = curve["lat"].to_numpy()
        low = np.maximum(curve["q05"].to_numpy(), 1e-9)  # 0 cannot be shown on a logarithmic axis
        if not many:  # the bands of many models would overlap
            axis.fill_between(lat, low, curve["q95"], color=colour, alpha=0.18, lw=0)
        axis.plot(
            lat,
            _positive(middle),
            color=colour,
            lw=1.8,
            label=name,
            ls=LINES[k % len(LINES)] if many else "-",
        )
        top = int(np.nanargmax(middle))
        finding.append(f"{name} highest at {abs(lat[top]):.0f}°{'N' if lat[top] >= 0 else 'S'}")
    return finding


def _highest(finding: list[str]) -> str:
    """Count the latitudes of the models' maxima, because nine names do not fit a title."""
    places = Counter(text.rpartition(" ")[2] for text in finding)
    text = ", ".join(f"{n} at {place}" for place, n in places.most_common(4))
    return f"Of {len(finding)} models, highest: {text}"


def _middle(curve: xr.Dataset) -> np.ndarray:
    return np.asarray((curve["median"] if "median" in curve else curve["mean"]).to_numpy())


def _positive(values: np.ndarray) -> np.ndarray:
    """Leave gaps where there is no logarithm."""
    return np.where(values > 0, values, np.nan)
