"""Figures of soil profiles: locations, carbon with depth, bulk density."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from proda.errors import ObservationError
from proda.latitude import TROPIC
from proda.observations.build_summary import Fit
from proda.observations.pedotransfer import Pedotransfer
from proda.places import half_degree_cell
from proda.plots.style import COLOURS, SEQUENTIAL, draw_land, style

MINIMUM_PROFILES = 20
"""Minimum number of profiles at a depth for drawing quantiles."""

_DEPTHS = np.array([0.025, 0.075, 0.15, 0.25, 0.35, 0.5, 0.7, 0.9, 1.1, 1.35, 1.65, 2.0])


def site_map(
    profiles: pd.DataFrame, land: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
) -> Figure:
    """Map the profiles, one colour per group (collection or source).

    Parameters
    ----------
    profiles
        lat, lon (degrees), group.
    land
        Latitudes, longitudes and a mask (lat, lon) drawn behind; None draws none.
    """
    cells = len(np.unique(half_degree_cell(profiles["lat"].to_numpy(), profiles["lon"].to_numpy())))
    tropics = (profiles["lat"].abs() < TROPIC).mean()
    groups = profiles["group"].value_counts()
    shown = list(groups.index[: len(COLOURS) - 1])
    with style():
        figure, ax = plt.subplots(figsize=(8, 4.4))
        if land is not None:
            draw_land(ax, *land)
        for colour, name in zip(COLOURS, [*shown, None], strict=False):
            rows = profiles[profiles["group"] == name if name else ~profiles["group"].isin(shown)]
            if len(rows):
                ax.scatter(
                    rows["lon"],
                    rows["lat"],
                    s=3,
                    color=colour,
                    linewidths=0,
                    alpha=0.7,
                    rasterized=True,
                    label=f"{name or 'others'} ({len(rows):,})",
                )
        ax.set(
            xlabel="longitude (°E)",
            ylabel="latitude (°N)",
            xlim=(-180, 180),
            ylim=(-90, 90),
            aspect="equal",
            xticks=range(-180, 181, 60),
            yticks=range(-90, 91, 30),
        )
        ax.set_title(
            f"{len(profiles):,} usable profiles in {cells:,} half-degree cells; "
            f"{tropics:.0%} lie in the tropics"
        )
        ax.legend(loc="lower left", markerscale=4, fontsize="small", handletextpad=0.2)
    return figure


def carbon_with_depth(layers: pd.DataFrame, zones: pd.Series, by: str) -> Figure:
    """Median and middle half of carbon concentration by depth, one panel per climate zone.

    Parameters
    ----------
    layers
        profile_id, upper_depth, lower_depth (m), soc_stock (g m-3).
    zones
        Zone by profile_id.
    by
        Kind of the zones, for the figure's title.

    Raises
    ------
    ObservationError
        If no zone has enough profiles at any depth.
    """
    zone = layers["profile_id"].map(zones)
    spreads: dict[str, np.ndarray] = {}
    for name in sorted(zone.dropna().unique()):
        spread = _spread(layers[zone == name])
        if len(spread):
            spreads[name] = spread
    if not spreads:
        raise ObservationError(
            f"No zone has {MINIMUM_PROFILES} profiles at any depth; there is nothing to draw."
        )
    counts = zones[zones.index.isin(layers["profile_id"])].value_counts()
    with style():
        figure, axes = plt.subplots(
            1,
            len(spreads),
            figsize=(1.2 + 1.75 * len(spreads), 4.2),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for ax, colour, (name, (depth, low, middle, high)) in zip(
            axes[0], COLOURS, ((n, s.T) for n, s in spreads.items()), strict=False
        ):
            for other in spreads.values():
                ax.plot(other[:, 2], other[:, 0], color="#BBBBBB", lw=0.8)
            ax.fill_betweenx(depth, low, high, color=colour, alpha=0.25, linewidth=0)
            ax.plot(middle, depth, "o-", ms=3, color=colour)
            ax.set_title(f"{name}\n{counts[name]:,} profiles")
            _scale_of_carbon(ax)
        axes[0, 0].set_ylabel("depth (m)")
        figure.supxlabel(
            "organic carbon (kg m$^{-3}$); line: median, band: middle half of the "
            f"profiles, grey: the other zones ({by})",
            fontsize="small",
        )
        figure.suptitle(
            _fall({n: dict(zip(s[:, 0], s[:, 2], strict=True)) for n, s in spreads.items()}),
            x=0.01,
            ha="left",
        )
    return figure


def _scale_of_carbon(ax: Axes) -> None:
    """Set logarithmic carbon and depth down to 2 m as the axes of a panel."""
    ax.set(xscale="log", ylim=(2.05, 0))
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


def _spread(layers: pd.DataFrame) -> np.ndarray:
    """Return depth (m) and the quartiles of carbon there (kg m-3), (depth, 4)."""
    upper, lower = layers["upper_depth"].to_numpy(), layers["lower_depth"].to_numpy()
    stock = layers["soc_stock"].to_numpy() / 1000.0
    rows = []
    for depth in _DEPTHS:
        at = stock[(upper <= depth) & (lower > depth)]
        if len(at) >= MINIMUM_PROFILES:
            rows.append((depth, *np.quantile(at, [0.25, 0.5, 0.75])))
    return np.array(rows)


def _fall(medians: dict[str, dict[float, float]]) -> str:
    """State the decrease of carbon from the surface to 0.9 m."""
    top, deep = float(_DEPTHS[0]), 0.9
    falls = {n: m[top] / m[deep] for n, m in medians.items() if top in m and deep in m}
    if not falls:
        return "Organic carbon with depth"
    most, least = max(falls, key=lambda n: falls[n]), min(falls, key=lambda n: falls[n])
    if most == least:
        return f"Carbon decreases {falls[most]:.1f}-fold from 2.5 to 90 cm"
    return (
        f"From 2.5 to 90 cm carbon decreases {falls[least]:.1f}-fold ({least}) "
        f"to {falls[most]:.1f}-fold ({most})"
    )


def pedotransfer_fit(soc: np.ndarray, density: np.ndarray, fits: Sequence[Fit]) -> Figure:
    """Measured bulk density against carbon, with each pedotransfer function.

    Parameters
    ----------
    soc, density
        Carbon, g kg-1, and density of the fine earth, kg m-3, of layers that have both, (layer,).
    fits
        The functions compared by the build.
    """
    with style():
        figure, ax = plt.subplots(figsize=(6.4, 4.4))
        drawn = ax.hexbin(
            soc,
            density / 1000.0,
            gridsize=(70, 45),
            mincnt=1,
            norm=LogNorm(),
            cmap=SEQUENTIAL,
            linewidths=0,
        )
        figure.colorbar(drawn, label="layers kept", pad=0.01)
        x = np.linspace(0.0, float(soc.max()), 300)
        looks = (("#D55E00", "-"), ("#000000", "--"), ("#CC79A7", "-."), ("#0072B2", ":"))
        for (colour, line), fit in zip(looks, reversed(fits), strict=False):
            curve = Pedotransfer(fit.alpha, fit.beta, fit.gamma, fit.name)
            ax.plot(x, curve.density(x) / 1000.0, line, color="white", lw=3.5)
            ax.plot(
                x,
                curve.density(x) / 1000.0,
                line,
                color=colour,
                lw=1.8,
                label=f"{fit.name}: R$^2$ {fit.r2:.2f}",
            )
        ax.set(
            xlabel="organic carbon (g kg$^{-1}$)",
            ylabel="bulk density (g cm$^{-3}$)",
            xlim=(0, x[-1]),
            ylim=(0, None),
        )
        ax.legend(loc="upper right")
        best = max(fits, key=lambda fit: fit.r2)
        ax.set_title(
            f"Organic matter explains {best.r2:.0%} of the variance of bulk density in "
            f"{best.n:,} layers"
        )
    return figure
