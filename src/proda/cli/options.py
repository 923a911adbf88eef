"""Options of the command line, from the settings of a stage wherever there are such settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from proda.settings_table import described

ForcingGrid = Annotated[Path, typer.Argument(help="Forcing on the grid, from `proda forcing`.")]
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
Plots = Annotated[
    Path | None, typer.Option(help="Draw the figures into this folder (created if absent).")
]
StopAfter = Annotated[
    str | None, typer.Option(help="Stop after this time, e.g. 90m or 11.5h; resume later.")
]
Fill = Annotated[
    bool, typer.Option("--fill", help="Fill missing covariates with medians, and report how many.")
]
LandBehind = Annotated[
    Path | None,
    typer.Option(help="File with land_fraction or land_mask: drawn behind the map of sites."),
]


def option(table: type, name: str, *declarations: str) -> Any:
    """Return the option for a setting.

    Limits are checked where the settings are built, with the messages that a file of a study gets.

    Parameters
    ----------
    table
        Settings of a stage.
    name
        Name of the setting.
    declarations
        Names of the option; by default the name of the parameter of the command.
    """
    default, meaning = described(table)[name]
    return typer.Option(default, *declarations, help=meaning)


def optional(name: str, *tables: type, condition: str = "", more: str = "") -> Any:
    """Return an option that has no value unless it is given; its help states the default.

    Parameters
    ----------
    name
        Name of the setting.
    tables
        Settings that have it: where there are two, those of `proda train` without and with --model.
    condition
        What the option needs, such as "With --model".
    more
        Sentence that is added to the meaning.
    """
    rows = [described(table)[name] for table in tables]
    meaning = rows[0][1]
    if condition:
        meaning = f"{condition}: {meaning[0].lower()}{meaning[1:]}"
    defaults = [default for default, _ in rows]
    if len(set(defaults)) == 1:
        text = "" if defaults[0] in (None, ()) else f"[{defaults[0]}]"
    else:
        text = f"[{defaults[0]}; with --model {defaults[1]}]"
    return typer.Option(None, help=" ".join(part for part in (meaning, more, text) if part))


def folders_of(pairs: list[str]) -> dict[str, Path]:
    """Return the folder of each stream's table, by name, from NAME=FOLDER.

    Raises
    ------
    ObservationError
        If a pair has another form, or a name appears twice.
    """
    from proda.errors import ObservationError

    folders: dict[str, Path] = {}
    for pair in pairs:
        name, _, folder = pair.partition("=")
        if not (name and folder) or name in folders:
            raise ObservationError(f"--stream {pair}: expected NAME=FOLDER, each name once.")
        folders[name] = Path(folder).absolute()
    return folders
