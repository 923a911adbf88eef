"""`proda evidence`: which of two or more models the data prefer, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, print_table

if TYPE_CHECKING:
    import pandas as pd


@app.command(
    epilog="Examples:\n\n`proda evidence run`\n\n"
    "`proda evidence clm5_run mimics_run mimics_network clm5_network -o evidence`"
)
def evidence(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders of a study, of `proda assimilate`, or of networks; or NAME=FOLDER.",
        ),
    ],
    sites: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: table of `proda diagnose`.")
    ] = None,
    covariates: Annotated[
        Path | None, typer.Option(help="Covariates at the sites, for climate classes.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write the tables into.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Draw the figure into this folder (created if absent).")
    ] = None,
) -> None:
    """Compare models by evidence and skill, by climate, without any map.

    Computes the log evidence at sites at which every model was assimilated and passed the filter,
    predictive density and skill at held-out places, and stacking weights. `proda compare` does the
    same for a study and also compares the maps.
    """
    from proda import files
    from proda.comparison.choice_inputs import open_choice
    from proda.comparison.compare_models import choice_tables, covariates_of_run, read_climate
    from proda.errors import ComparisonError

    given: dict[str, str] = {}
    for text in sites or []:
        name, equals, path = text.partition("=")
        if not (equals and name and path):
            raise ComparisonError(f"{text!r}: write it as NAME=FILE, such as clm5=sites.csv.")
        given[name] = path
    models = open_choice(runs, given)
    if covariates is None and len(runs) == 1:
        covariates = covariates_of_run(runs[0])
    with console.status("Comparing"):
        tables = choice_tables(models, None if covariates is None else read_climate(covariates))
    print_choice(tables)
    if output is not None:
        files.write_tables(tables, output, ComparisonError)
        console.print(f"Written: {output}", soft_wrap=True)
    if plots is not None:
        _draw(tables, plots)


def print_choice(tables: Mapping[str, pd.DataFrame]) -> None:
    """Print evidence and stacking weights of all sites, and why models are missing."""
    evidence = tables["evidence"]
    whole = evidence[(evidence["grouping"] == "all") & (evidence["sites"] > 0)]
    weights = tables["stacking"].set_index(["measure", "grouping", "zone", "model"])["weight"]
    for measure, rows in whole.groupby("measure", sort=False):
        print_table(
            f"{measure}, all sites (natural logarithms)",
            ["model", "sites", "mean", "behind the best", "± s.e.", "best at", "stacking weight"],
            [
                [
                    r["model"],
                    f"{r['sites']:,}",
                    _n(r["mean"], ".3g"),
                    _n(r["difference"], "+.3g"),
                    _n(r["standard_error"], ".2g"),
                    _n(r["share_preferred"], ".0%"),
                    _n(
                        float(weights.get((measure, "all", "all", r["model"]), float("nan"))), ".2f"
                    ),
                ]
                for _, r in rows.sort_values("mean", ascending=False).iterrows()
            ],
            right=range(1, 7),
        )
    for why, rows in evidence[evidence["sites"] == 0].groupby("reason", sort=False):
        names = ", ".join(dict.fromkeys(rows["model"]))
        measures = ", ".join(dict.fromkeys(rows["measure"]))
        console.print(f"Not judged by {measures}: {names}: {why}.", soft_wrap=True, highlight=False)


def _n(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _draw(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.plots.evidence import evidence_figure
    from proda.plots.style import save

    folder.mkdir(parents=True, exist_ok=True)
    save(evidence_figure(tables["evidence"], tables["stacking"]), folder / "evidence.png")
    console.print(f"Drawn: {folder / 'evidence.png'}", soft_wrap=True)
