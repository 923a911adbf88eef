"""`proda compare`: compare two or more models with each other and with the paper."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, formatted, print_table, progress
from proda.cli.evidence import print_choice
from proda.cli.options import Plots
from proda.layout import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from proda.comparison import Comparison, ModelFiles


_Run = Annotated[
    Path | None, typer.Argument(help="Folder of a study: MODEL/maps.nc, MODEL/default.nc ...")
]
_Model = Annotated[list[str] | None, typer.Option(help="NAME=FILE: map after data assimilation.")]
_EndToEnd = Annotated[
    list[str] | None,
    typer.Option("--end-to-end", help="NAME=FILE: map of networks trained end to end."),
]
_Default = Annotated[list[str] | None, typer.Option(help="NAME=FILE: map with default parameters.")]
_Summary = Annotated[
    list[str] | None, typer.Option(help="NAME=FILE: summary.nc of `proda assimilate`.")
]
_Sites = Annotated[list[str] | None, typer.Option(help="NAME=FILE: table of `proda diagnose`.")]
_Network = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=FOLDER: network trained on posteriors, for the skill at held-out places."
    ),
]
_EndToEndNetwork = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER: network trained end to end, for the skill at held-out places."),
]
_Forcing = Annotated[
    Path | None, typer.Option(help="Forcing at the sites, for Michaelis constants there.")
]
_Covariates = Annotated[
    Path | None, typer.Option(help="Covariates at the sites, for climate classes.")
]
_Reference = Annotated[
    Path | None, typer.Option(help="Reference maps, variables soc_0_100_SOURCE ...")
]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder to write; by default RUN/comparison."),
]
_EveryPair = Annotated[
    bool,
    typer.Option("--every-pair", help="Draw the figures of all pairs of more than two models."),
]


@app.command(
    epilog="Examples:\n\n"
    "`proda compare run`\n\n"
    "`proda compare --model clm5=clm5.nc --default clm5=clm5_default.nc --model compas=compas.nc "
    "--default compas=compas_default.nc -o comparison --plots figures`"
)
def compare(
    run: _Run = None,
    model: _Model = None,
    end_to_end: _EndToEnd = None,
    default: _Default = None,
    summary: _Summary = None,
    sites: _Sites = None,
    network: _Network = None,
    end_to_end_network: _EndToEndNetwork = None,
    forcing: _Forcing = None,
    covariates: _Covariates = None,
    reference: _Reference = None,
    output: _Output = None,
    plots: Plots = None,
    every_pair: _EveryPair = False,
) -> None:
    """Compare models with default and constrained parameters, and judge the paper's findings.

    Give the folder of a study, or the files of each model by name.
    """
    from proda.comparison import compare_models, files_of_run
    from proda.comparison.compare_models import covariates_of_run, projections_of_run
    from proda.errors import ComparisonError

    named = {
        "maps": model,
        "end_to_end": end_to_end,
        "default": default,
        "summary": summary,
        "sites": sites,
        "network": network,
        "end_to_end_network": end_to_end_network,
    }
    _check_given(run, named)
    if run is not None:
        files = files_of_run(run)
        covariates = covariates or covariates_of_run(run)
        output = output or RunFolder(run).comparison
    else:
        files = _named_files({key: value or [] for key, value in named.items()})
    if output is None:
        raise ComparisonError("Give the folder to write: --output FOLDER.")
    if forcing is not None:
        files = {name: replace(each, forcing=forcing) for name, each in files.items()}
    with progress("steps") as bar:
        task = bar.add_task("Comparing", total=None)
        result = compare_models(
            files,
            output,
            reference=reference,
            covariates=covariates,
            projections=None if run is None else projections_of_run(run),
            attribution=None if run is None else RunFolder(run).attribution,
            progress=lambda done, ahead: bar.update(task, completed=done, total=ahead),
        )
    _print(result)
    console.print(f"Written: {output}", soft_wrap=True)
    if plots is not None:
        _draw(result, plots, every_pair)


def _check_given(run: Path | None, named: dict[str, list[str] | None]) -> None:
    """Refuse files beside the folder of a study, and files without a map."""
    from proda.errors import ComparisonError

    if (run is None) == (not named["maps"] and not named["end_to_end"]):
        raise ComparisonError(
            "Give either the folder of a study, or --model (--end-to-end) NAME=FILE for at least "
            "two models."
        )
    if run is not None and any(named.values()):
        raise ComparisonError(
            "--default, --summary, --sites and networks need --model or --end-to-end."
        )


def _named_files(options: dict[str, list[str]]) -> dict[str, ModelFiles]:
    from proda.comparison import ModelFiles
    from proda.errors import ComparisonError

    given: dict[str, dict[str, Path]] = {}
    for key, pairs in options.items():
        for text in pairs:
            name, equals, path = text.partition("=")
            if not (equals and name and path):
                raise ComparisonError(f"{text!r}: write it as NAME=FILE, such as clm5=clm5.nc.")
            if key in given.setdefault(name, {}):
                raise ComparisonError(f"{name} is given twice as {key}.")
            given[name][key] = Path(path)
    for name, paths in given.items():
        if "maps" not in paths and "end_to_end" not in paths:
            raise ComparisonError(
                f"{name} has no map: give --model {name}=FILE or --end-to-end {name}=FILE."
            )
    return {name: ModelFiles(**paths) for name, paths in given.items()}


def _print(result: Comparison) -> None:
    table = result.tables["correlations"]
    print_table(
        "Agreement of the models over land",
        ["variable", "models", "state", "r", "95 %", "cells", "effective", "concordance", "bias"],
        [
            [
                r["variable"] + (" (log)" if r["scale"] == "log" else ""),
                f"{r['first']}, {r['second']}",
                r["state"],
                formatted(r["r"], ".2f"),
                f"{formatted(r['low'], '.2f')} to {formatted(r['high'], '.2f')}",
                f"{r['n']:,}",
                formatted(r["n_effective"], ".0f"),
                formatted(r["concordance"], ".2f"),
                formatted(r["bias"], "+.3g"),
            ]
            for _, r in table.iterrows()
        ],
        right=(3, 4, 5, 6, 7, 8),
    )
    console.print(
        "effective: number of independent cells (modified t test). bias: second - first.",
        highlight=False,
        soft_wrap=True,
    )
    _print_totals(result.tables["totals"])
    preference = result.tables["preference"]
    if len(preference):
        rows = preference[(preference["criterion"] == "log_evidence") & (preference["sites"] > 0)]
        print_table(
            "Log evidence at sites, second model - first",
            ["zone", "models", "sites", "median", "95 %", "first > 3", "second > 3"],
            [
                [
                    r["zone"],
                    f"{r['first']}, {r['second']}",
                    f"{r['sites']:,}",
                    formatted(r["median"], "+.2f"),
                    f"{formatted(r['low'], '+.2f')} to {formatted(r['high'], '+.2f')}",
                    formatted(r["share_first_by_3"], ".0%"),
                    formatted(r["share_second_by_3"], ".0%"),
                ]
                for _, r in rows.iterrows()
            ],
            right=range(2, 7),
        )
    print_choice(result.tables)
    for route, findings in result.findings.groupby("route", sort=False):
        counts = findings["verdict"].value_counts()
        print_table(
            f"Findings of the paper, {route}: " + ", ".join(f"{n} {v}" for v, n in counts.items()),
            ["finding", "paper", "this run", "verdict"],
            [
                [r["id"], r["paper"], r["run"] or r["reason"], r["verdict"]]
                for _, r in findings.iterrows()
            ],
        )


def _print_totals(table: pd.DataFrame) -> None:
    globe = table[table["zone"] == "globe"]
    stocks = list(dict.fromkeys(globe["stock"]))
    wide: dict[tuple[str, str], dict[str, float]] = {}
    for _, row in globe.iterrows():
        wide.setdefault((row["source"], row["state"]), {})[row["stock"]] = row["mean"]
    print_table(
        "Soil carbon of the globe (Pg C)",
        ["source", "state", *stocks],
        [
            [source, state, *(formatted(means.get(s, math.nan), ",.0f") for s in stocks)]
            for (source, state), means in wide.items()
        ],
        right=range(2, 2 + len(stocks)),
    )


def _draw(result: Comparison, folder: Path, every_pair: bool) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.plots.comparison import draw

    for path in draw(result, folder, every_pair=every_pair or None):
        console.print(f"Drawn: {path}", soft_wrap=True)
