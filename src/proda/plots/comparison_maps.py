"""Maps of several models for comparison: carbon, components, latitudes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from proda.comparison.correlations import cells
from proda.comparison.model_files import LOGARITHMIC, holds_carbon
from proda.maps.totals import land_area
from proda.plots.maps import _UNITS, MOST_CELLS, _norm
from proda.plots.style import LINES, SEQUENTIAL, colours_of, draw_land, style

STATES = {
    "before": "default parameters",
    "after": "after data assimilation",
    "end to end": "trained end to end",
}


def carbon_maps(
    first: xr.Dataset,
    second: xr.Dataset,
    names: tuple[str, str],
    state: str,
    correlation: pd.Series,
    stock: str = "cSoilAbove1m",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw soil carbon by two models and one against the other (P-Fig 2 and 3).

    Parameters
    ----------
    first, second
        Maps of the two models in one state.
    names
        Of the models.
    state
        "before", "after" or "end to end".
    correlation
        Row of :func:`proda.comparison.correlations.correlation_table`.
    stock
        Variable of the maps.
    limits
        Ends of the colour scale (kg m-2), to compare figures.
    """
    row = correlation
    finding = (
        f"Soil carbon, {STATES[state]}: {names[0].upper()} and {names[1].upper()} correlate with r "
        f"= {row['r']:.2f} ({row['low']:.2f} to {row['high']:.2f})\n{row['n']:,} cells correspond "
        f"to {row['n_effective']:.0f} independent ones: p = {row['p']:.2g} (naive "
        f"{_naive(row['p_naive'])})"
    )
    return _three(first, second, names, [(stock, row)], finding, limits)


def component_maps(
    first: xr.Dataset,
    second: xr.Dataset,
    names: tuple[str, str],
    rows: Sequence[pd.Series],
    state: str = "after",
) -> Figure:
    """Draw components by two models, and one against the other (P-Fig 4 and S3).

    Parameters
    ----------
    first, second, names, state
        As for :func:`carbon_maps`.
    rows
        Of the table of correlations, one per component to draw.
    """
    judged = [r for r in rows if np.isfinite(r["p"])]
    joined = [str(r["variable"]) for r in judged if r["p"] < 0.05 and r["r"] > 0]
    apart = [str(r["variable"]) for r in judged if str(r["variable"]) not in joined]
    parts = []
    if joined:
        words = ", ".join(map(_short, joined))
        parts.append(f"{words} {'correlate' if len(joined) > 1 else 'correlates'}")
    if apart:
        parts.append(f"no positive correlation in {', '.join(map(_short, apart))}")
    title = (
        f"{names[0].upper()} and {names[1].upper()}, {STATES[state]}: {'; '.join(parts)} "
        "(p < 0.05, modified t test)"
    )
    return _three(first, second, names, [(str(r["variable"]), r) for r in rows], title, None)


def _naive(p: float) -> str:
    return "< 1e-300" if p == 0 else f"{p:.2g}"


def _three(
    first: xr.Dataset,
    second: xr.Dataset,
    names: tuple[str, str],
    what: list[tuple[str, pd.Series]],
    title: str,
    limits: tuple[float, float] | None,
) -> Figure:
    with style():
        n = len(what)
        figure, grid = plt.subplots(
            n, 3, figsize=(11.0, 2.45 * n + 1.0), squeeze=False, width_ratios=(1.5, 1.5, 1.0)
        )
        for axes, (variable, row) in zip(grid, what, strict=True):
            pair = [first[variable], second[variable]]
            norm = _norm(np.concatenate([m.to_numpy().ravel() for m in pair]), limits)
            mesh: QuadMesh | None = None
            for axis, values, name in zip(axes[:2], pair, names, strict=True):
                mesh = _map(axis, values, first if values is pair[0] else second, norm)
                axis.set_title(f"{name.upper()}: {_short(variable)}", fontsize="medium")
            assert mesh is not None
            bar = figure.colorbar(mesh, ax=axes[1], pad=0.02, extend="both")
            bar.set_label(_label(pair[0]), fontsize="small")
            if isinstance(norm, LogNorm):
                bar.ax.yaxis.set_major_formatter("{x:g}")
                bar.ax.yaxis.set_minor_formatter("")
            land = land_area(first).where(
                (first["reason"] == 0)
                & (second["reason"] == 0)
                & holds_carbon(first)
                & holds_carbon(second),
                0.0,
            )
            _scatter(axes[2], pair[0], pair[1], land, variable in LOGARITHMIC, names, row)
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def _short(variable: str) -> str:
    return {
        "cSoilAbove1m": "0-100 cm",
        "litter_to_soil": "litter to soil",
        "residence_time": "residence time",
    }.get(variable, variable)


def _label(data: xr.DataArray) -> str:
    unit = _UNITS.get(str(data.attrs.get("units", "")), str(data.attrs.get("units", "")))
    words = str(data.attrs.get("long_name", data.name)).removesuffix(", ensemble mean")
    if len(words) > 24:
        words = words.replace(" ", "\n", 2).replace("\n", " ", 1)
    return f"{words} ({unit})" if unit else words


def _map(axis: Axes, values: xr.DataArray, dataset: xr.Dataset, norm: Normalize) -> QuadMesh:
    thinned = {d: slice(None, None, -(-values.sizes[d] // n)) for d, n in MOST_CELLS.items()}
    v = values.transpose("lat", "lon").isel(thinned)
    land = dataset["reason"].transpose("lat", "lon").isel(thinned).notnull()  # noqa: PD004
    lat, lon = v["lat"].to_numpy(), v["lon"].to_numpy()
    draw_land(axis, lat, lon, land.to_numpy(), 1 / 5)
    shown = v.to_numpy()
    if isinstance(norm, LogNorm):  # 0 cannot be shown on the scale and gets the lowest colour
        shown = np.maximum(shown, norm.vmin or 0.0)
    mesh = axis.pcolormesh(
        lon, lat, shown, cmap=SEQUENTIAL, norm=norm, shading="nearest", rasterized=True
    )
    rows = lat[land.to_numpy().any(axis=1)]
    axis.set(aspect="equal", xlim=(lon.min(), lon.max()), ylim=(rows.min() - 3, rows.max() + 3))
    if np.ptp(lon) > 300:
        axis.set_xticks(
            range(-120, 121, 60),
            [f"{abs(x)}°{'W' if x < 0 else 'E' if x else ''}" for x in range(-120, 121, 60)],
        )
    axis.set_yticks([y for y in (-30, 0, 30, 60) if rows.min() - 3 < y < rows.max() + 3])
    axis.yaxis.set_major_formatter(
        lambda y, _: f"{abs(y):.0f}°{'S' if y < 0 else 'N' if y else ''}"
    )
    axis.tick_params(labelsize="small")
    axis.grid(visible=False)
    return mesh


def _scatter(
    axis: Axes,
    x: xr.DataArray,
    y: xr.DataArray,
    land: xr.DataArray,
    log: bool,
    names: tuple[str, str],
    row: pd.Series,
) -> None:
    (a, b, _, _, w), _ = cells(x, y, land, log)
    if log:
        a, b = np.exp(a), np.exp(b)
    low, high = np.quantile(np.concatenate([a, b]), [0.002, 0.998])
    if log:
        low = max(low, high / 3000.0)
    elif high <= low:
        low, high = low - 1.0, high + 1.0
    scale: Literal["log", "linear"] = "log" if log else "linear"
    extent = (np.log10(low), np.log10(high)) if log else (low, high)
    axis.hexbin(
        np.clip(a, low, high),
        np.clip(b, low, high),
        C=w,
        reduce_C_function=np.sum,
        gridsize=45,
        xscale=scale,
        yscale=scale,
        extent=(*extent, *extent),
        mincnt=1,
        norm=LogNorm(),
        cmap=SEQUENTIAL,
        linewidths=0.1,
    )
    axis.plot([low, high], [low, high], color="black", lw=1, label="1:1")
    axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axis.set_xlabel(f"{names[0].upper()}, {_short(str(x.name))}", fontsize="small")
    axis.set_ylabel(f"{names[1].upper()}", fontsize="small")
    if log:
        for each in (axis.xaxis, axis.yaxis):
            each.set_major_formatter("{x:g}")
            each.set_minor_formatter("")
    axis.tick_params(labelsize="small")
    interval = f" ({row['low']:.2f} to {row['high']:.2f})" if np.isfinite(row["low"]) else ""
    axis.set_title(
        f"r {row['r']:.2f}{interval}\nconcordance {row['concordance']:.2f}, "
        f"n$_{{eff}}$ {row['n_effective']:.0f}",
        fontsize="small",
    )


def zonal_figure(
    zonal: pd.DataFrame,
    variable: str = "cSoilAbove1m",
    label: str = "soil carbon, 0-100 cm (kg m$^{-2}$)",
    correlations: Mapping[str, float] | None = None,
) -> Figure:
    """Draw means along latitude of every model in every state (P-Fig 2c and 3c).

    Parameters
    ----------
    zonal
        Result of :func:`proda.comparison.regions.zonal_table`.
    variable, label
        What is drawn, and its label.
    correlations
        r of the cells by state, for the titles; None: not shown.
    """
    table = zonal[zonal["variable"] == variable]
    states = [s for s in STATES if (table["state"] == s).any()]
    colours = colours_of(sorted(map(str, table["model"].unique())))
    many = len(colours) > 3
    with style():
        figure, axes = plt.subplots(
            1, len(states), figsize=(4.4 * len(states), 4.2), sharey=True, squeeze=False
        )
        for axis, state in zip(axes[0], states, strict=True):
            here = table[table["state"] == state]
            finding = _draw_latitudes(axis, here, colours, many)
            axis.set_xlabel(label)
            extra = (correlations or {}).get(state)
            tail = f"\nr of cells (log) {extra:.2f}" if extra is not None else ""
            words = f"{STATES[state][0].upper()}{STATES[state][1:]}"
            if many:
                finding = _spread_of_models(here)
            axis.set_title(f"{words}:\n{finding}{tail}", fontsize="small")
        axes[0, 0].set_ylabel("latitude (°N)")
        legend = "line: mean over land" + (
            "" if many else "; light: 5-95 % of the cells; dark: 5-95 % of the members' means"
        )
        if many:
            figure.legend(
                *axes[0, 0].get_legend_handles_labels(),
                fontsize="small",
                ncols=5,
                loc="outside lower center",
                title=legend,
                title_fontsize="small",
            )
        else:
            axes[0, 0].legend(fontsize="small")
            figure.supxlabel(legend, fontsize="small")
    return figure


def _draw_latitudes(axis: Axes, here: pd.DataFrame, colours: Mapping[str, str], many: bool) -> str:
    """Draw the means of models along latitude; return where each is highest, unless many."""
    finding = []
    for k, (name, curve) in enumerate(here.groupby("model")):
        curve, colour = curve.sort_values("lat"), colours[str(name)]
        low, high = curve["q05"].to_numpy(), curve["q95"].to_numpy()
        if not many:  # the cells of many models would overlap
            axis.fill_betweenx(curve["lat"], low, high, color=colour, alpha=0.15, lw=0)
        ranged = "members_q05" in curve and curve["members_q05"].notna().any()
        if ranged and not many:
            axis.fill_betweenx(
                curve["lat"],
                curve["members_q05"],
                curve["members_q95"],
                color=colour,
                alpha=0.35,
                lw=0,
            )
        axis.plot(
            curve["mean"],
            curve["lat"],
            color=colour,
            lw=1.8,
            ls=LINES[k % len(LINES)] if many else "-",
            label=str(name).upper(),
        )
        top = curve.iloc[int(np.nanargmax(curve["mean"]))]
        side = "N" if top["lat"] >= 0 else "S"
        if many:
            continue
        finding.append(f"{str(name).upper()} highest at {abs(top['lat']):.0f}°{side}")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    least, largest = ("mean", "mean") if many else ("q05", "q95")
    positive = here[least][here[least] > 0]
    most = float(here[largest].max()) * (1.15 if many else 1.0)
    fewest = max(float(positive.min()) if len(positive) else 0.0, most / 2000)
    axis.set_xlim(fewest, most)
    # An axis of less than a decade has few default tick labels.
    axis.xaxis.set_minor_formatter("{x:g}" if most < 10.0 * fewest else "")
    axis.tick_params(axis="x", which="minor", labelsize="x-small")
    return "; ".join(finding)


def _spread_of_models(here: pd.DataFrame) -> str:
    """State where the models' means along latitude differ most."""
    wide = here.pivot_table(index="lat", columns="model", values="mean")
    wide = wide[(wide > 0).all(axis=1)]
    if wide.empty:
        return ""
    factor = wide.max(axis=1) / wide.min(axis=1)
    lat = float(factor.idxmax())  # type: ignore[arg-type]
    return (
        f"models differ by a factor of {factor.median():.1f} in the median band, by up to "
        f"{factor.max():.1f} at {abs(lat):.0f}°{'N' if lat >= 0 else 'S'}"
    )
