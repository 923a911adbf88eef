"""`proda project`: project a model in time on every land cell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from proda.cli.app import app
from proda.cli.options import (
    Cluster,
    CovariatesOption,
    ForcingGrid,
    MeanOf,
    NetworkOption,
    Workers,
    option,
)
from proda.projection.projection_settings import ProjectionSettings

_Draws = Annotated[
    bool,
    typer.Option("--draws/--members", help="Use calibrated draws, or networks as trained."),
]
_Default = Annotated[
    str | None, typer.Option(help="Use the default parameters of this model everywhere.")
]
_B = Annotated[
    float | None, typer.Option(help="With --default: depth profile of carbon input of CLM5.")
]
_Constant = Annotated[
    Path | None,
    typer.Option(help="Use the calibrated constant of a network trained with --model."),
]
_Experiment = Annotated[
    list[str] | None,
    typer.Option(
        help="Idealised experiment; repeatable. By default "
        "all eight sudden ones; `none` for anomalies only."
    ),
]
_Anomalies = Annotated[
    list[Path] | None, typer.Option(help="File of anomalies by year (and month); repeatable.")
]
_Time = Annotated[
    list[float] | None,
    typer.Option(help="Years after the start to keep; repeatable. By default 10, 50, 100."),
]


@app.command(
    epilog="Examples:\n\n"
    "`proda project forcing.zarr clm5_plus.nc --network network --covariates covariates.nc`\n\n"
    "`proda project forcing.zarr default.nc --default clm5 --experiment plus_4K --time 50`",
)
def project(
    forcing: ForcingGrid,
    out: Annotated[Path, typer.Argument(help="Projection to write (.nc).")],
    network: NetworkOption = None,
    covariates: CovariatesOption = None,
    draws: _Draws = True,
    default: _Default = None,
    b: _B = None,
    mean_of: MeanOf = None,
    constant: _Constant = None,
    experiment: _Experiment = None,
    anomalies: _Anomalies = None,
    warming: Path | None = option(ProjectionSettings, "warming"),
    pattern: Path | None = option(ProjectionSettings, "pattern"),
    time: _Time = None,
    members_used: int | None = option(ProjectionSettings, "members", "--use-members"),
    every: int = option(ProjectionSettings, "every"),
    longest_step: float = option(ProjectionSettings, "longest_step"),
    chunk: int = option(ProjectionSettings, "chunk"),
    workers: Workers = None,
    cluster: Cluster = None,
) -> None:
    """Project soil carbon under warming and changed carbon input, from the present steady state.

    Give exactly one of --network, --default, --mean-of and --constant as the source of parameters.
    Repeat the command to resume an interrupted run.
    """
    from proda.blocks.executor import executor_of
    from proda.cli.console import console
    from proda.cli.maps import progress_of_cells
    from proda.errors import MapError
    from proda.projection.projection_from_files import project_files, projection_settings

    given: dict[str, Any] = {"every": every, "longest_step": longest_step, "chunk": chunk}
    if experiment:
        given["experiments"] = () if experiment == ["none"] else tuple(experiment)
    given |= {"anomalies": tuple(anomalies or ()), "warming": warming, "pattern": pattern}
    given |= {"members": members_used} | ({"times": tuple(time)} if time else {})
    settings = projection_settings(**given)
    if workers is not None and cluster is not None:
        raise MapError("Give --workers or --cluster, not both.")
    with executor_of(workers or 1, cluster) as executor, progress_of_cells("Projecting") as step:
        made = project_files(
            forcing,
            out,
            settings,
            network=network,
            covariates=covariates,
            default=default,
            mean_of=mean_of,
            constant=constant,
            draws=draws,
            b=b,
            progress=step,
            executor=executor,
        )
    _print_changes(out, settings.times[-1], made.cells_by_reason)
    if made.remark:
        console.print(made.remark)
    console.print(f"Written: {out}", soft_wrap=True)


def _print_changes(path: Path, years: float, cells: dict[str, dict[str, int]]) -> None:
    """Print the change of carbon in each experiment, and its cells by reason."""
    from proda.cli.console import print_table
    from proda.comparison.projections import open_projection, totals_table

    with open_projection(path) as opened:
        table = totals_table({"": {"": opened}})
    globe = table[(table["region"] == "globe") & (table["years"] == years)]
    rows = [
        (
            row["experiment"],
            f"{row['carbon']:,.0f}",
            f"{row['change']:+,.1f}",
            f"{row['per_cent']:+.1f} %",
            " ".join(f"{n}: {k:,}" for n, k in cells[row["experiment"]].items()),
        )
        for row in globe.to_dict("records")
    ]
    print_table(
        f"Soil carbon in 0-100 cm, Pg, after {years:g} years",
        ["experiment", "today", "change", "", "cells"],
        rows,
        right=(1, 2, 3),
    )
