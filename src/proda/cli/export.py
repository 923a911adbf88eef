"""`proda export`: posteriors for ArviZ, maps for ILAMB."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, print_table

export_app = typer.Typer(no_args_is_help=True, help="Files for other tools: ArviZ, ILAMB.")
app.add_typer(export_app, name="export")


@export_app.command(
    "posterior",
    epilog="Examples: `proda export posterior clm5 -o clm5_arviz.nc` · "
    "`proda export posterior clm5 -o one.nc --site survey:12`",
)
def posterior(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished `proda assimilate`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="netCDF file to write.")],
    site: Annotated[
        list[str] | None,
        typer.Option(
            help="Export this site only; repeatable. By default all sites with a posterior."
        ),
    ] = None,
    thin: Annotated[int, typer.Option(help="Use every n-th draw.")] = 1,
) -> None:
    """Write posteriors in the layout of ArviZ (0.x InferenceData, 1.x DataTree)."""
    from proda.inference.arviz import write_arviz

    with console.status(f"Writing {output}"):
        tree = write_arviz(folder, output, site, thin)
    print_table(
        "Groups",
        ["group", "variables", "dimensions"],
        [
            (name, len(group.data_vars), ", ".join(f"{d} {n:,}" for d, n in group.sizes.items()))
            for name, group in tree.children.items()
        ],
        right=[1],
    )
    if not str(tree.attrs.get("is_posterior", "yes")).startswith("yes"):
        console.print(f"NO POSTERIOR: {tree.attrs['is_posterior']}", soft_wrap=True)
    console.print(f"Written: {output}", soft_wrap=True)


@export_app.command("maps", epilog="Example: `proda export maps clm5/maps.nc -o MODELS/proda-clm5`")
def maps(
    file: Annotated[Path, typer.Argument(help="A map that `proda map` wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the model in ILAMB's model root.")
    ],
    first_year: Annotated[int, typer.Option(help="First year of the time axis.")] = 1980,
    last_year: Annotated[int, typer.Option(help="Last year of the time axis.")] = 2014,
) -> None:
    """Write soil carbon (cSoil, cSoilAbove1m) with cell areas and land fraction, for ILAMB."""
    from proda.maps.ilamb import write_ilamb

    with console.status(f"Writing to {output}"):
        written = write_ilamb(file, output, years=(first_year, last_year))
    print_table(
        "Written",
        ["file", "MB"],
        [(path.name, f"{path.stat().st_size / 1e6:.1f}") for path in written],
        right=[1],
    )
