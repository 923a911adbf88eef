"""Maps with coastline, curves along latitude, observed against predicted."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from proda.errors import MapError
from proda.latitude import GLOBE, in_zone
from proda.maps.map_variables import LOWER, RESIDUAL, STOCKS, UPPER
from proda.maps.totals import land_area, totals
from proda.plots.style import SEQUENTIAL, draw_land, style

SPREAD, WIDTH = "magma_r", "viridis_r"
MOST_CELLS = {"lat": 720, "lon": 1440}
"""Maximum number of cells that are drawn; finer grids are thinned, because a page cannot resolve
them."""
_UNITS = {
    "kg m-2": "kg m$^{-2}$",
    "kg m-3": "kg m$^{-3}$",
    "yr-1": "yr$^{-1}$",
    "1": "",
    "g m-2 yr-1": "g m$^{-2}$ yr$^{-1}$",
    "g m-3": "g m$^{-3}$",
    "m2 yr-1": "m$^{2}$ yr$^{-1}$",
}


def map_figure(
    dataset: xr.Dataset,
    name: str = "cSoilAbove1m",
    spread: bool = False,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw one variable of a map, below it the ensemble's spread, and its interval if it has one.

    Land cells without a result are grey and hatched with lines, cells outside the training range
    with dots. The coastline is the outline of the land on the map's own grid.

    Parameters
    ----------
    dataset
        A map, opened with :func:`proda.maps.totals.open_map`.
    name
        A variable on (lat, lon).
    spread
        Whether to draw the standard deviation of the members, over the mean, as a second panel;
        and as a further one, where the map holds it, the 90 % predictive interval of one profile:
        its upper end over its lower end.
    title
        Title of the figure; by default the total and shares of zones, or means of zones.
    limits
        Ends of the colour scale, to compare maps; by default 2 and 98 % of the cells.

    Raises
    ------
    MapError
        If there is no such variable, it has layers, or there is no spread.
    """
    if name not in dataset:
        raise MapError(f"The map has no variable {name}.")
    if set(dataset[name].dims) != {"lat", "lon"}:
        raise MapError(f"{name} is not on (lat, lon) alone; choose a layer first.")
    interval = spread and name + LOWER in dataset
    members = spread and f"{name}_sd" in dataset
    if spread and not (members or interval):
        raise MapError(f"The map has no {name}_sd: its ensemble has one member.")
    thinned = {d: slice(None, None, -(-dataset.sizes[d] // n)) for d, n in MOST_CELLS.items()}
    drawn = dataset.isel(thinned)
    values = drawn[name].transpose("lat", "lon").to_numpy()
    with style():
        panels = 1 + members + interval
        figure, axes = plt.subplots(panels, 1, figsize=(7.6, 3.5 * panels), squeeze=False)
        axis = axes[0, 0]
        flags = _panel(
            axis, drawn, values, _norm(values, limits), SEQUENTIAL, _label(dataset[name])
        )
        if flags:
            figure.legend(
                handles=flags,
                loc="outside lower left",
                ncols=len(flags),
                fontsize="small",
                handleheight=1.3,
            )
        axis.set_title(title or _finding(dataset, name))
        if interval:
            ends = (drawn[name + end].transpose("lat", "lon").to_numpy() for end in (LOWER, UPPER))
            _interval_panel(axes[-1, 0], drawn, *ends)
        if members:
            sd = drawn[f"{name}_sd"].transpose("lat", "lon").to_numpy()
            _spread_panel(axes[1, 0], drawn, values, sd)
    return figure


def _spread_panel(axis: Axes, drawn: xr.Dataset, values: np.ndarray, sd: np.ndarray) -> None:
    """Draw the standard deviation of the members over their mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(values != 0, sd / np.abs(values), np.nan)
    label = "standard deviation of the members / mean"
    _panel(axis, drawn, relative, _norm(relative, None), SPREAD, label)
    middle = float(np.nanmedian(relative)) if np.isfinite(relative).any() else np.nan
    axis.set_title(
        f"{drawn.sizes['realization']} members differ by {middle:.0%} "
        "(standard deviation over mean) in the median cell"
    )


def _interval_panel(axis: Axes, drawn: xr.Dataset, lower: np.ndarray, upper: np.ndarray) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(lower > 0, upper / lower, np.nan)
    _panel(axis, drawn, factor, _norm(factor, None), WIDTH, "upper / lower end")
    middle = float(np.nanmedian(factor)) if np.isfinite(factor).any() else np.nan
    axis.set_title(
        f"90 % interval of one profile: its ends differ by a factor of {middle:.1f} "
        "in the median cell"
    )


def _label(data: xr.DataArray) -> str:
    unit = _UNITS.get(str(data.attrs.get("units", "")), str(data.attrs.get("units", "")))
    words = str(data.attrs.get("long_name", data.name)).removesuffix(", ensemble mean")
    return f"{words} ({unit})" if unit else words


def _norm(values: np.ndarray, limits: tuple[float, float] | None) -> Normalize:
    """Logarithmic where values span more than a factor of 15, else linear.

    The range is at most a factor of 200, so that deserts do not dominate the colours.
    """
    if limits is not None:
        return (LogNorm if 0 < 15 * limits[0] < limits[1] else Normalize)(*limits)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Normalize(0, 1)
    positive = finite[finite > 0]
    if finite.min() >= 0 and positive.size > 0.9 * finite.size:
        low, high = np.quantile(positive, [0.02, 0.98])
        if high > 15 * low:
            return LogNorm(max(low, high / 200), high)
    low, high = np.quantile(finite, [0.02, 0.98])
    return Normalize(low, high if high > low else low + 1e-9 + abs(low) * 0.01)


def _panel(
    axis: Axes, drawn: xr.Dataset, values: np.ndarray, norm: Normalize, colours: str, label: str
) -> list[Patch]:
    """Draw one map and return the legend of its hatching."""
    lat, lon = drawn["lat"].to_numpy(), drawn["lon"].to_numpy()
    reason = drawn["reason"].transpose("lat", "lon").to_numpy()
    land = np.isfinite(reason)
    without = land & (reason > 0)
    draw_land(axis, lat, lon, land, 1 / 5)
    # 0 cannot be shown on a logarithmic scale and gets the lowest colour, as the arrow indicates.
    shown = np.maximum(values, norm.vmin or 0.0) if isinstance(norm, LogNorm) else values
    mesh = axis.pcolormesh(
        lon, lat, shown, cmap=colours, norm=norm, shading="nearest", rasterized=True
    )
    legend = []
    flags = [(without, "////", "no answer")]
    if "outside_training" in drawn:
        outside = drawn["outside_training"].transpose("lat", "lon").to_numpy() == 1
        flags.append((outside, "....", "outside the training range"))
    for mask, hatch, words in flags:
        if mask.any():
            axis.contourf(
                lon, lat, mask.astype(float), levels=[0.5, 1.5], colors="none", hatches=[hatch]
            )
            share = mask.sum() / land.sum()
            legend.append(
                Patch(
                    facecolor="white",
                    edgecolor="0.2",
                    hatch=hatch,
                    label=f"{words}: {share:.1%} of cells",
                )
            )
    outline = np.nan_to_num(drawn["land_fraction"].transpose("lat", "lon").to_numpy(), nan=0.0)
    if outline.min() > 0.5:  # no land fractions were given: the map's own cells are the land
        outline = land.astype(float)
    axis.contour(lon, lat, outline, levels=[0.5], colors="0.25", linewidths=0.4)
    rows = lat[land.any(axis=1)]
    axis.set(
        aspect="equal",
        xlim=(lon.min(), lon.max()),
        ylim=(max(-90.0, rows.min() - 3), min(90.0, rows.max() + 3)),
        xlabel="longitude (°E)",
        ylabel="latitude (°N)",
    )
    if np.ptp(lon) > 300:
        axis.set_xticks(range(-180, 181, 60))
    axis.grid(visible=False)
    figure = axis.get_figure()
    assert figure is not None
    bar = figure.colorbar(mesh, ax=axis, shrink=0.8, pad=0.01, extend="both")
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.set_label(label, fontsize="small")
    return legend


def _finding(dataset: xr.Dataset, name: str) -> str:
    model = str(dataset.attrs.get("model", "map")).upper()
    stocks = {s.name: s.words for s in STOCKS}
    if name in stocks:
        table = totals(dataset).xs(name, level="stock")
        mean, sd = table["mean"].to_dict(), table["sd"].to_dict()
        globe = mean[GLOBE]
        if not globe > 0:
            return f"{model}: no carbon"
        spread = f" ± {sd[GLOBE]:,.0f}" if np.isfinite(sd[GLOBE]) else ""
        north, tropics = mean["boreal"] / globe, mean["tropics"] / globe
        return (
            f"{model}: {globe:,.0f}{spread} Pg C in {stocks[name]}, "
            f"{north:.0%} north of 50°N, {tropics:.0%} in the tropics"
        )
    values = dataset[name].transpose("lat", "lon")
    lat = np.broadcast_to(values["lat"].to_numpy()[:, None], values.shape)
    v, a = values.to_numpy(), land_area(dataset).to_numpy()
    parts = []
    for zone, words in (("boreal", "north of 50°N"), ("tropics", "in the tropics")):
        here = np.isfinite(v) & (a > 0) & in_zone(lat, zone)
        if here.any():
            parts.append(f"{np.average(v[here], weights=a[here]):.3g} {words}")
    means = " is on average " + " and ".join(parts) if parts else ""
    if name.endswith(RESIDUAL):
        means += "; the residual carries no mechanism"
    return f"{model}: {name.removeprefix('param_')}{means}"
