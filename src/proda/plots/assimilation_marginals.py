"""Marginal posteriors of a data assimilation against prior and default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from proda.inference.assessment import Assessment
from proda.plots.assimilation import spread_of_fit
from proda.plots.assimilation_sites import need_sampled, titled
from proda.plots.style import COLOURS, style

_GRID = np.linspace(0.0, 1.0, 121)


def marginals(
    assessment: Assessment, draws: xr.Dataset, defaults: Mapping[str, float], examples: int = 3
) -> Figure:
    """Posterior means of all kept sites, and posteriors of some, against prior and default.

    After P-Fig S2. If a profile does not constrain a parameter, its mean is in the middle of the
    prior range, so a narrow grey peak there is not information. If no site is kept, all sites with
    a posterior are shown, as stated in the legend.

    Parameters
    ----------
    assessment, draws
        Of a run.
    defaults
        Default by parameter, in its unit; NaN or absent: none is drawn.
    examples
        Number of sites whose posteriors are drawn, spread over the quantiles of efficiency.

    Raises
    ------
    AssimilationError
        If no site has a posterior.
    """
    need_sampled(assessment)
    summary = assessment.summary
    kept = assessment.kept if assessment.kept.any() else assessment.sampled
    lower, upper = summary["lower"].to_numpy(), summary["upper"].to_numpy()
    means = summary["posterior_mean"].transpose("site", "parameter").to_numpy()[kept]
    means = (means - lower) / (upper - lower)
    some = spread_of_fit(assessment, examples)
    chains = draws["posterior"].isel(site=some).transpose("site", "parameter", "chain", "draw")
    posterior = chains.to_numpy()
    names = summary["parameter"].to_numpy().astype(str)
    units = summary["unit"].to_numpy().astype(str)
    columns = 6
    with style():
        figure, axes = plt.subplots(
            -(-len(names) // columns),
            columns,
            figsize=(11, 0.9 + 1.45 * -(-len(names) // columns)),
            squeeze=False,
        )
        for axis in axes.flat[len(names) :]:
            axis.axis("off")
        for i, (axis, name) in enumerate(zip(axes.flat, names, strict=False)):
            ends = float(lower[i]), float(upper[i])
            _draw_parameter(
                axis, ends, [x[i] for x in posterior], means[:, i], defaults.get(name, np.nan)
            )
            unit = "" if units[i] == "1" else f" ({units[i]})"
            axis.set_title(f"{name}{unit}", fontsize="small")
        fits = assessment.sites["nash_sutcliffe"].to_numpy()[some]
        who = "kept sites" if assessment.kept.any() else "sites (none is kept)"
        handles = _key(f"{len(means):,} {who}", fits)
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
        title = titled(assessment, _finding(names, means.std(axis=0)))
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def _finding(names: np.ndarray, spread: np.ndarray) -> str:
    """Return which parameters differ most and least between sites."""
    most, least = int(np.argmax(spread)), int(np.argmin(spread))
    return (
        f"Between sites the posterior mean of {names[most]} varies most (sd "
        f"{spread[most]:.0%} of the prior range), that of {names[least]} least "
        f"({spread[least]:.0%})"
    )


def _draw_parameter(
    axis: Axes,
    ends: tuple[float, float],
    posterior: Sequence[np.ndarray],
    means: np.ndarray,
    default: float,
) -> None:
    """Draw one parameter: prior, posteriors of some sites, and the means of all (0 to 1)."""
    lower, upper = ends
    x, width = lower + (upper - lower) * _GRID, upper - lower
    axis.axhline(1.0, color="#000000", lw=0.9, ls="--")
    curves = [_density((values.ravel() - lower) / width) for values in posterior]
    for curve, colour in zip(curves, COLOURS, strict=False):
        axis.plot(x, curve, color=colour, lw=1.3)
    top = max(2.5, *(1.05 * curve.max() for curve in curves))
    count, edges = np.histogram(means, bins=30, range=(0.0, 1.0))
    axis.stairs(
        0.95 * top * count / count.max(),
        lower + width * edges,
        fill=True,
        color="#C8C8C8",
        zorder=0,
    )
    _mark_default(axis, default, lower, upper)
    axis.set(xlim=(lower, upper), ylim=(0, top), yticks=[])
    axis.tick_params(labelsize="x-small")
    axis.locator_params(axis="x", nbins=4)


def _key(who: str, fits: np.ndarray) -> list[Patch | Line2D]:
    """Return what the legend shows."""
    return [
        Patch(color="#C8C8C8", label=f"posterior means of {who}, height scaled"),
        *(
            Line2D([], [], color=c, label=f"posterior at one site, NSE {f:.2f}")
            for c, f in zip(COLOURS, fits, strict=False)
        ),
        Line2D([], [], color="#000000", lw=0.9, ls="--", label="prior"),
        Line2D([], [], color="#CC79A7", lw=1.5, label="default (arrow: outside the prior)"),
    ]


def _mark_default(axis: Axes, value: float, lower: float, upper: float) -> None:
    if np.isnan(value):
        return
    if lower <= value <= upper:
        axis.axvline(value, color="#CC79A7", lw=1.5)
        return
    above = value > upper
    axis.annotate(
        f"{value:g}",
        (1.0 if above else 0.0, 0.85),
        (0.72 if above else 0.28, 0.85),
        xycoords="axes fraction",
        ha="right" if above else "left",
        va="center",
        fontsize="x-small",
        color="#CC79A7",
        arrowprops={"arrowstyle": "->", "color": "#CC79A7"},
    )


def _density(share: np.ndarray) -> np.ndarray:
    """Return a kernel density on the unit interval, mirrored at its ends (Silverman's width)."""
    width = max(0.9 * float(share.std()) * len(share) ** -0.2, 0.01)
    mirrored = np.concatenate([share, -share, 2.0 - share])
    z = (_GRID[:, None] - mirrored) / width
    return np.asarray(np.exp(-0.5 * z * z).sum(axis=1) / (len(share) * width * np.sqrt(2 * np.pi)))
