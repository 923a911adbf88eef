"""Find the first fault of a text table line by line, after the parser has failed."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from proda.errors import FileError
from proda.observations.text import FALSE, NO_IDENTIFIER, NULLS, TRUE, Dialect, lines, open_bytes

# A quoted note may be long; Python's own limit of 128 KiB is below what real tables hold.
csv.field_size_limit(1 << 24)


def decode(path: Path, line: bytes, number: int, dialect: Dialect, header: Sequence[str]) -> str:
    """Decode a line, or name the line and column with another encoding."""
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
    n_header: int,
    wanted: Mapping[str, pa.DataType],
    dialect: Dialect,
    identifiers: Sequence[str],
    error: BaseException,
) -> NoReturn:
    """Find the first fault line by line, and report its place."""
    number = n_header
    try:
        with open_bytes(path, None) as raw:
            texts = _decoded_lines(path, raw, dialect, header)
            for _ in range(n_header):
                next(texts)
            for number, fields in _rows(texts, dialect):
                _check_row(path, number, fields, header, wanted, dialect)
                _check_identifiers(path, number, fields, header, identifiers)
        if number == n_header:
            raise FileError(
                f"{path}: contains a header but no rows. Was the export complete?"
            ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as broken:
        raise FileError(
            f"{path}, line {number}, column 1 ({header[0]}): the compressed data end or are "
            f"damaged after this line ({broken}). The file is truncated or damaged; copy it again."
        ) from broken
    except FileError as fault:
        raise fault if str(path) in str(fault) else FileError(f"{path}, {fault}") from fault
    raise FileError(f"{path}: cannot be read ({error}).") from error


def _decoded_lines(
    path: Path, raw: io.BufferedIOBase, dialect: Dialect, header: list[str]
) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines(raw, max(dialect.block_size, 1 << 20)), start=1):
        text = decode(path, line, number, dialect, header)
        if "\0" in text:
            column = text[: text.index("\0")].count(dialect.delimiter) + 1
            name = header[min(column, len(header)) - 1]
            raise FileError(
                f"{path}, line {number}, column {column} ({name}): contains a zero byte; the file "
                "is damaged or is not text."
            )
        if dialect.ends_with_newline and not text.endswith("\n"):
            column = text.count(dialect.delimiter) + 1
            name = header[min(column, len(header)) - 1]
            raise FileError(
                f"{path}, line {number}, column {column} ({name}): the file ends inside this "
                "line. It is truncated; copy it again."
            )
        yield number, text


def _rows(
    texts: Iterator[tuple[int, str]], dialect: Dialect
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield (number of the first line, fields) of every row that is not empty."""
    for number, text in texts:
        parts, is_open = [text], text.count('"') % 2
        while dialect.multiline and is_open and (more := next(texts, None)) is not None:
            parts.append(more[1])
            is_open ^= more[1].count('"') % 2
        row = "".join(parts)
        if row.strip(f'{dialect.delimiter} \t\r\n"'):
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
        why = "The file is truncated here, or a value contains the delimiter or an unclosed quote."
        if len(fields) == len(header) + 1 and not fields[-1].strip():
            why = "It ends with a delimiter; add one to the header too, or remove it."
        raise FileError(
            f"{path}, line {number}, column {column} ({header[column - 1]}): the line has "
            f"{len(fields)} columns where the header has {len(header)}. {why}"
        )
    for position, (name, value) in enumerate(zip(header, fields, strict=True), start=1):
        type_ = wanted.get(name)
        if type_ is None or pa.types.is_string(type_) or value in (*NULLS, *dialect.missing):
            continue
        if not _parses(value, type_, dialect.decimal):
            kind = "a truth value" if pa.types.is_boolean(type_) else "a number"
            raise FileError(
                f"{path}, line {number}, column {position} ({name}): {value!r} is not "
                f"{kind}{_hint(value, kind, dialect)}."
            )


def _hint(value: str, kind: str, dialect: Dialect) -> str:
    """Describe what the value seems to be, if recognised."""
    if kind == "a truth value":
        return f"; use one of {', '.join(TRUE + FALSE)}"
    if not value.isascii() and any(c.isdigit() for c in value):
        return "; only the digits 0-9 are read"
    if "," in value and dialect.decimal == ".":
        return " (a decimal comma?)"
    if "." in value and dialect.decimal != ".":
        return " (a decimal point?)"
    if value.strip()[:1] in "<>" and value.strip():
        return " (a limit of detection? Give a value, or list the text under missing)"
    if not any(c.isdigit() for c in value):
        return (
            ". If the line contains units or explanations, delete it; if the text means no "
            "value, list it under missing"
        )
    return ""


def _check_identifiers(
    path: Path,
    number: int,
    fields: Sequence[str],
    header: list[str],
    identifiers: Sequence[str],
) -> None:
    for position, (name, value) in enumerate(zip(header, fields, strict=True), start=1):
        if name in identifiers and value.strip() in NO_IDENTIFIER:
            raise FileError(
                f"{path}, line {number}, column {position} ({name}): there is no identifier "
                f"({value!r}); fill it in, or delete the line."
            )


def _parses(value: str, type_: pa.DataType, decimal: str) -> bool:
    if pa.types.is_boolean(type_):
        return value in {w for t in TRUE + FALSE for w in (t, t.upper(), t.capitalize())}
    text = value.strip(" \t").replace(decimal, ".") if decimal != "." else value.strip(" \t")
    if "_" in text or not text.isascii() or (decimal != "." and "." in value):
        return False
    try:
        number = float(text)
    except ValueError:
        return False
    return number.is_integer() if pa.types.is_integer(type_) else True
