"""What every reader of a public data set offers."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from proda.errors import FileError, ObservationError
from proda.files import reading
from proda.observations.notes import note
from proda.observations.schema import (
    LAYER_COLUMNS,
    PROFILE_COLUMNS,
    TableColumn,
    conform,
    read_columns,
)
from proda.observations.text import NULLS

Kind = Literal["profiles", "layers", "values"]
OnBytes = Callable[[int], None]

PROFILE_FIELDS = tuple(read_columns(PROFILE_COLUMNS).values())
LAYER_FIELDS = tuple(read_columns(LAYER_COLUMNS).values())
_OF_VALUES = (
    "profile_id",
    "layer_id",
    "bulk_density",
    "bulk_density_basis",
    "coarse",
    "coarse_basis",
    "ph",
    "clay",
    "silt",
    "sand",
)
_RANGES = {
    c.name: c
    for c in (*PROFILE_FIELDS, *LAYER_FIELDS)
    if c.name in ("location_error", "year", "ph", "clay", "silt", "sand")
}
"""Columns that no rule judges."""
VALUE_FIELDS = (
    *(c for c in LAYER_FIELDS if c.name in _OF_VALUES),
    TableColumn("rank", pa.int64(), "1", "the lowest wins"),
)


@dataclass(frozen=True)
class Part:
    """Some rows of a source, in the units of the schema.

    `profiles` and `layers` hold the columns of the schema that are read. `values` are properties
    of layers that lie in another file: `profile_id`, `layer_id`, a `rank` (the lowest wins where
    several files give the same property) and the columns of `VALUE_FIELDS`.
    """

    kind: Kind
    table: pa.Table


class Source(BaseModel, abc.ABC):
    """Settings of one source, and the way to read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Name of the source in all tables; the prefix of its profiles' identifiers.",
    )

    @abc.abstractmethod
    def files(self) -> list[Path]:
        """Return the files that will be read.

        Raises
        ------
        FileError
            If one of them is absent.
        """

    @abc.abstractmethod
    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield all rows, without exception, a bounded number at a time.

        Raises
        ------
        FileError
            Naming file, line and column of the first fault.
        """

    def size(self) -> int:
        """Return the bytes of all files, for progress."""
        return sum(path.stat().st_size for path in self.files())

    def identifiers(self, ids: pa.ChunkedArray, where: str = "") -> pa.ChunkedArray:
        """Return identifiers that are unique over all sources.

        Raises
        ------
        ObservationError
            If a row has none: its layers could belong to any profile.
        """
        text = pc.utf8_trim_whitespace(ids.cast(pa.string()))
        if nameless := pc.sum(pc.equal(pc.fill_null(text, ""), "")).as_py():
            raise ObservationError(
                f"{where or self.name}: {nameless} rows have no profile identifier; fill it in or "
                "leave these rows out."
            )
        return pc.binary_join_element_wise(self.name, text, ":")

    def profiles(self, columns: dict[str, pa.Array | pa.ChunkedArray]) -> Part:
        """Return a part with rows of profiles."""
        table = pa.table({**columns, "source": pa.repeat(self.name, len(columns["profile_id"]))})
        return Part("profiles", conform(_cleaned(table, self.name), PROFILE_FIELDS))


def layers(columns: dict[str, pa.Array | pa.ChunkedArray], source: str = "layers") -> Part:
    """Return a part with rows of layers; `source` is what notes call it."""
    return Part("layers", conform(_cleaned(pa.table(columns), source), LAYER_FIELDS))


def _cleaned(table: pa.Table, source: str) -> pa.Table:
    """Return the table with null for empty texts and for numbers outside a plausible range."""
    for i, name in enumerate(table.column_names):
        column = table.column(i)
        if name in _RANGES and not pa.types.is_null(column.type):
            column = plausible(column, name, source)
            if pa.types.is_integer(_RANGES[name].type) and pa.types.is_floating(column.type):
                column = pc.floor(column)
            table = table.set_column(i, name, column)
        if pa.types.is_string(column.type):
            empty = pc.fill_null(pc.equal(column, ""), False)
            table = table.set_column(i, name, pc.if_else(empty, None, column))
    return table


def known_texts(
    given: pa.ChunkedArray, allowed: Mapping[str, str | bool], where: str
) -> pa.ChunkedArray:
    """Return the meaning of texts from a closed vocabulary; empty ones are null.

    A text that is not in the vocabulary would silently disable rules. Capitals, blanks
    around the text and `_` or `-` for a blank make no difference.

    Parameters
    ----------
    given
        Texts of a column, (row,).
    allowed
        Text in the file -> its meaning.
    where
        File and column, for the error.

    Raises
    ------
    ObservationError
        Naming the unknown texts, the number of their rows, and the allowed ones.
    """
    codes = {_plain(text): meaning for text, meaning in allowed.items()}
    counts = {
        c["values"]: c["counts"] for c in pc.value_counts(given.cast(pa.string())).to_pylist()
    }
    unknown = {
        t: n
        for t, n in counts.items()
        if _plain(t or "") not in codes and t is not None and t.strip() not in NULLS
    }
    if unknown:
        raise ObservationError(
            f"{where}: {', '.join(map(repr, sorted(unknown)[:5]))}"
            f"{', ...' if len(unknown) > 5 else ''} is not known ({sum(unknown.values()):,} rows); "
            f"use one of {', '.join(map(repr, allowed))}."
        )
    meanings = [
        codes.get(_plain(t)) if t is not None else None for t in given.cast(pa.string()).to_pylist()
    ]
    kind = pa.bool_() if any(isinstance(m, bool) for m in allowed.values()) else pa.string()
    return pa.chunked_array([pa.array(meanings, kind)])


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def plausible(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """Return the column with null for values outside the registry's range; a note counts them.

    For quantities that no rule judges (year, pH, texture, location error): there, -99 or 1e308
    would be used as data.
    """
    about = _RANGES[name]
    values = column.cast(pa.float64())
    outside = pc.fill_null(
        pc.or_(pc.less(values, about.lower), pc.greater(values, about.upper)), False
    )
    if n := pc.sum(outside).as_py():
        example = pc.filter(values, outside)[0].as_py()
        note(
            f"{where}: {n:,} values of {name} are outside {about.lower:g} to {about.upper:g} "
            f"{about.unit} (such as {example:g}) and are read as missing."
        )
        column = pc.if_else(outside, pa.scalar(None, column.type), column)
    return column


def year_in(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the first year (1800-2099) in a text such as '{1:1987-??-??}'."""
    matches = pc.extract_regex(text, r"(?P<year>(?:18|19|20)[0-9]{2})")
    return pc.struct_field(matches, "year").cast(pa.int32())


def values(
    columns: dict[str, pa.Array | pa.ChunkedArray], rank: int = 0, source: str = "layers"
) -> Part:
    """Return a part with properties of layers from a file of their own."""
    table = pa.table({**columns, "rank": pa.repeat(rank, len(columns["profile_id"]))})
    return Part("values", conform(_cleaned(table, source), VALUE_FIELDS))


def scaled(values: pa.Array | pa.ChunkedArray, factor: float) -> pa.Array | pa.ChunkedArray:
    """Return the values times a factor, in double precision.

    Single precision goes through its shortest decimal form: 0.1 as float32 is meant as 0.1, not
    as 0.100000001.
    """
    if pa.types.is_float32(values.type):
        values = values.cast(pa.string()).cast(pa.float64())
    product = pc.multiply(values.cast(pa.float64()), factor)
    # 100 cm must be 1 m, not 1.0000000000000002 m, or bounds of neighbours would not meet.
    # Numbers too large for that (1e308) stay as they are: the rules name them.
    small = pc.less(pc.abs(product), 1e6)
    return pc.coalesce(pc.round(pc.if_else(small, product, None), 9), product)


def from_frame(frame: pd.DataFrame) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a data frame as Arrow arrays, NaN as null."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return {name: table.column(name) for name in table.column_names}


def first_valid(columns: list[pa.ChunkedArray]) -> tuple[pa.Array, np.ndarray]:
    """Return the first available value of each row, and the column it came from (or -1)."""
    value = pc.coalesce(*columns)
    origin = np.full(len(columns[0]), -1)
    for i, column in reversed(list(enumerate(columns))):
        origin[pc.is_valid(column).to_numpy()] = i
    return value, origin


def existing(folder: Path, *names: str) -> Path:
    """Return the first of these files that exists in the folder.

    Raises
    ------
    FileError
        If none does.
    """
    for name in names:
        if is_file(folder / name):
            return folder / name
    raise FileError(f"{folder}: contains no {' or '.join(names)}.{_advice(folder)}")


def is_file(path: Path) -> bool:
    """Return whether there is such a file; an impossible file name is an error, too.

    Raises
    ------
    FileError
        If the name is too long or the folder may not be looked into.
    """
    with reading(path, "file", advice="Check the path."):
        return path.is_file()


def _advice(folder: Path) -> str:
    if any(not c.isprintable() for c in str(folder)):
        return (
            " The path contains control characters: in double quotes, TOML reads \\t and \\n in a "
            "Windows path as a tab and a line break. Write it in single quotes."
        )
    return "" if folder.is_dir() else " The folder does not exist."
