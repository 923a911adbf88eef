"""Units as files spell them: one parser for areas, shares, lengths, stocks and fluxes.

`kg m-2`, `kg/m2`, `kg C m^-2`, `t ha-1`, `tonnes/ha`, `m**2` and `%` are read by the same rules, so
that a spelling that one reader understands is understood by all, and anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SECONDS_PER_YEAR = 365 * 86400
"""A year has 365 days, as in CLM."""

Dimensions = tuple[int, int, int]
"""Powers of kg, m and s."""

SHARE: Dimensions = (0, 0, 0)
LENGTH: Dimensions = (0, 1, 0)
AREA: Dimensions = (0, 2, 0)
STOCK: Dimensions = (1, -2, 0)
"""Mass per area."""
FLUX: Dimensions = (1, -2, -1)
"""Mass per area and time."""

_PREFIXES = {
    "P": 1e15,
    "T": 1e12,
    "G": 1e9,
    "M": 1e6,
    "k": 1e3,
    "": 1.0,
    "c": 1e-2,
    "d": 1e-1,
    "m": 1e-3,
}
_BASE: Mapping[str, tuple[float, Dimensions]] = {
    **{p + "g": (f * 1e-3, (1, 0, 0)) for p, f in _PREFIXES.items()},
    **{p + "m": (_PREFIXES[p], LENGTH) for p in ("k", "", "d", "c", "m")},
    **dict.fromkeys(("gram", "grams"), (1e-3, (1, 0, 0))),
    **dict.fromkeys(("kilogram", "kilograms"), (1.0, (1, 0, 0))),
    **dict.fromkeys(("t", "tonne", "tonnes", "megagram", "megagrams"), (1e3, (1, 0, 0))),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), (1.0, LENGTH)),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), (1e-2, LENGTH)),
    **dict.fromkeys(("kilometer", "kilometers", "kilometre", "kilometres"), (1e3, LENGTH)),
    **dict.fromkeys(("ha", "hectare", "hectares"), (1e4, AREA)),
    **dict.fromkeys(("s", "sec", "second", "seconds"), (1.0, (0, 0, 1))),
    **dict.fromkeys(("d", "day", "days"), (86400.0, (0, 0, 1))),
    **dict.fromkeys(("yr", "year", "years", "y", "a"), (float(SECONDS_PER_YEAR), (0, 0, 1))),
    **dict.fromkeys(("%", "percent", "per_cent", "pct"), (0.01, SHARE)),
    **dict.fromkeys(
        ("fraction", "proportion", "unitless", "dimensionless", "none", "ratio"), (1.0, SHARE)
    ),
}
_SUBSTANCE = {"C", "carbon", "Carbon", "SOC", "soc"}
"""What the mass is of, which does not change the number. Carbon dioxide would: it is unknown."""
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_TOKEN = re.compile(r"^([A-Za-z_%]+)([+-]?\d+)?$")


def stated(attrs: Mapping[Any, Any], default: str) -> str:
    """Return the attribute `units` as text, `default` where there is none.

    Damaged or odd files hold lists or numbers there; as text they are units that nobody knows.
    """
    value = attrs.get("units")
    return default if value is None else str(value)


def factor(unit: object, dimensions: Dimensions) -> float | None:
    """Return the factor that brings values in `unit` to kg, m and s.

    Parameters
    ----------
    unit
        As in a file's attribute `units`.
    dimensions
        What the unit must measure.

    Returns
    -------
    None if the unit is not understood, or measures something else.
    """
    parsed = _parse(str(unit))
    return parsed[0] if parsed is not None and parsed[1] == dimensions else None


def _parse(text: str) -> tuple[float, Dimensions] | None:
    text = text.strip().replace("**", "").replace("^", "").replace("{", "").replace("}", "")
    text = text.replace("\N{SUPERSCRIPT TWO}", "2").replace("\N{SUPERSCRIPT MINUS}", "-")
    text = text.replace("\N{SUPERSCRIPT ONE}", "1").replace("\N{MINUS SIGN}", "-")
    text = re.sub(r"\bsquare[ _]?(kilomet\w+|met\w+|k?m)\b", r"\g<1>2", text)
    text = re.sub(r"\bper\b", "/", text)
    text = re.sub(r"[*\N{MIDDLE DOT}_]", " ", text) if text not in _BASE else text
    scale, powers = 1.0, [0, 0, 0]
    for i, part in enumerate(text.split("/")):
        if i and not part.strip():
            return None
        for token in re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])", " ", part).split():
            unit = _token(token)
            if unit is None:
                return None
            # After a slash everything counts below it: kg/m2/yr, but also kg/(m2 yr) without braces
            sign = -1 if i else 1
            scale *= unit[0] ** sign
            powers = [p + sign * q for p, q in zip(powers, unit[1], strict=True)]
    return scale, (powers[0], powers[1], powers[2])


def _token(token: str) -> tuple[float, Dimensions] | None:
    if _NUMBER.match(token):
        return float(token), SHARE
    token = token.strip("()")
    if token in _SUBSTANCE:
        return 1.0, SHARE
    match = _TOKEN.match(token)
    if match is None:
        return None
    name, power = match[1], int(match[2] or 1)
    base = _BASE.get(name)
    if base is None and name.endswith("C") and name[:-1] in _BASE:  # kgC, gC, tC
        base = _BASE[name[:-1]]
        base = base if base[1] == (1, 0, 0) else None
    if base is None:
        return None
    a, b, c = base[1]
    return base[0] ** power, (a * power, b * power, c * power)
