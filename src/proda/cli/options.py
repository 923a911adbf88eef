"""Options of the command line from the settings of a stage: default and help stand there alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel


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
