"""Delimited text, streamed: only the needed columns, and errors that say where.

PyArrow parses at full speed. Only when something is wrong is the file read again line by line, to
say which line and which column.
"""

from __future__ import annotations

import codecs
import csv
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from proda.errors import FileError
from proda.observations.text import FALSE, NULLS, TRUE, Checked, Dialect, open_bytes
from proda.observations.text_faults import decode, diagnose

_NAMES = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar", " ": "a blank"}
_READ_ERRORS = (pa.ArrowException, UnicodeError, EOFError, OSError, zlib.error, FileError)


def read_header(path: str | os.PathLike[str], dialect: Dialect) -> list[str]:
    """Return the names in the first line.

    Raises
    ------
    FileError
        If the file is absent, empty, of another encoding, or not text.
    """
    target = Path(path)
    try:
        if len(codecs.encode("\n", dialect.encoding)) != 1:
            raise FileError(f"{target}: {dialect.encoding} is not read; convert it to UTF-8 first.")
    except LookupError as error:
        raise FileError(f"{target}: the encoding {dialect.encoding!r} is not known.") from error
    try:
        with open_bytes(target, None) as raw:
            line = raw.readline(1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{target}: cannot be read ({error}).") from error
    if not line.strip():
        raise FileError(f"{target}, line 1: the file is empty; a header line was expected.")
    text = decode(target, line, 1, dialect, [])
    if "\0" in text:
        raise FileError(
            f"{target}, line 1, column {text[: text.index(chr(0))].count(dialect.delimiter) + 1}: "
            "holds a zero byte; the file is damaged or is not text."
        )
    return next(csv.reader([text.rstrip("\r\n").lstrip("\ufeff")], delimiter=dialect.delimiter))


def read_delimited(
    path: str | os.PathLike[str],
    columns: Mapping[str, pa.DataType],
    dialect: Dialect,
    optional: Sequence[str] = (),
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the wanted columns of a text table, a block at a time.

    Parameters
    ----------
    path
        Text, or text compressed with gzip (ending `.gz`).
    columns
        Wanted columns and their types; the batches hold them in this order.
    dialect
        How the table is written.
    optional
        Wanted columns that may be absent from the file; they are then absent from the batches.
    on_bytes
        Called with the number of bytes read since the last call, for progress.

    Raises
    ------
    FileError
        Naming file, line and column of the first fault: a missing column, a row of another
        length, a text where a number should be, an undecodable byte, a file cut short.
    """
    target = Path(path)
    header = read_header(target, dialect)
    _check_header(target, header, [c for c in columns if c not in set(optional)], dialect)
    wanted = {name: type_ for name, type_ in columns.items() if name in header}
    try:
        with open_bytes(target, on_bytes) as raw:
            reader = pacsv.open_csv(
                pa.PythonFile(Checked(raw, dialect), mode="r"),
                read_options=pacsv.ReadOptions(
                    block_size=dialect.block_size, encoding=dialect.encoding
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=dialect.delimiter, newlines_in_values=dialect.multiline
                ),
                convert_options=pacsv.ConvertOptions(
                    include_columns=list(wanted),
                    column_types=wanted,
                    decimal_point=dialect.decimal,
                    null_values=[*NULLS, *dialect.missing],
                    true_values=[w for t in TRUE for w in (t, t.upper(), t.capitalize())],
                    false_values=[w for t in FALSE for w in (t, t.upper(), t.capitalize())],
                ),
            )
            yield from reader
    except _READ_ERRORS as error:
        diagnose(target, header, wanted, dialect, error)


def _check_header(path: Path, header: list[str], required: list[str], dialect: Dialect) -> None:
    missing = [name for name in required if name not in header]
    twice = sorted({name for name in header if name in required and header.count(name) > 1})
    if twice:
        raise FileError(f"{path}, line 1: the column {', '.join(twice)} stands there twice.")
    if not missing:
        return
    hint = f"It has: {', '.join(header[:12])}{', ...' if len(header) > 12 else ''}."
    if len(header) == 1:
        counts = {d: header[0].count(d) for d in _NAMES if d != dialect.delimiter}
        best = max(counts, key=lambda d: counts[d])
        if counts[best]:
            hint = (
                f"The line holds no {_name(dialect.delimiter)} but {counts[best]} times "
                f"{_name(best)}: the delimiter seems to be {_name(best)}."
            )
    raise FileError(f"{path}, line 1: the column {', '.join(missing)} is missing. {hint}")


def _name(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter)).removeprefix("a ")
