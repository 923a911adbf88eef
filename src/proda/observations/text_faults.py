"""Where the first fault of a text table is: line by line, only once the parser has failed."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

import pyarrow as pa

from proda.errors import FileError
from proda.observations.text import FALSE, NULLS, TRUE, Dialect, open_bytes

# A quoted note may be long; Python's own limit of 128 KiB is below what real tables hold.
csv.field_size_limit(1 << 24)


def decode(path: Path, line: bytes, number: int, dialect: Dialect, header: Sequence[str]) -> str:
    """Decode a line, or say which line and column is of another encoding."""
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


def diagnose(
    path: Path,
    header: list[str],
    wanted: Mapping[str, pa.DataType],
    dialect: Dialect,
    error: BaseException,
) -> NoReturn:
    """Find the first fault line by line, and say where it is."""
    number = 1
    try:
        with open_bytes(path, None) as raw:
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
        text = decode(path, line, number, dialect, header)
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
        if type_ is None or pa.types.is_string(type_) or value in (*NULLS, *dialect.missing):
            continue
        if not _parses(value, type_, dialect.decimal):
            hint = " (a decimal comma?)" if "," in value and dialect.decimal == "." else ""
            raise FileError(
                f"{path}, line {number}, column {position} ({name}): {value!r} is not "
                f"{'a truth value' if pa.types.is_boolean(type_) else 'a number'}{hint}."
            )


def _parses(value: str, type_: pa.DataType, decimal: str) -> bool:
    if pa.types.is_boolean(type_):
        return value in {w for t in TRUE + FALSE for w in (t, t.upper(), t.capitalize())}
    text = value.strip(" \t").replace(decimal, ".") if decimal != "." else value.strip(" \t")
    if "_" in text or (decimal != "." and "." in value):
        return False
    try:
        number = float(text)
    except ValueError:
        return False
    return number.is_integer() if pa.types.is_integer(type_) else True
