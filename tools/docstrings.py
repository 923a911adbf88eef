"""Docstrings as the API reference needs them: what is returned is often prose, without a type."""

from __future__ import annotations

import re
from typing import Any

import griffe

_RETURNS = re.compile(r"^Returns\n-+\n(.+?)(?=\n\n\S[^\n]*\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":(?:func|class|data|mod|meth):`~?([^`]+)`")


class Prose(griffe.Extension):
    """Set prose under "Returns" below the annotated type, and links as plain code."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is None:
            return
        text = _ROLE.sub(r"`\1`", obj.docstring.value)
        if isinstance(obj, griffe.Function):
            kind = str(obj.returns) if obj.returns is not None else "None"
            text = _RETURNS.sub(lambda found: _below(found, kind), text)
        obj.docstring.value = text


def _below(found: re.Match[str], kind: str) -> str:
    lines = found.group(1).splitlines()
    if any(line.startswith(" ") for line in lines):  # a type of its own, then its description
        return found.group(0)
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    return f"Returns\n-------\n{kind}\n{body}"
