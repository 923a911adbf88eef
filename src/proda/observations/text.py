"""Text tables as bytes: how they are written, and reading them checked and counted."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from proda.errors import FileError

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "#N/A")
"""Texts that mean "no value"."""
TRUE = ("true", "t", "1")
FALSE = ("false", "f", "0")


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


class Checked(io.RawIOBase):
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
        """Tell the parser that it may read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, or raise for a fault in them."""
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


def open_bytes(path: Path, on_bytes: Callable[[int], None] | None) -> IO[bytes]:
    """Open a file, plain or compressed with gzip (ending `.gz`)."""
    if not path.is_file():
        raise FileError(f"{path}: there is no such file.")
    counted = io.BufferedReader(_Counted(path, on_bytes), buffer_size=1 << 20)
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=counted)  # type: ignore[return-value]
    return counted
