"""Settings as tables: one class per stage, which the study nests and the command line asks for.

A class gives the name, type, default, limits and meaning of each setting. A stage whose settings
are passed to compiled programs has a frozen dataclass, with :func:`setting` for each field; all
others are subclasses of :class:`SettingsTable`. The modules that hold such classes import nothing
heavy, so that `proda --help` is quick.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from proda.errors import ProdaError


class SettingsTable(BaseModel):
    """A table of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def without(kind: type[BaseModel], *names: str) -> Any:
    """Return a table with the settings of a class except some, to be used as a base class."""
    fields: Any = {
        name: (field.annotation, field)
        for name, field in kind.model_fields.items()
        if name not in names
    }
    return create_model(f"{kind.__name__}Table", __base__=SettingsTable, **fields)


def setting(
    default: Any,
    description: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> Any:
    """Return a field of a dataclass of settings.

    Parameters
    ----------
    default
        Default value.
    description
        Meaning of the setting: a phrase that ends with a full stop.
    above, at_least, below
        Limits of a number; :func:`check_limits` applies them.
    """
    limits = {"above": above, "at_least": at_least, "below": below}
    kept = {name: limit for name, limit in limits.items() if limit is not None}
    return dataclasses.field(default=default, metadata={"description": description, "limits": kept})


def other(kind: type, name: str, default: Any) -> Any:
    """Return a field of a dataclass of settings with another default than in its base class."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


def check_limits(settings: Any, error: type[ProdaError]) -> None:
    """Refuse values outside the limits of a dataclass of settings; None is always allowed.

    Raises
    ------
    ProdaError
        Of the given class, naming the setting, its value and what is allowed.
    """
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value, limits = getattr(settings, field.name), field.metadata.get("limits", {})
        hint = hints[field.name]
        if get_origin(hint) is Literal and value not in get_args(hint):
            known = ", ".join(get_args(hint))
            raise error(f"{field.name} = {value!r}; choose one of {known}.")
        if value is None or not limits:
            continue
        words, kept = [], []
        if "above" in limits:
            words.append(f"above {limits['above']:g}")
            kept.append(value > limits["above"])
        if "at_least" in limits:
            words.append(f"at least {limits['at_least']:g}")
            kept.append(value >= limits["at_least"])
        if "below" in limits:
            words.append(f"below {limits['below']:g}")
            kept.append(value < limits["below"])
        if not all(kept):
            raise error(f"{field.name} = {value}; it must be {' and '.join(words)}.")


def described(kind: type) -> dict[str, tuple[Any, str]]:
    """Return the default and the meaning of each setting of a class, by name."""
    if issubclass(kind, BaseModel):
        return {n: (f.default, f.description or "") for n, f in kind.model_fields.items()}
    return {
        field.name: (field.default, field.metadata["description"])
        for field in dataclasses.fields(cast(Any, kind))
    }
