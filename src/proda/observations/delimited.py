"""Delimited text, streamed: only the needed columns are read, and errors name line and column.

PyArrow parses the file. Only after an error is the file read again, line by line, to find the line
and the column.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from proda.errors import FileError
from proda.observations.notes import note
from proda.observations.text import (
    FALSE,
    NO_IDENTIFIER,
    NULLS,
    TRUE,
    Checked,
    Dialect,
    lines,
    open_bytes,
)
from proda.observations.text_faults import decode, diagnose

_NAMES = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar", " ": "a blank"}
_READ_ERRORS = (
    pa.ArrowException,
    UnicodeError,
    EOFError,
    OSError,
    zlib.error,
    FileError,
    OverflowError,
)
_CODES = (-999.0, -999.9, -9999.0, -9999.9, -99999.0, -999999.0, -1e20, -1e30)
"""Numbers that mean "no value" in a column of any quantity."""
_HEADER_LINES = 100
Row = Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """The names of a table's columns, and the number of lines before its first row."""

    names: list[str]
    n_lines: int


def read_header(path: str | os.PathLike[str], dialect: Dialect) -> list[str]:
    """Return the names of the columns.

    Raises
    ------
    FileError
        If the file is absent, empty, of another encoding, or not text.
    """
    return _header(Path(path), dialect, None).names


def _header(path: Path, dialect: Dialect, is_description: Callable[[Row], bool] | None) -> Header:
    try:
        if len(codecs.encode("\n", dialect.encoding)) != 1:
            raise FileError(
                f"{path}: {dialect.encoding} is not supported; convert it to UTF-8 first."
            )
    except LookupError as error:
        raise FileError(f"{path}: unknown encoding {dialect.encoding!r}.") from error
    try:
        with open_bytes(path, None) as raw:
            return _first_lines(
                path, dialect, _texts(path, lines(raw, 1 << 20), dialect), is_description
            )
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: cannot be read ({error}).") from error
    except FileError as error:
        raise error if str(path) in str(error) else FileError(f"{path}, {error}") from error


def _texts(path: Path, raw: Iterator[bytes], dialect: Dialect) -> Iterator[str]:
    """Decode lines that may belong to the header."""
    for number, line in enumerate(raw, start=1):
        if number == 1 and line.startswith(codecs.BOM_UTF8):
            if codecs.lookup(dialect.encoding).name not in ("utf-8", "utf-8-sig"):
                raise FileError(
                    f"{path}, line 1: starts with the byte order mark of UTF-8, but the settings "
                    f'say {dialect.encoding}. Give encoding = "utf-8".'
                )
            line = line.removeprefix(codecs.BOM_UTF8)
        text = decode(path, line, number, dialect, [])
        if "\0" in text:
            column = text[: text.index("\0")].count(dialect.delimiter) + 1
            raise FileError(
                f"{path}, line {number}, column {column}: contains a zero byte; the file is "
                "damaged or is not text."
            )
        yield text


def _first_lines(
    path: Path,
    dialect: Dialect,
    texts: Iterator[str],
    is_description: Callable[[Row], bool] | None,
) -> Header:
    text, n = next(texts, ""), 1
    if not text:
        raise FileError(f"{path}, line 1: the file is empty; a header line was expected.")
    if declared := re.fullmatch(r'"?sep=(.)"?\s*', text, re.IGNORECASE | re.DOTALL):
        if declared[1] != dialect.delimiter:
            raise FileError(
                f"{path}, line 1: states that the delimiter is {declared[1]!r}, but it is read "
                f"with {dialect.delimiter!r}. Give delimiter = {declared[1]!r}."
            )
        text, n = next(texts, ""), 2
    while not text.strip(f'{dialect.delimiter} \t\r\n"'):
        if not text or n >= _HEADER_LINES:
            raise FileError(f"{path}, line {n}: the file is empty; a header line was expected.")
        text, n = next(texts, ""), n + 1
    while dialect.multiline and text.count('"') % 2 and n < _HEADER_LINES:
        if not (more := next(texts, "")):
            break
        text, n = text + more, n + 1
    names = _fields(text, dialect)
    while is_description is not None and n < _HEADER_LINES:
        following = next(texts, "")
        fields = _fields(following, dialect) if following.strip() else []
        if not is_description(dict(zip((x.strip() for x in names), fields, strict=False))):
            break
        n += 1
    return Header(names, n)


def _fields(text: str, dialect: Dialect) -> list[str]:
    return next(csv.reader([text.rstrip("\r\n")], delimiter=dialect.delimiter), [])


def read_delimited(
    path: str | os.PathLike[str],
    columns: Mapping[str, pa.DataType],
    dialect: Dialect,
    optional: Sequence[str] = (),
    on_bytes: Callable[[int], None] | None = None,
    identifiers: Sequence[str] = (),
    is_description: Callable[[Row], bool] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the wanted columns of a text table, a block at a time.

    Blanks around texts and names are left out. Numbers that conventionally mean "no value" (-999,
    -9999, ...) become null, and a note reports them.

    Parameters
    ----------
    path
        Text, or text compressed with gzip.
    columns
        Wanted columns and their types; the batches have them in this order.
    dialect
        Format of the table.
    optional
        Wanted columns that may be absent from the file; they are then absent from the batches.
    on_bytes
        Called with the number of bytes read since the last call, for progress.
    identifiers
        Wanted columns of text that every row must fill in.
    is_description
        Recognises rows of explanations under the header, which some templates have, by their
        values.

    Raises
    ------
    FileError
        Naming file, line and column of the first fault: a missing column, a row of another
        length, a text where a number should be, an undecodable byte, a file cut short, a table
        without rows.
    """
    target = Path(path)
    header = _header(target, dialect, is_description)
    names = [n if n in columns else n.strip() for n in header.names]
    _check_header(target, names, columns, set(optional), dialect)
    wanted = {name: type_ for name, type_ in columns.items() if name in names}
    try:
        with open_bytes(target, on_bytes) as raw:
            checked = Checked(target, raw, dialect, skip=header.n_lines)
            yield from _batches(target, checked, names, wanted, dialect, identifiers)
            checked.say()
    except _READ_ERRORS as error:
        diagnose(target, names, header.n_lines, wanted, dialect, identifiers, error)


def _batches(
    path: Path,
    checked: Checked,
    names: list[str],
    wanted: Mapping[str, pa.DataType],
    dialect: Dialect,
    identifiers: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    reader = pacsv.open_csv(
        pa.PythonFile(checked, mode="r"),
        read_options=pacsv.ReadOptions(
            block_size=dialect.block_size,
            encoding=dialect.encoding,
            # Names that are not wanted may repeat, be empty, or be those of wanted ones elsewhere.
            column_names=[n if n in wanted else f"\0{i}" for i, n in enumerate(names)],
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=dialect.multiline
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=list(wanted),
            column_types=dict(wanted),
            decimal_point=dialect.decimal,
            null_values=[*NULLS, *dialect.missing],
            true_values=[w for t in TRUE for w in (t, t.upper(), t.capitalize())],
            false_values=[w for t in FALSE for w in (t, t.upper(), t.capitalize())],
        ),
    )
    codes: dict[tuple[str, float], int] = {}
    n_rows = 0
    for batch in reader:
        n_rows += len(batch)
        yield _cleaned(batch, identifiers, codes)
    if not n_rows:
        raise FileError("no rows")
    for (name, code), n in codes.items():
        note(f"{path}: column {name}: {n:,} values of {code:g} are read as missing.")


def _cleaned(
    batch: pa.RecordBatch, identifiers: Sequence[str], codes: dict[tuple[str, float], int]
) -> pa.RecordBatch:
    """Return the batch without blanks around texts and without codes of missing values."""
    arrays = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_string(column.type):
            column = pc.utf8_trim_whitespace(column)
            if name in identifiers and pc.any(pc.is_in(column, pa.array(NO_IDENTIFIER))).as_py():
                raise FileError("no identifier")
        elif pa.types.is_floating(column.type):
            numbers = column.to_numpy(zero_copy_only=False)
            if (coded := np.isin(numbers, _CODES)).any():
                for code, n in zip(*np.unique(numbers[coded], return_counts=True), strict=True):
                    codes[name, float(code)] = codes.get((name, float(code)), 0) + int(n)
                column = pc.if_else(pa.array(coded), pa.scalar(None, column.type), column)
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _check_header(
    path: Path,
    header: list[str],
    columns: Mapping[str, pa.DataType],
    optional: set[str],
    dialect: Dialect,
) -> None:
    missing = [name for name in columns if name not in header and name not in optional]
    twice = sorted({name for name in header if name in columns and header.count(name) > 1})
    if twice:
        raise FileError(
            f"{path}, line 1: the column {', '.join(twice)} appears twice. Rename or delete "
            "one of them."
        )
    if not missing:
        return
    hint = f"It has: {', '.join(header[:12])}{', ...' if len(header) > 12 else ''}."
    if len(header) == 1:
        counts = {d: header[0].count(d) for d in _NAMES if d != dialect.delimiter}
        best = max(counts, key=lambda d: counts[d])
        if counts[best]:
            hint = (
                f"The line contains no {_name(dialect.delimiter)} but {counts[best]} times "
                f"{_name(best)}: the delimiter seems to be {_name(best)}."
            )
    near = [
        f"{own!r} for {name!r}" for name in missing for own in header if _plain(own) == _plain(name)
    ]
    if near:
        hint += f" It has {', '.join(near)}: names must be the same, including case."
    raise FileError(f"{path}, line 1: the column {', '.join(missing)} is missing. {hint}")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _name(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter)).removeprefix("a ")
