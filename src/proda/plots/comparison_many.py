"""Figures of more than two models: agreement of all pairs, maps in a grid, microbes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from proda.comparison.many import MEASURED, matrix
from proda.comparison.model_files import COMPONENTS, STOCK
from proda.plots.comparison_maps import STATES, _label, _map, _short
from proda.plots.maps import _norm
from proda.plots.style import DIVERGING, style

SHOWN = (STOCK, "residence_time", "litter_to_soil", "CTE", "K", "XI", "V", "B")
"""Variables whose agreement is drawn; the carbon input is the same for all models."""
_STATE_MARKS = {"before": ("o", "0.55"), "after": ("o", "#0072B2"), "end to end": ("D", "#D55E00")}


def agreement_matrices(correlations: pd.DataFrame, state: str) -> Figure:
    """Draw the correlation of every pair of models, one square of numbers for each variable.

    r is above the diagonal, the effective number of cells below it; r is bold where it differs from
    0 (p < 0.05, modified t test).

    Parameters
    ----------
    correlations
        Of :func:`proda.comparison.correlations.correlation_table`.
    state
        "before", "after" or "end to end".
    """
    here = correlations[correlations["state"] == state]
    shown = [v for v in SHOWN if here.loc[here["variable"] == v, "r"].notna().any()]
    n = len({*here["first"], *here["second"]})
    columns = 4 if n <= 5 else 3
    rows = -(-len(shown) // columns)
    side = max(2.3, 0.56 * n)
    with style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(side * columns + 1.6, (side + 0.35) * rows + 0.8),
            squeeze=False,
            layout="constrained",
        )
        drawn: AxesImage | None = None
        for axis, variable in zip(axes.ravel(), shown, strict=False):
            drawn = _matrix(axis, here, variable, state)
        for axis in axes.ravel()[len(shown) :]:
            axis.set_axis_off()
        if drawn is not None:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.5, aspect=30, pad=0.01)
            bar.set_label("r over land", fontsize="small")
        figure.suptitle(
            f"{STATES[state][0].upper()}{STATES[state][1:]}: correlation of the models' maps "
            "(above the diagonal; bold: p < 0.05)\nand its effective number of independent cells "
            "(below)",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def _matrix(axis: Axes, here: pd.DataFrame, variable: str, state: str) -> AxesImage:
    names = [name.upper() for name in matrix(here, variable, state).index]
    r, cells, p = (
        matrix(here, variable, state, c).to_numpy(np.float64) for c in ("r", "n_effective", "p")
    )
    n = len(r)
    upper = np.triu(np.ones((n, n), bool), 1)
    drawn = axis.imshow(np.where(upper, r, np.nan), cmap=DIVERGING, vmin=-1, vmax=1)
    size = "small" if n <= 4 else "x-small"
    for i in range(n):
        for j in range(n):
            value = float(r[i, j] if i < j else cells[i, j])
            if i == j or not np.isfinite(value):
                continue
            sure = i < j and p[i, j] < 0.05
            axis.text(
                j,
                i,
                f"{value:.2f}" if i < j else f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=size,
                fontweight="bold" if sure else "normal",
                color="white" if i < j and abs(value) > 0.65 else "black" if i < j else "0.4",
            )
    axis.set_xticks(range(n), names, rotation=45, ha="right", fontsize="x-small")
    axis.set_yticks(range(n), names, fontsize="x-small")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    log = " (log)" if (here.loc[here["variable"] == variable, "scale"] == "log").all() else ""
    axis.set_title(f"{_words(variable)}{log}", fontsize="medium")
    return drawn


def agreement_figure(correlations: pd.DataFrame, agreement: pd.DataFrame) -> Figure:
    """Draw r of all pairs and their mean, before and after profiles constrain the models.

    Parameters
    ----------
    correlations, agreement
        Of :func:`proda.comparison.correlations.correlation_table` and
        :func:`proda.comparison.many.agreement_table`.
    """
    shown = [v for v in SHOWN if (agreement["variable"] == v).any()]
    states = [s for s in STATES if (agreement["state"] == s).any()]
    with style():
        figure, axis = plt.subplots(figsize=(8.6, 4.2), layout="constrained")
        rng = np.random.default_rng(0)  # only separates overlapping points
        for k, state in enumerate(states):
            mark, colour = _STATE_MARKS[state]
            shift = 0.26 * (k - (len(states) - 1) / 2)
            for x, variable in enumerate(shown):
                one = correlations[
                    (correlations["variable"] == variable) & (correlations["state"] == state)
                ]["r"]
                place = x + shift + 0.05 * rng.uniform(-1, 1, len(one))
                axis.plot(place, one, ".", color=colour, alpha=0.45, ms=4)
                row = agreement[(agreement["variable"] == variable) & (agreement["state"] == state)]
                if len(row):
                    error = np.nan_to_num(row["standard_error"].to_numpy())
                    axis.errorbar(
                        [x + shift],
                        row["mean_r"],
                        yerr=error,
                        fmt=mark,
                        color=colour,
                        ms=6,
                        capsize=3,
                        mec="black",
                        mew=0.6,
                        label=STATES[state] if x == 0 else None,
                    )
        axis.axhline(0, color="0.4", lw=0.8)
        axis.set_xticks(range(len(shown)), [_words(v).replace(" ", "\n") for v in shown])
        axis.set(ylabel="r of two models over land", ylim=(-1.05, 1.05))
        axis.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=len(states), fontsize="small")
        axis.set_title(_agreement_finding(agreement))
    return figure


def _agreement_finding(agreement: pd.DataFrame) -> str:
    own = agreement[agreement["variable"] == STOCK].set_index("state")
    n, pairs = int(own["models"].max()), int(own["pairs"].max())
    mean = own["mean_r"].to_dict()
    means = ", ".join(f"{mean[s]:.2f} {STATES[s]}" for s in STATES if s in mean)
    return (
        f"Mean correlation of soil carbon of {n} models ({pairs} pairs):\n{means}\n"
        "points: pairs; bars: standard error with one model left out at a time"
    )


def _words(variable: str) -> str:
    return "soil carbon, 0-100 cm" if variable == STOCK else _short(variable)


def _shape(dataset: xr.Dataset) -> float:
    """Return height over width of a map that shows all land, to avoid empty space."""
    land = dataset["reason"].transpose("lat", "lon").notnull().to_numpy()  # noqa: PD004
    lat, lon = dataset["lat"].to_numpy(), dataset["lon"].to_numpy()
    return float((np.ptp(lat[land.any(axis=1)]) + 6.0) / max(float(np.ptp(lon)), 1.0))


def carbon_grid(
    maps: Mapping[str, xr.Dataset],
    state: str,
    limits: tuple[float, float] | None = None,
    stock: str = STOCK,
) -> Figure:
    """Draw soil carbon by all models in one state, on one scale.

    Parameters
    ----------
    maps
        By model.
    state
        "before", "after" or "end to end".
    limits
        Ends of the colour scale, kg m-2.
    stock
        Variable of the maps.
    """
    columns = 2 if len(maps) in (2, 4) else 3
    rows = -(-len(maps) // columns)
    wide = 5.0 if columns == 2 else 3.9
    high = wide * _shape(next(iter(maps.values())))
    norm = _norm(np.concatenate([d[stock].to_numpy().ravel() for d in maps.values()]), limits)
    with style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(wide * columns + 0.9, (high + 0.45) * rows + 0.6),
            squeeze=False,
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        mesh, middle = None, {}
        for axis, (name, dataset) in zip(axes.ravel(), maps.items(), strict=False):
            mesh = _map(axis, dataset[stock], dataset, norm)
            middle[name] = float(np.nanmedian(dataset[stock].to_numpy()))
            axis.set_title(
                f"{name.upper()}: median {middle[name]:.1f} kg m$^{{-2}}$", fontsize="medium"
            )
        for axis in axes.ravel()[len(maps) :]:
            axis.set_axis_off()
        _bar(figure, mesh, axes, _label(next(iter(maps.values()))[stock]), norm, "right")
        least, most = min(middle, key=middle.__getitem__), max(middle, key=middle.__getitem__)
        figure.suptitle(
            f"Soil carbon in 0-100 cm, {STATES[state]}: the median cell has the least carbon in "
            f"{least.upper()} ({middle[least]:.1f} kg m$^{{-2}}$) and the most in {most.upper()} "
            f"({middle[most]:.1f})",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def component_grid(
    maps: Mapping[str, xr.Dataset], state: str, variables: Sequence[str] = COMPONENTS[:-1]
) -> Figure:
    """Draw the components of all models in one state: a row per model, a column per component.

    All maps of one component have one scale. The carbon input, which is the same for all models,
    is not drawn.
    """
    n, m = len(maps), len(variables)
    each = 2.6 * _shape(next(iter(maps.values()))) + 0.1
    with style():
        figure, axes = plt.subplots(
            n,
            m,
            figsize=(2.75 * m + 0.4, each * n + 1.4),
            squeeze=False,
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        for j, variable in enumerate(variables):
            values = np.concatenate([d[variable].to_numpy().ravel() for d in maps.values()])
            norm, mesh = _norm(values, None), None
            for i, dataset in enumerate(maps.values()):
                mesh = _map(axes[i, j], dataset[variable], dataset, norm)
                axes[i, j].set(xticks=[], yticks=[])
            axes[0, j].set_title(_short(variable), fontsize="medium")
            data = next(iter(maps.values()))[variable]
            _bar(figure, mesh, axes[:, j], _label(data), norm, "bottom")
        for i, name in enumerate(maps):
            axes[i, 0].set_ylabel(name.upper().replace("_", "\n"), fontsize="small")
        figure.suptitle(
            f"Components of {n} models, {STATES[state]}; one scale for each column",
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def _bar(
    figure: Figure, mesh: object, axes: np.ndarray, label: str, norm: object, side: str
) -> None:
    wide = {"shrink": 0.6, "aspect": 30} if side == "right" else {"shrink": 0.9, "aspect": 22}
    bar = figure.colorbar(mesh, ax=axes, location=side, pad=0.02, extend="both", **wide)  # type: ignore[arg-type]
    bar.set_label(label, fontsize="small")
    bar.ax.tick_params(labelsize="small")
    if isinstance(norm, LogNorm):
        axis = bar.ax.yaxis if side == "right" else bar.ax.xaxis
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def microbes_figure(microbes: pd.DataFrame) -> Figure:
    """Draw the microbes' share of soil carbon in 0-15 cm by model and state, and as measured.

    Parameters
    ----------
    microbes
        Of :func:`proda.comparison.many.microbes_table`, with rows.
    """
    top = microbes[(microbes["depth"] == "0-15 cm") & microbes["median"].notna()]
    measured = top[top["model"] == MEASURED].iloc[0]
    own = top[top["model"] != MEASURED]
    models = sorted(own["model"].unique())
    states = [s for s in STATES if (own["state"] == s).any()]
    with style():
        figure, axis = plt.subplots(figsize=(7.4, 1.5 + 0.55 * len(models)), layout="constrained")
        axis.axvspan(measured["q05"], measured["q95"], color="0.88", lw=0)
        axis.axvline(
            measured["median"],
            color="0.35",
            lw=1.2,
            label=f"{MEASURED}: median {measured['median']:.1%}, 5-95 %",
        )
        for k, state in enumerate(states):
            mark, colour = _STATE_MARKS[state]
            rows = own[own["state"] == state].set_index("model").reindex(models)
            y = np.arange(len(models)) + 0.22 * (k - (len(states) - 1) / 2)
            least = 1e-5  # a share of 0 cannot be shown on a logarithmic axis
            middle, low, high = (
                np.maximum(rows[c].to_numpy(np.float64), least) for c in ("median", "q05", "q95")
            )
            axis.errorbar(
                middle,
                y,
                xerr=[middle - low, high - middle],
                fmt=mark,
                color=colour,
                ms=5,
                capsize=2,
                lw=1,
                label=STATES[state],
            )
        axis.set(xscale="log", ylim=(len(models) - 0.5, -0.5))
        axis.set_yticks(range(len(models)), [name.upper() for name in models])
        axis.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
        axis.set_xlabel("microbes, share of soil carbon in 0-15 cm (median and 5-95 % of land)")
        figure.legend(loc="outside lower center", ncols=2, fontsize="small")
        inside = own["median"].between(measured["q05"], measured["q95"])
        axis.set_title(
            f"Microbes contain {own['median'].min():.1%} to {own['median'].max():.1%} of topsoil "
            f"carbon in the median cell;\n{int(inside.sum())} of {len(own)} maps lie in the "
            "measured range",
            fontsize="medium",
        )
    return figure
