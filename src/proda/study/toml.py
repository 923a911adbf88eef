"""All settings of a study as TOML, including defaults, each with its meaning.

This writer is simpler than tomlkit: files are always written anew and never edited in place, and a
setting without value becomes a comment. `tomllib` reads them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

WIDTH = 92


def as_toml(settings: BaseModel, comments: bool = True) -> str:
    """Write settings with every default.

    Parameters
    ----------
    settings
        Nested pydantic models; paths are written unchanged and must be absolute.
    comments
        Whether to add the meaning of each setting. A setting without value and default is written
        as a comment.

    Returns
    -------
    str
        TOML from which the same settings are read.
    """
    lines: list[str] = []
    for name in type(settings).model_fields:
        lines += [*_table(name, getattr(settings, name), comments), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(name: str, model: BaseModel, comments: bool) -> Iterator[str]:
    yield f"[{name}]"
    later: list[str] = []
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            later += ["", *_table(f"{name}.{key}", value, comments)]
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for entry in value:
                later += ["", f"[{name}.{key}]".replace("[", "[[").replace("]", "]]")]
                later += [
                    f"{k} = {_value(v)}"
                    for k, v in entry.model_dump(mode="json").items()
                    if v is not None
                ]
            continue
        if comments and field.description:
            yield from (f"# {line}" for line in textwrap.wrap(field.description, WIDTH))
        dumped = model.model_dump(mode="json", include={key})[key]
        yield f"# {key} is not set" if dumped is None else f"{key} = {_value(dumped)}"
    yield from later


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, float):
        return repr(value)  # TOML's floats are Python's: 1e-05, inf and nan too
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else json.dumps(name)
