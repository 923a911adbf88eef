"""Tables: strict reading, and formatting of numbers."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api import types

from proda.errors import FileError

MOST_ROWS = 120
"""Maximum number of rows of a table in the report; the CSV has all rows."""

MISSING = "–"

LABELS = {
    "q05": "5 %",
    "q25": "25 %",
    "q50": "median",
    "q75": "75 %",
    "q95": "95 %",
    "sd": "standard deviation",
    "rank_rhat": "R-hat",
    "nash_sutcliffe": "NSE",
    "r": "r",
    "p": "p",
    "rmse": "RMSE",
    "r2": "R²",
    "r_log": "r (log)",
    "cSoilAbove1m": "0-100 cm",
    "soc_0_30": "0-30 cm",
    "soc_0_200": "0-200 cm",
    "cSoil": "the whole column",
}
_UNIT = re.compile(r"\b(kg|g|km|m|yr|K|month)(-?[1-4])\b")
_PER = re.compile(r"(?<= )(kg|g|km|m|yr|K)(-[1-4])\b")
_SUPERSCRIPT = str.maketrans("-1234", "⁻¹²³⁴")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that a stage wrote; refuse an incomplete one.

    Raises
    ------
    FileError
        Naming the file, and the line that has too few or too many values.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: the table cannot be read ({error}).") from error
    if not text.endswith("\n"):
        raise FileError(f"{path}: the table is incomplete (no end of line); compute it again.")
    try:
        rows = list(csv.reader(StringIO(text), strict=True))
    except csv.Error as error:
        raise FileError(f"{path}: not a table of comma-separated values ({error}).") from error
    header = rows[0] if rows else []
    if not header:  # pandas writes an empty line for a table without columns
        return pd.DataFrame()
    if len(set(header)) != len(header):
        raise FileError(f"{path}: two columns have the same name ({', '.join(header)}).")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise FileError(
                f"{path}: row {number} has {len(row)} values, the header has {len(header)}; the "
                "table is damaged, compute it again."
            )
    # "NA" is a name (Namibia), and only an empty cell is missing.
    return pd.read_csv(StringIO(text), keep_default_na=False, na_values=[""])


def label(name: str) -> str:
    """Return the label of a column, with exponents of units and without underscores."""
    return units(LABELS.get(name, str(name).replace("_", " ")))


def units(text: str) -> str:
    """Raise the exponents of units: "kg m-2" -> "kg m⁻²"."""
    return _UNIT.sub(_raised, text)


def _raised(match: re.Match[str]) -> str:
    return match[1] + match[2].translate(_SUPERSCRIPT)


def is_number(column: pd.Series) -> bool:
    """Return whether a column is right-aligned."""
    return types.is_numeric_dtype(column) and not types.is_bool_dtype(column)


def cells(column: pd.Series, name: str) -> list[str]:
    """Return the cells of one column as text, with a suitable number of digits.

    Three significant digits of the largest number, at least two of every other; shares in per cent;
    p-values below 0.001 as "< 0.001".
    """
    if types.is_bool_dtype(column):
        return ["yes" if value else "no" for value in column]
    if not is_number(column):
        texts = [MISSING if value is None or value != value else str(value) for value in column]
        pattern = _UNIT if name in ("unit", "units") else _PER
        return [pattern.sub(_raised, text) for text in texts]
    values = column.to_numpy(np.float64, na_value=np.nan)
    if re.search(r"(^|[_ ])share([_ ]|$)", name):
        return [MISSING if np.isnan(v) else f"{v:.1%}".replace("-", "−") for v in values]
    if re.fullmatch(r"p(_?value)?(_.*)?", name):
        return [
            MISSING if np.isnan(v) else "< 0.001" if 0 <= v < 0.001 else _two(v) for v in values
        ]
    finite = values[np.isfinite(values)]
    whole = bool((finite == np.round(finite)).all())
    largest = float(np.abs(finite).max(initial=0.0))
    decimals = 0 if whole or largest == 0 else min(4, max(0, 2 - int(np.floor(np.log10(largest)))))
    plain = "year" in name
    return [_number(v, decimals, plain) for v in values]


def _number(value: float, decimals: int, plain: bool) -> str:
    if np.isnan(value):
        return MISSING
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if plain or value == 0:
        return f"{value:.0f}"
    small = 0 < abs(value) < 10.0 ** (1 - decimals) and value != round(value)
    text = _two(value) if small else f"{value:,.{decimals}f}"
    return text.replace("-", "−")


def _two(value: float) -> str:
    """Return two significant digits, without an exponent where that is legible."""
    if value != 0 and abs(value) < 1e-4:
        mantissa, exponent = f"{value:.1e}".split("e")
        digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa} × 10{digits}".replace("-", "−")
    return np.format_float_positional(float(f"{value:.2g}"), trim="-").replace("-", "−")
