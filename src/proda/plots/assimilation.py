"""Figures of single sites of a data assimilation: chains and profiles."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from proda.errors import AssimilationError
from proda.inference.assessment import Assessment
from proda.inference.layer_fit import error_sd, layer_fit
from proda.plots.assimilation_sites import need_sampled, titled
from proda.plots.style import COLOURS, style


def spread_of_fit(assessment: Assessment, n: int) -> np.ndarray:
    """Return the positions of `n` sites spread evenly over the quantiles of efficiency.

    Sites without a defined efficiency are skipped; fewer sites if there are fewer.
    """
    fit = np.where(assessment.sampled, assessment.sites["nash_sutcliffe"], np.nan)
    order = np.argsort(fit)[: int(np.isfinite(fit).sum())]
    place = (np.arange(n) + 0.5) / n * len(order)
    return order[np.unique(place.astype(int))] if len(order) else order


def worst_site(assessment: Assessment) -> str:
    """Return the site with a posterior whose largest R-hat is the largest, or undefined."""
    need_sampled(assessment)
    rhat = np.where(np.isnan(assessment.sites["rank_rhat"]), np.inf, assessment.sites["rank_rhat"])
    return str(
        assessment.sites["site"][int(np.argmax(np.where(assessment.sampled, rhat, -np.inf)))]
    )


def traces(assessment: Assessment, draws: xr.Dataset, site: str, n: int = 6) -> Figure:
    """Chains at one site, for the parameters with the poorest mixing.

    Parameters
    ----------
    assessment, draws
        Of a run.
    site
        Its name.
    n
        Number of parameters.

    Raises
    ------
    AssimilationError
        If there is no such site, or it has no posterior.
    """
    row = assessment.sites.index[assessment.sites["site"] == site]
    if not len(row):
        raise AssimilationError(f"{site}: the run has no such site; sites.parquet lists them.")
    if not assessment.sampled[row[0]]:
        raise AssimilationError(f"{site}: has no posterior ({assessment.sites['reason'][row[0]]}).")
    summary = assessment.summary.isel(site=int(row[0]))
    posterior = draws["posterior"].isel(site=int(row[0])).transpose("parameter", "chain", "draw")
    values = posterior.to_numpy()
    rhat = summary["rank_rhat"].to_numpy()
    order = np.argsort(-np.where(np.isnan(rhat), np.inf, rhat), kind="stable")[:n]
    limits = assessment.limits
    # The limit of the mean R-hat is always set; a stricter one may be set in addition.
    limit = limits.max_gelman_rubin if limits.max_rank_rhat is None else limits.max_rank_rhat
    names, units = (summary[c].to_numpy().astype(str) for c in ("parameter", "unit"))
    with style():
        figure, axes = plt.subplots(
            len(order), 1, figsize=(8, 0.9 + 1.15 * len(order)), sharex=True, squeeze=False
        )
        for axis, i in zip(axes[:, 0], order, strict=True):
            for chain, colour in zip(values[i], np.resize(COLOURS, len(values[i])), strict=True):
                axis.plot(chain, color=colour, lw=0.7)
            axis.set_ylim(float(summary["lower"][i]), float(summary["upper"][i]))
            axis.set_ylabel(f"{names[i]}\n({units[i]})", rotation=0, ha="right", va="center")
            axis.set_title(
                f"R-hat {rhat[i]:.2f}, {float(summary['ess_bulk'][i]):.0f} effective draws",
                fontsize="small",
                loc="right",
            )
        axes[-1, 0].set_xlim(0, values.shape[2] - 1)
        axes[-1, 0].set_xlabel(f"draw kept ({values.shape[1]} chains; axes span the prior)")
        figure.suptitle(
            titled(
                assessment,
                f"{site}\nR-hat of {names[order[0]]} is {rhat[order[0]]:.2f}, the worst of "
                f"{len(rhat)} parameters; {int((~(rhat < limit)).sum())} are not below {limit:g}",
            ),
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def profiles(assessment: Assessment, sites: Sequence[int] | np.ndarray) -> Figure:
    """Measured layers and the 50 and 90 % intervals of the modelled mean, one panel per site.

    Parameters
    ----------
    assessment
        Of a run.
    sites
        Positions of sites with a posterior, as of :func:`spread_of_fit`.

    Raises
    ------
    AssimilationError
        If there are none.
    """
    need_sampled(assessment)
    if not len(sites):
        raise AssimilationError("No site has a defined efficiency; there are no profiles to draw.")
    summary, of_row = assessment.summary, assessment.row_site
    sd = error_sd(assessment)
    columns = min(4, len(sites))
    height = -(-len(sites) // columns)
    with style():
        figure, axes = plt.subplots(
            height, columns, squeeze=False, figsize=(0.6 + 2.4 * columns, 1.2 + 2.35 * height)
        )
        for axis in axes.flat[len(sites) :]:
            axis.axis("off")
        for axis, site in zip(axes.flat, sites, strict=False):
            rows = (of_row == site) & summary["row_used"].to_numpy().astype(bool)
            _profile(axis, summary.isel(row=np.flatnonzero(rows)), None if sd is None else sd[site])
            own = assessment.sites.iloc[int(site)]
            name = own["site"] if len(own["site"]) <= 30 else own["site"][:29] + "…"
            axis.set_title(f"NSE {own['nash_sutcliffe']:.2f}\n{name}", fontsize="x-small")
        for axis in axes[:, 0]:
            axis.set_ylabel("depth (m)")
        for axis in axes.flat[max(len(sites) - columns, 0) : len(sites)]:
            axis.set_xlabel("carbon (kg m$^{-3}$)")
        measured = "measured" + (", 90 % of its error" if sd is not None else "")
        handles = [
            Patch(color=COLOURS[0], alpha=0.25, label="modelled mean, 90 % of the posterior"),
            Patch(color=COLOURS[0], alpha=0.6, label="50 %"),
            Line2D([], [], color="#000000", marker="o", ms=3, label=measured),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
        fit = layer_fit(assessment, assessment.sampled)
        median = assessment.sites["nash_sutcliffe"][assessment.sampled].median()
        figure.suptitle(
            titled(
                assessment,
                f"Sites from poor to good fit: median efficiency {median:.2f}; the 90 % interval "
                f"of the modelled mean contains {fit['posterior_90']:.0%} of all measured layers",
            ),
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def _profile(axis: Axes, rows: xr.Dataset, sd: float | None) -> None:
    """Draw one site; `rows` are its fitted layers."""
    upper, lower = rows["row_upper"].to_numpy(), rows["row_lower"].to_numpy()
    observed = rows["row_observed"].to_numpy() / 1000.0
    quantile = rows["row_quantile"].transpose("quantile", "row") / 1000.0
    for low, high, alpha in ((0.05, 0.95, 0.25), (0.25, 0.75, 0.45)):
        left, right = (quantile.sel(quantile=q).to_numpy() for q in (low, high))
        x, y = [left, right, right, left], [upper, upper, lower, lower]
        boxes = np.stack([np.stack(x, axis=1), np.stack(y, axis=1)], axis=2)
        axis.add_collection(PolyCollection(list(boxes), color=COLOURS[0], alpha=alpha, lw=0))
    middle = 0.5 * (upper + lower)
    factor = 1.0 if sd is None else float(np.exp(1.645 * sd))
    axis.hlines(middle, observed / factor, observed * factor, color="#000000", lw=0.8)
    axis.plot(observed, middle, "o", ms=3, color="#000000")
    axis.set(ylim=(1.04 * lower.max(), 0), xlim=(0, None))
    axis.tick_params(labelsize="x-small")
