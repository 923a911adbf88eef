"""Numbers on the command line: written in digits 0-9, and finite.

Python also accepts 1_000, digits of other scripts, nan, inf, and 1e400 as inf: on a command line
these are typing errors or errors of a script, and are refused.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperGroup

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = 18
"""Maximum number of digits of a whole number, so that it fits 64 bits."""


def whole_number(text: str) -> int:
    """Return a text as a whole number.

    Raises
    ------
    ValueError
        If it is not a whole number, or has too many digits.
    """
    if not _WHOLE.fullmatch(text.strip()) or len(text.strip()) > _DIGITS:
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def number(text: str) -> float:
    """Return a text as a finite number.

    Raises
    ------
    ValueError
        If it is not a number, or is too large.
    """
    if not _NUMBER.fullmatch(text.strip()) or not math.isfinite(float(text)):
        raise ValueError(f"{text!r} is not a finite number")
    return float(text)


class StrictNumbers(TyperGroup):
    """A group of commands whose options take numbers by the rules of this module."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, with strict options."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _make_strict(command)
        return command


def _make_strict(command: Any) -> None:
    """Check the text of each number before it is converted."""
    hints = {} if command.callback is None else get_type_hints(inspect.unwrap(command.callback))
    for parameter in command.params:
        of = {hints.get(parameter.name), *get_args(hints.get(parameter.name))}
        if of & {int, float} and not hasattr(parameter, "is_strict"):
            _check_first(parameter, number if float in of else whole_number)
    for inner in getattr(command, "commands", {}).values():
        _make_strict(inner)


def _check_first(parameter: Any, parse: Callable[[str], float]) -> None:
    handle = parameter.handle_parse_result

    def checked(ctx: Any, opts: Any, args: Any) -> Any:
        given = opts.get(parameter.name)
        for text in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(text, str):
                try:
                    parse(text)
                except ValueError as error:
                    raise typer.BadParameter(f"{error}.", ctx=ctx, param=parameter) from error
        return handle(ctx, opts, args)

    parameter.handle_parse_result, parameter.is_strict = checked, True
