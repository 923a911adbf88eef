"""Text tables as bytes: their format, and reading them with checks, corrections and counts."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proda.errors import FileError
from proda.files import reading
from proda.observations.notes import note

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "#N/A")
"""Texts that mean "no value"."""
NO_IDENTIFIER = tuple(text for text in NULLS if text != "NA")
"""Texts that cannot be identifiers; NA is a valid name."""
TRUE = ("true", "t", "1")
FALSE = ("false", "f", "0")

_KINDS = (
    (b"PK\x03\x04", "a spreadsheet workbook or another zip file. Save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls). Save the sheet as CSV"),
    (b"PAR1", "a Parquet file. Export it as CSV, or read pooled tables with the reader tidy"),
    (b"\x89HDF", "an HDF5 or netCDF file. Export the table as CSV"),
    (b"CDF", "a netCDF file. Export the table as CSV"),
    (b"SQLite format 3", "an SQLite database. Export the table as CSV"),
    (b"%PDF", "a PDF document. Export the table as CSV"),
    (b"BZh", "compressed with bzip2. Unpack it, or compress it with gzip"),
    (b"\xfd7zXZ\x00", "compressed with xz. Unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd. Unpack it, or compress it with gzip"),
    (b"\xff\xfe", 'UTF-16 text (Excel\'s "Unicode Text"). Save it as CSV UTF-8'),
    (b"\xfe\xff", 'UTF-16 text (Excel\'s "Unicode Text"). Save it as CSV UTF-8'),
)
"""First bytes of files that are not delimited text -> format and remedy."""
_HTML = re.compile(rb"\s*<(!doctype|html|table|head|meta|\?xml)", re.IGNORECASE)
_MARK = codecs.BOM_UTF8


@dataclass(frozen=True)
class Dialect:
    """Format of a text table.

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
        Bytes parsed at a time, which bounds the memory; no line may be longer.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    multiline: bool = False
    ends_with_newline: bool = False
    block_size: int = 8 << 20


class Checked(io.RawIOBase):
    """Bytes for the parser, made uniform and with the checks that the parser lacks.

    Lines end with a line feed, whatever the file has (CR LF, or CR alone as spreadsheets of old
    write); rows that contain only delimiters, which spreadsheets append, become empty lines. The
    parser checks the encoding only of the columns that it returns, accepts a missing last line
    break and zero bytes, and would collect an endless line in memory.

    Parameters
    ----------
    path
        The file's name, for notes.
    raw
        The file, from its first byte.
    dialect
        How it is written.
    skip
        Lines to skip at the beginning: the header.
    """

    def __init__(self, path: Path, raw: io.BufferedIOBase, dialect: Dialect, skip: int = 0) -> None:
        self._path, self._raw, self._dialect, self._skip = path, raw, dialect, skip
        self._decoder = codecs.getincrementaldecoder(dialect.encoding)(errors="strict")
        blank = re.escape(dialect.delimiter.encode(dialect.encoding))
        self._blank_row = re.compile(rb"\n(?:" + blank + rb'|[ \t]|"")+(?=\n)')
        self._ready, self._pending = b"", b""
        self._ended = False
        # A thread of the parser reads here; the caller records the notes at the end.
        self.n_blank = 0
        self.unfinished: str | None = None

    def readable(self) -> bool:
        """Return that the parser may read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, or raise for a fault in them."""
        while not self._ended and (size < 0 or len(self._ready) < size):
            self._take(self._raw.read(max(size, 1 << 16)))
        size = len(self._ready) if size < 0 else size
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _take(self, data: bytes) -> None:
        """Add complete lines to the output; hold back the unfinished one."""
        self._decoder.decode(data, final=not data)
        if b"\0" in data:
            raise FileError("zero byte")
        text = self._pending + data
        if not data:
            self._ended = True
            if text and text[-1:] not in b"\r\n":
                if self._dialect.ends_with_newline:
                    raise FileError("the last line is truncated")
                self._remember_end(text)
                text += b"\n"
        elif text.endswith(b"\r"):  # its line feed may follow
            self._pending = text
            return
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = text.rfind(b"\n") + 1
        whole, self._pending = text[:end], text[end:]
        if len(self._pending) > self._dialect.block_size:
            raise FileError("line too long")
        self._add(whole)

    def _add(self, whole: bytes) -> None:
        while self._skip and whole:
            self._skip -= 1
            whole = whole[whole.find(b"\n") + 1 :]
        if whole:
            cleaned, n = self._blank_row.subn(b"\n", b"\n" + whole)
            self.n_blank += n
            self._ready += cleaned[1:]

    def _remember_end(self, text: bytes) -> None:
        last = re.split(rb"[\r\n]", text)[-1].decode(self._dialect.encoding, "replace")
        self.unfinished = last.split(self._dialect.delimiter)[-1][:40]

    def say(self) -> None:
        """Record the warnings after reading."""
        if self.n_blank:
            note(f"{self._path}: {self.n_blank:,} rows without any value were skipped.")
        if self.unfinished is not None:
            note(
                f"{self._path}: the last line has no line ending. If the file was truncated "
                "there, its "
                f"last value {self.unfinished!r} is incomplete: compare it with the original."
            )


def lines(raw: io.BufferedIOBase, limit: int) -> Iterator[bytes]:
    """Yield lines, ended by a line feed whatever the file has, none longer than about `limit`.

    Raises
    ------
    FileError
        Giving only the number of a line that is too long.
    """
    pending, number = b"", 0
    while True:
        data = raw.read1(1 << 16)  # of damaged gzip data this returns the part before the damage
        text = pending + data
        if data and text.endswith(b"\r"):
            pending = text
            continue
        whole = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pending = whole.pop()
        for line in whole:
            number += 1
            yield line + b"\n"
        if len(pending) > limit:
            raise FileError(
                f"line {number + 1}: the line is longer than {limit:,} bytes; no table "
                "has such lines. The file is damaged or is not text."
            )
        if not data:
            if pending:
                yield pending
            return


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


def open_bytes(path: Path, on_bytes: Callable[[int], None] | None) -> io.BufferedIOBase:
    """Open a file, plain or compressed with gzip (told by its ending `.gz` or its first bytes).

    Raises
    ------
    FileError
        If it is absent, may not be read, or is recognised as something other than text.
    """
    with reading(path, "text table"):
        if not path.is_file():
            raise FileError(f"{path}: there is no such file.")
        counted = io.BufferedReader(_Counted(path, on_bytes), buffer_size=1 << 20)
        start = counted.peek(64)[:64]
    for beginning, what in _KINDS:
        if start.startswith(beginning):
            counted.close()
            raise FileError(f"{path}: this is {what}.")
    if _HTML.match(start.removeprefix(_MARK)):
        counted.close()
        raise FileError(
            f"{path}: this is an HTML or XML page, not delimited text (the download may have "
            "returned an error page). Save or export the table as CSV."
        )
    if path.suffix == ".gz" or start.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=counted)
    return counted
