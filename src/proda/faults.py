"""What is wrong with settings, in words of this project instead of the validating library's."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_WORDS: dict[str, str] = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "too_short": "needs at least {min_length}, has {actual_length}",
    "too_long": "may have at most {max_length}, has {actual_length}",
    "string_too_short": "needs at least {min_length} characters",
    "string_too_long": "may have at most {max_length} characters",
    "string_pattern_mismatch": "does not have the form {pattern}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "union_tag_invalid": "{discriminator} is {tag}; use one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "int_from_float": "must be a whole number",
    "date_from_datetime_inexact": "must be a date without a time",
}
"""Kind of fault -> what is said; `{...}` is filled from the fault's context."""
_KINDS = (
    ("int_", "must be a whole number"),
    ("float_", "must be a number"),
    ("decimal_", "must be a number"),
    ("bool_", "must be true or false"),
    ("string_", "must be a text in quotes"),
    ("path_", "must be a path in quotes"),
    ("url_", "is not a valid address"),
    ("date", "is not a valid date"),
    ("time", "is not a valid time"),
    ("tuple_", "must be a list in [ ]"),
    ("list_", "must be a list in [ ]"),
    ("set_", "must be a list in [ ]"),
    ("dict_", "must be a table of settings"),
    ("mapping_", "must be a table of settings"),
    ("model_", "must be a table of settings"),
)
"""Beginning of the kind of fault -> what is said, for values of another type."""
_FORMS = {
    r"^[A-Za-z0-9_.-]+$": "may contain only letters, digits, _, . and -",
    r"^[a-z]+://.+$": "must be an address such as tcp://host:8786",
}
"""Pattern of a text -> the same in words."""
_SHOWN = 60


def say(error: ValidationError, kind: type[BaseModel] | None = None, file: str = "file") -> str:
    """Return all faults of settings, each with its place and the value that was found.

    Parameters
    ----------
    error
        What the library raised.
    kind
        The class of the settings: names near a misspelt one are then offered.
    file
        What the settings as a whole are called.

    Returns
    -------
    str
        Without a full stop at the end.
    """
    messages = []
    entries = error.errors(include_url=False)
    for fault in entries:
        place_of = fault["loc"]
        if fault["type"] == "too_short" and any(
            other["loc"][: len(place_of)] == place_of for other in entries if other is not fault
        ):
            continue  # short only because its wrong members were left out
        place = ".".join(str(part) for part in place_of) or file
        words = _one(dict(fault), kind)
        messages.append(f"{place} {words}" if words == "is missing" else f"{place}: {words}")
    return "; ".join(dict.fromkeys(messages))


def _one(fault: dict[str, Any], kind: type[BaseModel] | None) -> str:
    type_, context = fault["type"], fault.get("ctx", {})
    if type_ == "value_error" or type_ == "assertion_error":
        return str(context.get("error", fault["msg"]))
    if type_ == "missing":
        return "is missing"
    if type_ == "extra_forbidden":
        return f"unknown setting{_near(fault['loc'], kind)}"
    if type_ == "string_pattern_mismatch" and context.get("pattern") in _FORMS:
        words = _FORMS[context["pattern"]]
    elif type_ in _WORDS:
        words = _WORDS[type_].format_map(_Lenient(context))
    else:
        words = next((w for start, w in _KINDS if type_.startswith(start)), "is not valid here")
    return words if type_.startswith(("too_", "union_")) else f"{words} (it is {_value(fault)})"


class _Lenient(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def _value(fault: dict[str, Any]) -> str:
    text = repr(fault.get("input"))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _near(location: tuple[int | str, ...], kind: type[BaseModel] | None) -> str:
    known = _names(location, kind)
    if not known:
        return ""
    near = difflib.get_close_matches(str(location[-1]), known, 1)
    return f"; did you mean {near[0]}" if near else f"; choose one of {', '.join(known)}"


def _names(location: tuple[int | str, ...], kind: type[BaseModel] | None) -> list[str]:
    """Return the names of the settings beside the one at this place."""
    if kind is None:
        return []
    inner: Any = kind
    for part in location[:-1]:
        inner = _inner(inner, str(part))
        if inner is None:
            return []
    fields: Mapping[str, Any] | None = getattr(inner, "model_fields", None)
    return [*fields] if fields else []


def _inner(kind: Any, part: str) -> Any:
    """Return the class of settings that one part of a place leads to, or None."""
    fields = getattr(kind, "model_fields", None)
    if fields is not None and part in fields:
        return _first(fields[part].annotation, lambda t: hasattr(t, "model_fields"))
    return None


def _first(annotation: Any, fits: Callable[[Any], bool]) -> Any:
    """Return the only class inside an annotation that fits, or None."""
    if fits(annotation):
        return annotation
    matches = [inner for a in get_args(annotation) if (inner := _first(a, fits)) is not None]
    return matches[0] if len(matches) == 1 else None
