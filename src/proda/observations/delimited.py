"""Delimited text, streamed: only the needed columns, and errors that say where.

PyArrow parses at full speed. Only when something is wrong is the file read again line by line, to
say which line and which column.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import pyarrow as pa
import pyarrow.csv as pacsv

from proda.errors import FileError

_NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "#N/A")
_TRUE = ("true", "t", "1")
_FALSE = ("false", "f", "0")
_NAMES = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar", " ": "a blank"}
_READ_ERRORS = (pa.ArrowException, UnicodeError, EOFError, OSError, zlib.error, FileError)

# A quoted note may be long; Python's own limit of 128 KiB is below what real tables hold.
csv.field_size_limit(1 << 24)


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Parameters
    ----------
    delimiter, decimal, encoding
        Field separator, decimal point, character encoding.
    missing
        Texts that mean "no value" in a numeric column, besides the empty text and NA.
    multiline
        Whether quoted values may hold line breaks.
    ends_with_newline
        Whether the writer always ends the last line; then a file that does not was cut.
    block_size
        Bytes parsed at a time, which bounds the memory.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    multiline: bool = False
    ends_with_newline: bool = False
    block_size: int = 8 << 20


class _Checked(io.RawIOBase):
    """Bytes on their way to the parser, checked for what the parser does not look at.

    The parser checks the encoding of the columns it returns only, and takes a missing last line
    break and zero bytes for granted.
    """

    def __init__(self, raw: IO[bytes], dialect: Dialect) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(dialect.encoding)(errors="strict")
        self._ends_with_newline = dialect.ends_with_newline
        self._last = b"\n"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self._decoder.decode(data, final=not data)
        if b"\0" in data:
            raise FileError("zero byte")
        if data:
            self._last = data[-1:]
        elif self._ends_with_newline and self._last != b"\n":
            raise FileError("the last line is cut")
        return data


class _Counted(io.RawIOBase):
    """A file that reports how many bytes were read, compressed as they are on disk."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None] | None) -> None:
        self._file = path.open("rb")
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        n = self._file.readinto(buffer)
        if self._on_bytes is not None and n:
            self._on_bytes(n)
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


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
        with _open(target, None) as raw:
            line = raw.readline(1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{target}: cannot be read ({error}).") from error
    if not line.strip():
        raise FileError(f"{target}, line 1: the file is empty; a header line was expected.")
    text = _decode(target, line, 1, dialect, [])
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
        with _open(target, on_bytes) as raw:
            reader = pacsv.open_csv(
                pa.PythonFile(_Checked(raw, dialect), mode="r"),
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
                    null_values=[*_NULLS, *dialect.missing],
                    true_values=[w for t in _TRUE for w in (t, t.upper(), t.capitalize())],
                    false_values=[w for t in _FALSE for w in (t, t.upper(), t.capitalize())],
                ),
            )
            yield from reader
    except _READ_ERRORS as error:
        _diagnose(target, header, wanted, dialect, error)


def _open(path: Path, on_bytes: Callable[[int], None] | None) -> IO[bytes]:
    if not path.is_file():
        raise FileError(f"{path}: there is no such file.")
    counted = io.BufferedReader(_Counted(path, on_bytes), buffer_size=1 << 20)
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=counted)  # type: ignore[return-value]
    return counted


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


def _decode(path: Path, line: bytes, number: int, dialect: Dialect, header: Sequence[str]) -> str:
    try:
        return line.decode(dialect.encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        column = line[:start].count(dialect.delimiter.encode()) + 1
        name = f" ({header[column - 1]})" if column <= len(header) else ""
        raise FileError(
            f"{path}, line {number}, column {column}{name}: byte 0x{line[start]:02x} is not "
            f"{dialect.encoding}. Give the table's encoding (often latin-1), or convert the file "
            "to UTF-8."
        ) from error


def _diagnose(
    path: Path,
    header: list[str],
    wanted: Mapping[str, pa.DataType],
    dialect: Dialect,
    error: BaseException,
) -> NoReturn:
    """Find the first fault line by line, and say where it is."""
    number = 1
    try:
        with _open(path, None) as raw:
            lines = _decoded_lines(path, raw, dialect, header)
            next(lines)
            for number, fields in _rows(lines, dialect):
                _check_row(path, number, fields, header, wanted, dialect)
    except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as broken:
        raise FileError(
            f"{path}, line {number}, column 1 ({header[0]}): the compressed data end or break "
            f"after this line ({broken}). The file was cut or damaged; fetch it again."
        ) from broken
    raise FileError(f"{path}: cannot be read ({error}).") from error


def _decoded_lines(
    path: Path, raw: IO[bytes], dialect: Dialect, header: list[str]
) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(raw, start=1):
        text = _decode(path, line, number, dialect, header)
        if "\0" in text:
            column = text[: text.index("\0")].count(dialect.delimiter) + 1
            name = header[min(column, len(header)) - 1]
            raise FileError(
                f"{path}, line {number}, column {column} ({name}): holds a zero byte; the file "
                "is damaged or is not text."
            )
        if dialect.ends_with_newline and not text.endswith("\n"):
            column = text.count(dialect.delimiter) + 1
            name = header[min(column, len(header)) - 1]
            raise FileError(
                f"{path}, line {number}, column {column} ({name}): the file ends inside this "
                "line. It was cut; fetch it again."
            )
        yield number, text


def _rows(
    lines: Iterator[tuple[int, str]], dialect: Dialect
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield (number of the first line, fields) of every row that is not empty."""
    for number, text in lines:
        parts, is_open = [text], text.count('"') % 2
        while dialect.multiline and is_open and (more := next(lines, None)) is not None:
            parts.append(more[1])
            is_open ^= more[1].count('"') % 2
        row = "".join(parts)
        if row.strip("\r\n"):
            yield number, next(csv.reader(io.StringIO(row), delimiter=dialect.delimiter))


def _check_row(
    path: Path,
    number: int,
    fields: Sequence[str],
    header: list[str],
    wanted: Mapping[str, pa.DataType],
    dialect: Dialect,
) -> None:
    if len(fields) != len(header):
        column = min(len(fields), len(header))
        raise FileError(
            f"{path}, line {number}, column {column} ({header[column - 1]}): the line has "
            f"{len(fields)} columns where the header has {len(header)}. The file was cut here, "
            "or a value holds the delimiter or an unclosed quote."
        )
    for position, (name, value) in enumerate(zip(header, fields, strict=True), start=1):
        type_ = wanted.get(name)
        if type_ is None or pa.types.is_string(type_) or value in (*_NULLS, *dialect.missing):
            continue
        if not _parses(value, type_, dialect.decimal):
            hint = " (a decimal comma?)" if "," in value and dialect.decimal == "." else ""
            raise FileError(
                f"{path}, line {number}, column {position} ({name}): {value!r} is not "
                f"{'a truth value' if pa.types.is_boolean(type_) else 'a number'}{hint}."
            )


def _parses(value: str, type_: pa.DataType, decimal: str) -> bool:
    if pa.types.is_boolean(type_):
        return value in {w for t in _TRUE + _FALSE for w in (t, t.upper(), t.capitalize())}
    text = value.strip(" \t").replace(decimal, ".") if decimal != "." else value.strip(" \t")
    if "_" in text or (decimal != "." and "." in value):
        return False
    try:
        number = float(text)
    except ValueError:
        return False
    return number.is_integer() if pa.types.is_integer(type_) else True
