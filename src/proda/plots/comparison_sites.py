"""Figures of the comparison at sites: preferred model, Michaelis constants."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from proda.comparison.paper import MICHAELIS_RATIO
from proda.plots.style import COLOURS, DIVERGING, draw_land, style

PREFIX = "michaelis_over_"


def michaelis_figure(
    sites: xr.Dataset | None, maps: xr.Dataset | None = None, land: xr.DataArray | None = None
) -> Figure:
    """Draw histograms of Michaelis constant over substrate (P-Fig 5).

    Parameters
    ----------
    sites
        Ratios at sites, `michaelis_over_POOL` (site); None draws those of land only.
    maps, land
        A map with the same variables, and its land (km2) as weight.
    """
    source = sites if sites is not None else maps
    assert source is not None
    names = [
        str(n)
        for n in source.data_vars
        if str(n).startswith(PREFIX) and not str(n).endswith(("_sd", "_q05", "_q95"))
    ]
    with style():
        figure, axes = plt.subplots(
            1, len(names), figsize=(4.2 * len(names), 3.6), squeeze=False, layout="constrained"
        )
        finding = []
        for axis, name in zip(axes[0], names, strict=True):
            logs = _logarithms(name, sites, maps, land)
            low = min(float(np.quantile(x, 0.001)) for _, x, _, _ in logs)
            high = max(float(np.quantile(x, 0.999)) for _, x, _, _ in logs)
            low, high = min(low, np.log10(MICHAELIS_RATIO) - 0.2), max(high, 2.2)
            bins = np.linspace(low, high, 45)
            for label, x, w, colour in logs:
                over = w[x > np.log10(MICHAELIS_RATIO)].sum()
                axis.hist(
                    10 ** np.clip(x, low, high),
                    bins=list(10**bins),
                    weights=w,
                    color=colour,
                    alpha=0.5,
                    label=f"{label}: {over:.0%} over 100",
                )
            pool = name.removeprefix(PREFIX)
            first = logs[0]
            share = first[2][first[1] > np.log10(MICHAELIS_RATIO)].sum()
            finding.append(f"of {pool} at {share:.0%}")
            axis.axvline(MICHAELIS_RATIO, color="black", lw=1.0, ls="--")
            axis.set(xscale="log", xlabel=f"Michaelis constant over {pool}")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.legend(fontsize="small")
        axes[0, 0].set_ylabel("share of sites, of land")
        where = "sites" if sites is not None else "land"
        title = (
            f"Michaelis constants exceed {MICHAELIS_RATIO:g} times their substrate: "
            f"{', '.join(finding)} of {where}"
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def _logarithms(
    name: str, sites: xr.Dataset | None, maps: xr.Dataset | None, land: xr.DataArray | None
) -> list[tuple[str, np.ndarray, np.ndarray, str]]:
    """Return label, logarithms, weights and colour of a ratio at sites and on land."""
    kinds = []
    if sites is not None:
        values = sites[name].to_numpy()
        kinds.append((f"{len(values):,} sites", values, np.ones(len(values)), COLOURS[0]))
    if maps is not None and land is not None:
        values = maps[name].transpose("lat", "lon").to_numpy().ravel()
        weight = land.transpose("lat", "lon").to_numpy().ravel()
        kinds.append(("land", values, weight, COLOURS[1]))
    logs = []
    for label, v, w, colour in kinds:
        fine = np.isfinite(v) & (v > 0) & (w > 0)
        logs.append((label, np.log10(v[fine]), w[fine] / w[fine].sum(), colour))
    return logs


def preference_figure(
    sites: xr.Dataset,
    preference: pd.DataFrame,
    land: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """Map the difference of log evidence at sites, with its medians by climate.

    Parameters
    ----------
    sites
        Result of :func:`proda.comparison.preference.site_differences`.
    preference
        Rows of :func:`proda.comparison.preference.preference_table` for this pair.
    land
        Latitudes, longitudes and a mask (lat, lon) drawn behind.
    """
    first, second = (str(sites.attrs[n]).upper() for n in ("first", "second"))
    table = preference[preference["criterion"] == "log_evidence"]
    grouping = "koppen" if (table["grouping"] == "koppen").any() else "latitude"
    zones = table[(table["grouping"] == grouping) & (table["sites"] > 0)]
    with style():
        figure, (axis, side) = plt.subplots(
            1, 2, figsize=(10.5, 4.0), width_ratios=(2.6, 1), layout="constrained"
        )
        if land is not None:
            draw_land(axis, *land)
        _draw_differences(axis, sites, f"{second} - {first}\n(red: {second} preferred)")
        whole = table[table["grouping"] == "all"].iloc[0]
        axis.set_title(
            f"{second} preferred at {whole['prefer_second']:.0%} of {whole['sites']:,} sites "
            f"(by 3: {whole['share_second_by_3']:.0%}), {first} by 3 at "
            f"{whole['share_first_by_3']:.0%}"
        )
        _draw_zones(side, zones, grouping, f"{second} - {first}")
    return figure


def _draw_differences(axis: Axes, sites: xr.Dataset, label: str) -> None:
    """Draw the difference of log evidence at each site, the largest above the others."""
    value = sites["log_evidence"].to_numpy()
    order = np.argsort(np.abs(value))
    drawn = axis.scatter(
        sites["longitude"].to_numpy()[order],
        sites["latitude"].to_numpy()[order],
        c=value[order],
        s=float(np.clip(8000.0 / max(len(value), 1), 5.0, 18.0)),
        cmap=DIVERGING,
        norm=SymLogNorm(1.0, vmin=-30, vmax=30),
        edgecolors="0.3",
        linewidths=0.2,
        rasterized=True,
    )
    bar = axis.figure.colorbar(
        drawn,
        ax=axis,
        shrink=0.8,
        pad=0.01,
        extend="both",
        ticks=[-30, -10, -5, -3, -1, 0, 1, 3, 5, 10, 30],
    )
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.minorticks_off()
    bar.set_label(f"log evidence, {label}", fontsize="small")
    axis.set(
        xlabel="longitude (°E)",
        ylabel="latitude (°N)",
        aspect="equal",
        xlim=(-180, 180),
        ylim=(-60, 85),
    )
    axis.set_xticks(range(-180, 181, 60))


def _draw_zones(axis: Axes, zones: pd.DataFrame, grouping: str, label: str) -> None:
    """Draw the median of each zone with its interval."""
    y = np.arange(len(zones))
    middle = zones["median"].to_numpy()
    ends = np.abs(zones[["low", "high"]].to_numpy().T - middle)
    axis.errorbar(middle, y, xerr=np.nan_to_num(ends), fmt="o", color="black", ms=4, capsize=2)
    axis.axvline(0, color=COLOURS[1], lw=1)
    axis.set(
        yticks=y,
        ylim=(len(y) - 0.5, -0.5),
        yticklabels=[f"{z} ({n:,.0f})" for z, n in zip(zones["zone"], zones["sites"], strict=True)],
    )
    axis.set_xlabel(
        f"median log evidence, {label}\n95 % interval, assuming independent sites",
        fontsize="small",
    )
    many = zones[zones["sites"] >= min(20, zones["sites"].max())]
    best = many.loc[many["median"].abs().idxmax()]
    axis.set_title(
        f"{'Köppen class' if grouping == 'koppen' else 'Latitude'} (sites): largest in "
        f"{best['zone']}, {best['median']:+.1f}",
        fontsize="small",
    )
