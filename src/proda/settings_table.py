"""Settings as tables: one class per stage, which the study nests and the command line asks for.

A class says of each setting what it is called, its type, its default, its limits and its meaning.
The modules that hold such classes import nothing heavy, so that `proda --help` is quick.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, create_model


class SettingsTable(BaseModel):
    """A table of settings: names that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def without(kind: type[BaseModel], *names: str) -> Any:
    """Return a table of the settings of a class, but for some; to be a base class."""
    fields: Any = {
        name: (field.annotation, field)
        for name, field in kind.model_fields.items()
        if name not in names
    }
    return create_model(f"{kind.__name__}Table", __base__=SettingsTable, **fields)
