"""`proda diagnose`: which sites of a finished assimilation can be used for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, formatted, print_table
from proda.cli.options import LandBehind, Plots, option
from proda.inference.filter_settings import FilterSettings

if TYPE_CHECKING:
    import xarray as xr

    from proda.inference.assessment import Assessment


_Output = Annotated[
    Path | None,
    typer.Option(
        help="Write the posteriors of the kept sites, for training networks (.nc, .zarr)."
    ),
]
_Table = Annotated[
    Path | None, typer.Option(help="Write one row per site, with its verdict (CSV).")
]
_Site = Annotated[
    str | None,
    typer.Option(help="Site whose chains are drawn; by default the one with the poorest mixing."),
]


_Against = Annotated[
    Path | None,
    typer.Option(
        help="Folder of another run of the same model, such as of carbon alone: print how much "
        "narrower the posteriors of this run are."
    ),
]


@app.command(
    epilog="Examples:\n\n"
    "`proda diagnose run`\n\n"
    "`proda diagnose run --output kept.nc --table sites.csv --plots figures`\n\n"
    "`proda diagnose run --max-rhat 1.05 --min-ess 200`"
)
def diagnose(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished `proda assimilate`.")],
    max_gelman_rubin: float = option(FilterSettings, "max_gelman_rubin"),
    min_nse: float = option(FilterSettings, "min_nse"),
    max_rhat: float | None = option(FilterSettings, "max_rhat"),
    min_ess: float | None = option(FilterSettings, "min_ess"),
    output: _Output = None,
    table: _Table = None,
    plots: Plots = None,
    site: _Site = None,
    land_mask: LandBehind = None,
    against: _Against = None,
) -> None:
    """Assess the sites of a finished run; write the posteriors of those that pass.

    The default limits are the published ones. A site whose statistic is undefined is rejected.
    """
    from proda.errors import AssimilationError
    from proda.inference.assessment import assess
    from proda.inference.assimilation_run import open_posterior
    from proda.inference.diagnostics.filter import Filter
    from proda.plots.style import save_all
    from proda.study.diagnosis import figures_of, write_kept, write_table

    if plots is None and (site is not None or land_mask is not None):
        raise AssimilationError("--site and --land-mask apply to the figures; they need --plots.")
    draws, summary = open_posterior(folder)
    limits = FilterSettings(
        max_gelman_rubin=max_gelman_rubin, min_nse=min_nse, max_rhat=max_rhat, min_ess=min_ess
    )
    assessment = assess(summary, Filter.of(limits))
    _print(assessment)
    _print_streams({str(folder): summary})
    if against is not None:
        other = open_posterior(against)[1]
        _print_streams({str(against): other})
        _print_narrowing(summary, other)
    if table is not None:
        write_table(assessment, table)
        console.print(f"Written: {table}, {len(assessment.sites):,} sites", soft_wrap=True)
    if output is not None:
        kept = write_kept(assessment, output)
        console.print(
            f"Written: {output}, {kept.sizes['site']:,} sites x "
            f"{kept.sizes['parameter']} parameters",
            soft_wrap=True,
        )
    if plots is not None:
        figures = figures_of(assessment, draws, site=site, land_mask=land_mask)
        for path in save_all(figures, plots):
            console.print(f"Drawn: {path}", soft_wrap=True)


def _print_streams(runs: dict[str, xr.Dataset]) -> None:
    """Print how the data beside carbon are met, if there are any."""
    from proda.inference.stream_fit import data_of, stream_fit

    for name, summary in runs.items():
        fit = stream_fit(summary)
        if fit.empty:
            continue
        print_table(
            f"{name}, fitted to {data_of(summary)}: data beside carbon",
            ["stream", "", "values", "sites", "RMSE", "bias", "NSE", "r", "in 90 %"],
            [
                [
                    row["stream"] + ("" if row["scale"] == "identity" else f" ({row['scale']})"),
                    "fitted" if row["fitted"] else "held out",
                    f"{row['values']:,}",
                    f"{row['sites']:,}",
                    formatted(row["rmse"], ".3g"),
                    formatted(row["bias"], "+.3g"),
                    formatted(row["nse"], ".2f"),
                    formatted(row["r"], ".2f"),
                    formatted(row["inside90"], ".0%"),
                ]
                for row in fit.to_dict("records")
            ],
            right=range(2, 9),
        )


def _print_narrowing(summary: xr.Dataset, other: xr.Dataset) -> None:
    """Print how much narrower the posteriors of one run are than those of another."""
    from proda.inference.stream_fit import data_of, narrowing

    table = narrowing(summary, other)
    print_table(
        f"Width of posteriors: {data_of(summary)}, over {data_of(other)}; medians over "
        f"{table['sites'].iloc[0]:,} sites",
        ["", "unit", "width", "median", "median of the other"],
        [
            [r.quantity, r.unit, *(formatted(v, f) for v, f in values)]
            for r in table.itertuples()
            for values in [((r.width, ".2f"), (r.median, ".4g"), (r.other_median, ".4g"))]
        ],
        right=(2, 3, 4),
    )


def _print(assessment: Assessment) -> None:
    caveat = f"{assessment.caveat}. " if assessment.caveat else ""
    _print_sites(assessment, caveat)
    _print_layers(assessment, caveat)
    _print_parameters(assessment, caveat)


def _print_sites(assessment: Assessment, caveat: str) -> None:
    from proda.inference.assessment import by_band, counts

    shares, medians = by_band(assessment)
    flags = list(shares.columns[1:])
    print_table(
        f"{caveat}{assessment.kept.sum():,} of {len(assessment.sites):,} sites are kept: shares by "
        "latitude",
        ["", "sites", *flags],
        [
            [name, f"{int(row['sites']):,}", *(f"{row[f]:.1%}" for f in flags)]
            for name, row in shares.iterrows()
        ],
        right=range(1, len(flags) + 2),
    )
    print_table(
        f"{caveat}Sites by verdict (first reason)",
        ["", "sites", "share"],
        [
            [why, f"{n:,}", f"{n / len(assessment.sites):.1%}"]
            for why, n in counts(assessment).items()
        ],
        right=(1, 2),
    )
    print_table(
        f"{caveat}Medians over the sites with a posterior",
        ["", "ESS", "R-hat", "NSE", "acceptance", "k > 0.7"],
        [
            [
                name,
                formatted(row["ess"], ".0f"),
                formatted(row["rank_rhat"], ".3f"),
                formatted(row["nash_sutcliffe"], ".2f"),
                formatted(row["acceptance"], ".2f"),
                formatted(row["pareto_k"], ".0%"),
            ]
            for name, row in medians.iterrows()
        ],
        right=range(1, 6),
    )
    console.print(
        "ESS, R-hat: of the worst parameter. k > 0.7: share of sites whose PSIS-LOO is unreliable.",
        highlight=False,
        soft_wrap=True,
    )


def _print_layers(assessment: Assessment, caveat: str) -> None:
    from proda.inference.layer_fit import layer_fit

    fits = {
        "sampled": layer_fit(assessment, assessment.sampled),
        "kept": layer_fit(assessment, assessment.kept),
    }
    shown = ("posterior_50", "posterior_90", "predictive_50", "predictive_90")
    print_table(
        f"{caveat}Measured layers: fit of the mean, share inside 50 and 90 % intervals",
        ["sites", "layers", "log R2", "RMSE", "mean 50", "90", "predicted 50", "90"],
        [
            [
                name,
                f"{fit['layers']:,.0f}",
                formatted(fit["log_r2"], ".3f"),
                formatted(fit["rmse"] / 1000.0, ".2f"),
                *(formatted(fit[s], ".1%") for s in shown),
            ]
            for name, fit in fits.items()
        ],
        right=range(1, 8),
    )
    console.print(
        "RMSE: kg m-3. mean: interval of the modelled mean, which need not contain a measured "
        "value; "
        "predicted: with the log-normal error of a measurement. These layers were fitted, so the "
        "predicted intervals tend to contain more of them than of new layers.",
        highlight=False,
        soft_wrap=True,
    )
    if left_out := int(fits["sampled"]["no_logarithm"]):
        console.print(
            f"{left_out:,} layers with a modelled or measured value of 0 enter the RMSE only.",
            highlight=False,
            soft_wrap=True,
        )


def _print_parameters(assessment: Assessment, caveat: str) -> None:
    from proda.inference.assessment import parameter_ranking

    print_table(
        f"{caveat}Parameters by information gain: medians over {assessment.sampled.sum():,} sites",
        ["parameter", "unit", "bits", "spread reduction", "R-hat"],
        [
            [
                name,
                row["unit"],
                formatted(row["information_gain"], ".3f"),
                formatted(row["spread_reduction"], ".1%"),
                formatted(row["rank_rhat"], ".3f"),
            ]
            for name, row in parameter_ranking(assessment).iterrows()
        ],
        right=(2, 3, 4),
    )
