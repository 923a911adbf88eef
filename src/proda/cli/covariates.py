"""`proda covariates`: the table of predictors at sites or on the grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, print_table
from proda.cli.options import option
from proda.drivers.forcing_settings import NearestSettings
from proda.layout import left_out_of

if TYPE_CHECKING:
    import pandas as pd

covariates_app = typer.Typer(no_args_is_help=True, help="Predictors of the network.")
app.add_typer(covariates_app, name="covariates")


@covariates_app.callback()
def _noun() -> None:
    """Keep `build` a subcommand although it is the only one."""


@covariates_app.command(
    "build",
    epilog="Examples: `proda covariates build covariates_halfdeg.nc cells.parquet`, "
    "`proda covariates build covariates_halfdeg.nc sites.parquet --sites profiles.parquet`",
)
def build(
    grid: Annotated[Path, typer.Argument(help="Covariates on lat, lon (netCDF or Zarr).")],
    out: Annotated[Path, typer.Argument(help="Parquet table to write.")],
    sites: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet of sites; without it, every cell of the grid."),
    ] = None,
    limit_km: float = option(NearestSettings, "limit_km"),
) -> None:
    """Build the table of covariates of sites, or of every land cell.

    Categories keep their meanings. Missing values are not filled; their shares are printed.
    """
    from proda.cli.forcing import print_sites
    from proda.drivers import covariates, nearest_cells
    from proda.drivers.grids import NOTES
    from proda.drivers.site_tables import read_sites
    from proda.errors import CovariateError

    with console.status(f"Reading {grid}"):
        opened = covariates.open_covariates(grid)
    if sites is None:
        table = covariates.on_grid(opened)
    else:
        rows = read_sites(sites)
        table, nearest = covariates.at_sites(opened, rows, limit_km)
        left_out = left_out_of(out)
        if table.empty:
            raise CovariateError(
                f"{sites}: none of its {len(rows):,} sites is near a usable cell: "
                f"{nearest.counts()}."
            )
    share = covariates.missing_shares(table, opened)
    lacking = [(name, f"{value:.3%}") for name, value in share.items() if value > 0]
    title = f"{len(lacking)} of {len(share)} covariates have missing values"
    kinds = [
        (c.name, len(c.classes or {}), table[c.name].nunique(), _most_common(table[c.name]))
        for c in opened.covariates
        if c.classes is not None
    ]
    covariates.write_table(table, out)  # an older table is replaced only now
    if sites is not None:
        nearest_cells.write_left_out(nearest, left_out)
        print_sites(nearest, len(rows), left_out)
    print_table(title, ["covariate", "missing rows"], lacking, right=[1])
    print_table(
        "Categories", ["covariate", "classes", "present", "most common"], kinds, right=[1, 2]
    )
    if notes := str(opened.dataset.attrs.get(NOTES, "")):
        console.print(notes, style="yellow", soft_wrap=True, markup=False)
    console.print(f"Written: {out}, {len(table):,} rows x {len(share)} covariates")


def _most_common(values: pd.Series) -> str:
    """Return the class that most rows have; a dash where none has any."""
    known = values.mode()
    return str(known.iloc[0]) if len(known) else "-"
