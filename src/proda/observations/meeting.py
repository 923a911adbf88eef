"""Find identifiers of two tables that do not match although they mean the same."""

from __future__ import annotations

import re
from collections.abc import Iterable


def notes(profiles: Iterable[str], layers: Iterable[str]) -> list[str]:
    """Return a note on profiles without layers and layers without a profile, if there are both.

    Parameters
    ----------
    profiles, layers
        Identifiers (with the source's prefix) that occur in only one of the two tables.
    """
    by_form: dict[str, str] = {}
    for name in profiles:
        by_form.setdefault(_form(name), name)
    if not by_form:
        return []
    others = list(layers)
    pairs = [(by_form[_form(name)], name) for name in others if _form(name) in by_form]
    if pairs:
        some = "; ".join(f"{a!r} and {b!r}" for a, b in pairs[:3])
        return [
            f"{len(pairs):,} identifiers differ between the tables of profiles and of layers "
            "only in "
            f"form and so do not match, such as {some}. Write them identically in both tables."
        ]
    if others:
        return [
            f"Profiles without layers (such as {next(iter(by_form.values()))!r}) and layers "
            f"without a profile (such as {others[0]!r}) both occur: do the two tables use the "
            "same identifiers?"
        ]
    return []


def _form(name: str) -> str:
    """Return the part of an identifier that remains when other programs have rewritten it."""
    source, _, own = name.partition(":")
    own = re.sub(r"[\s\0]+", "", own).strip("\"'").casefold()
    own = re.sub(r"^(-?\d+)\.0*$", r"\1", own)
    own = re.sub(r"^0+(?=\d)", "", own)
    return f"{source}:{re.sub(r'[^0-9a-z]+', '', own) or own}"
