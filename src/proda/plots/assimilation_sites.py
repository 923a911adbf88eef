"""Figures of all sites of a data assimilation: verdicts, locations, information gain, fit."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from proda.errors import AssimilationError
from proda.inference.assessment import Assessment, parameter_ranking, passing
from proda.inference.diagnostics.filter import SiteVerdict
from proda.inference.layer_fit import layer_fit
from proda.plots.scatter import density_scatter
from proda.plots.style import COLOURS, draw_land, style

_LOOKS = {
    SiteVerdict.KEPT: ("#0072B2", "o"),
    SiteVerdict.POOR_FIT: ("#E69F00", "^"),
    SiteVerdict.NOT_CONVERGED: ("#D55E00", "s"),
    SiteVerdict.NOT_CONVERGED_IN_RANK: ("#CC79A7", "D"),
    SiteVerdict.TOO_FEW_DRAWS: ("#009E73", "v"),
    SiteVerdict.NO_POSTERIOR: ("#000000", "x"),
}


def titled(assessment: Assessment, finding: str) -> str:
    """Return a title, with the caveat for draws that are not a posterior."""
    return f"{assessment.caveat}\n{finding}" if assessment.caveat else finding


def need_sampled(assessment: Assessment) -> None:
    """Refuse a run without any posterior.

    Raises
    ------
    AssimilationError
        If no site has one.
    """
    if not assessment.sampled.any():
        raise AssimilationError(
            f"None of the {len(assessment.sites)} sites has a posterior; there is nothing to draw."
        )


def convergence_and_fit(assessment: Assessment) -> Figure:
    """Histograms over sites of R-hat, effective size and efficiency, with their limits.

    Parameters
    ----------
    assessment
        Of a run.

    Raises
    ------
    AssimilationError
        If no site has a posterior.
    """
    need_sampled(assessment)
    limits, sites = assessment.limits, assessment.sites[assessment.sampled]
    flags = passing(assessment)
    ess = sites[["ess_bulk", "ess_tail"]].min(axis=1, skipna=False).to_numpy()
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(8, 5.4))
        _histogram(
            axes[0, 0],
            sites["gelman_rubin"].to_numpy(),
            limits.max_gelman_rubin,
            "Gelman-Rubin statistic, mean over parameters",
            high=0.99,
        )
        _histogram(
            axes[0, 1],
            sites["rank_rhat"].to_numpy(),
            limits.max_rank_rhat,
            "rank-normalised R-hat, largest of the parameters",
            high=0.99,
        )
        _histogram(
            axes[1, 0], ess, limits.min_ess, "effective draws, smallest of the parameters", high=1.0
        )
        _histogram(
            axes[1, 1],
            sites["nash_sutcliffe"].to_numpy(),
            limits.min_nash_sutcliffe,
            "Nash-Sutcliffe efficiency of the mean profile",
            low=-2.0,
        )
        for row in axes:
            row[0].set_ylabel("sites")
        one, two = flags.columns[1:3]
        figure.suptitle(
            titled(
                assessment,
                f"{flags[one].mean():.0%} of {len(flags):,} sites converged ({one}), "
                f"{flags[two].mean():.0%} fit ({two}), {flags['kept'].mean():.0%} pass all limits",
            ),
            x=0.01,
            ha="left",
            fontsize="medium",
        )
    return figure


def _histogram(
    axis: Axes,
    values: np.ndarray,
    limit: float | None,
    label: str,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Draw a histogram; values beyond `low` or the quantile `high` are counted at the edge."""
    defined = values[np.isfinite(values)]
    undefined = len(values) - len(defined)
    note = f"; undefined at {undefined:,}" if undefined else ""
    if len(defined):
        start = defined.min() if low is None else max(low, defined.min())
        end = defined.max() if high is None else np.quantile(defined, high)
        if limit is not None:
            start, end = min(start, limit), max(end, limit)
        end = max(end, start + 1e-6)
        below, above = int((defined < start).sum()), int((defined > end).sum())
        counts, edges = np.histogram(np.clip(defined, start, end), np.linspace(start, end, 41))
        axis.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.85)
        note += f"; {below:,} lower ones at the left edge" if below else ""
        note += f"; {above:,} higher ones at the right edge" if above else ""
        median = float(np.median(defined))
        axis.axvline(median, color="#000000", lw=1.0, ls=":", label=f"median {median:.3g}")
    if limit is not None:
        axis.axvline(limit, color=COLOURS[1], lw=1.5, label=f"limit {limit:g}")
    axis.legend(fontsize="small")
    axis.set_xlabel(f"{label}\n{len(defined):,} sites{note}", fontsize="small")


def site_verdicts(
    assessment: Assessment, land: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
) -> Figure:
    """Map the sites by verdict.

    Parameters
    ----------
    assessment
        Of a run.
    land
        Latitudes, longitudes and a mask (lat, lon) drawn behind; None draws none.
    """
    sites = assessment.sites
    with style():
        figure, axis = plt.subplots(figsize=(8, 4.8))
        if land is not None:
            draw_land(axis, *land)
        size = float(np.clip(4000.0 / len(sites), 4.0, 18.0))
        for verdict, (colour, marker) in _LOOKS.items():
            here = sites[sites["verdict"] == verdict.words]
            if len(here):
                axis.scatter(
                    here["longitude"],
                    here["latitude"],
                    s=size,
                    color=colour,
                    marker=marker,
                    linewidths=1.0 if marker == "x" else 0,
                    alpha=0.8,
                    rasterized=True,
                    label=f"{verdict.words} ({len(here):,})",
                )
        axis.set(xlabel="longitude (°E)", ylabel="latitude (°N)", aspect="equal")
        axis.set(xlim=(-180, 180), xticks=range(-180, 181, 60))
        axis.set(ylim=(-90, 90), yticks=range(-90, 91, 30))
        figure.legend(loc="outside lower center", ncols=4, fontsize="small", markerscale=1.3)
        bands = sites.groupby("band")["kept"].agg(["mean", "size"])
        bands = bands[bands["size"] >= min(10, bands["size"].max())]
        worst, best = bands["mean"].idxmin(), bands["mean"].idxmax()
        spread = (
            (
                f": from {bands.loc[worst, 'mean']:.0%} ({worst}) to "
                f"{bands.loc[best, 'mean']:.0%} ({best})"
            )
            if worst != best
            else ""
        )
        finding = f"{sites['kept'].sum():,} of {len(sites):,} sites are kept"
        axis.set_title(titled(assessment, f"{finding} ({sites['kept'].mean():.0%}){spread}"))
    return figure


def information(assessment: Assessment) -> Figure:
    """Draw the information that profiles contain on each parameter: quartiles over sites.

    Parameters
    ----------
    assessment
        Of a run.

    Raises
    ------
    AssimilationError
        If no site has a posterior.
    """
    need_sampled(assessment)
    table = parameter_ranking(assessment)
    gain = assessment.summary["information_gain"].isel(site=assessment.sampled)
    gain = gain.transpose("parameter", "site")
    by_name = dict(zip(gain["parameter"].to_numpy().astype(str), gain.to_numpy(), strict=True))
    spread = {
        name: np.nanquantile(by_name[name], [0.05, 0.25, 0.5, 0.75, 0.95])
        for name in table.index
        if np.isfinite(by_name[name]).any()
    }
    components = list(dict.fromkeys(table["component"]))
    colour = dict(zip(components, COLOURS, strict=False))
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 1.4 + 0.21 * len(spread)))
        for i, (name, (low, first, _, third, high)) in enumerate(spread.items()):
            own = colour[table.loc[name, "component"]]
            axis.plot([low, high], [i, i], color=own, lw=1.0)
            axis.plot([first, third], [i, i], color=own, lw=5.0, solid_capstyle="butt")
        medians = [middle for _, _, middle, _, _ in spread.values()]
        axis.plot(medians, range(len(spread)), "o", ms=4, color="white", mec="black", mew=0.8)
        axis.set(
            yticks=range(len(spread)),
            yticklabels=list(spread),
            ylim=(len(spread) - 0.4, -0.6),
            xlim=(0, None),
        )
        axis.set_xlabel(
            "information gain of the posterior over the prior (bit)\ndot: median of "
            f"{assessment.sampled.sum():,} sites, bar: middle half, line: 5-95 %",
            fontsize="small",
        )
        axis.legend(
            handles=[Patch(color=c, label=n) for n, c in colour.items()],
            title="component",
            loc="lower right",
            fontsize="small",
        )
        most, least = next(iter(spread)), list(spread)[-1]
        few = sum(s[2] < 0.1 for s in spread.values())
        axis.set_title(
            titled(
                assessment,
                f"Information gain is largest for {most} ({spread[most][2]:.2f} bit) and smallest "
                f"for {least} ({spread[least][2]:.2f});\n{few} of {len(spread)} parameters gain "
                "less than 0.1 bit",
            )
        )
    return figure


def layers(assessment: Assessment) -> Figure:
    """Modelled (posterior mean) against measured carbon of the fitted layers of all sites.

    Parameters
    ----------
    assessment
        Of a run.

    Raises
    ------
    AssimilationError
        If no site has a posterior.
    """
    need_sampled(assessment)
    summary = assessment.summary
    used = summary["row_used"].to_numpy().astype(bool) & assessment.sampled[assessment.row_site]
    figure = density_scatter(
        summary["row_observed"].to_numpy()[used] / 1000.0,
        summary["row_modelled"].to_numpy()[used] / 1000.0,
        observed_label="measured carbon (kg m$^{-3}$)",
        predicted_label="modelled carbon, posterior mean (kg m$^{-3}$)",
        weight_label="layers",
    )
    axis = figure.axes[0]
    fit = layer_fit(assessment, assessment.sampled)
    difference = (summary["row_modelled"] - summary["row_observed"]).to_numpy()[
        used
    ].mean() / 1000.0
    mean = summary["row_observed"].to_numpy()[used].mean() / 1000.0
    finding = (
        f"Log R$^2$ (efficiency) {fit['log_r2']:.2f}, bias {difference:+.1f} kg m$^{{-3}}$ "
        f"({difference / mean:+.0%})"
    )
    axis.set_title("", loc="left")
    figure.set_figwidth(5.8)
    figure.suptitle(titled(assessment, finding), x=0.01, ha="left", fontsize=9.0)
    return figure
