"""Options of the command line from the settings of a stage: default and help stand there alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

ForcingGrid = Annotated[Path, typer.Argument(help="Forcing on the grid, of `proda forcing`.")]
NetworkOption = Annotated[
    Path | None, typer.Option(help="Predict parameters with this trained network.")
]
CovariatesOption = Annotated[
    Path | None, typer.Option(help="Covariates on the same grid, for the network.")
]
MeanOf = Annotated[
    Path | None,
    typer.Option(help="Use the mean parameters of the sites that `proda diagnose` kept."),
]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes; without it, threads of this one.")
]
Cluster = Annotated[
    Path | None, typer.Option(help="TOML file of a cluster, as for `proda assimilate`.")
]
"""Options of everything that is computed on each land cell."""


def option(table: type[BaseModel], name: str, *declarations: str) -> Any:
    """Return the option for a setting.

    Limits are checked where the settings are built, by the words that a study's file gets too.

    Parameters
    ----------
    table
        Settings of a stage.
    name
        Of the setting.
    declarations
        How the option is written; by default as the parameter of the command is called.
    """
    field = table.model_fields[name]
    return typer.Option(field.default, *declarations, help=field.description)
