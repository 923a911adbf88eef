"""How long a classic netCDF file must be: the library reads zeros past the end of a short one.

A truncated netCDF-4 (HDF5) file is refused when it is opened, but a classic one (netCDF-3, the
format of most CESM history files) opens and gives zeros for what is missing. Only the header is
read here; its layout is that of the netCDF classic format specification (versions 1, 2 and 5).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Bytes of a value by type code."""


def missing_bytes(path: str | os.PathLike[str]) -> int:
    """How many bytes a classic netCDF file lacks at its end; 0 for whole and for other files."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3] not in (1, 2, 5):
            return 0
        try:
            return max(0, _Header(file, magic[3]).end() - size)
        except (EOFError, KeyError, IndexError):  # the header itself is cut or damaged
            return max(1, 1 + file.tell() - size)


class _Header:
    """Reads the header of a classic netCDF file in order."""

    def __init__(self, file: BinaryIO, version: int) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.wide = ">q" if version == 5 else ">i"  # counts
        self.offset = ">i" if version == 1 else ">q"

    def count(self) -> int:
        """Read a number of things, which cannot be negative."""
        n = self.number(self.wide)
        if n < 0:
            raise EOFError
        return n

    def number(self, form: str) -> int:
        size = struct.calcsize(form)
        content = self.file.read(size)
        if len(content) < size:
            raise EOFError
        return int(struct.unpack(form, content)[0])

    def skip(self, n: int) -> None:
        """Skip n bytes and the padding to a multiple of 4."""
        n += -n % 4
        if self.file.tell() + n > self.size:  # not read: a damaged count can be of any size
            raise EOFError
        self.file.seek(n, os.SEEK_CUR)

    def name(self) -> None:
        self.skip(self.count())

    def list_length(self) -> int:
        self.number(">i")  # tag
        return self.count()

    def attributes(self) -> None:
        for _ in range(self.list_length()):
            self.name()
            size = _SIZES[self.number(">i")]
            self.skip(size * self.count())

    def end(self) -> int:
        """Offset of the first byte after the last value."""
        records = self.number(self.wide)
        lengths = []
        for _ in range(self.list_length()):
            self.name()
            lengths.append(self.count())  # 0 marks the record dimension
        self.attributes()
        fixed: list[tuple[int, int]] = []
        recorded: list[tuple[int, int]] = []
        for _ in range(self.list_length()):
            self.name()
            dims = [lengths[self.count()] for _ in range(self.count())]
            self.attributes()
            values = _SIZES[self.number(">i")]
            self.number(self.wide)  # the stated size; it wraps around in large files
            begin = self.number(self.offset)
            if begin < 0:
                raise EOFError
            is_record = bool(dims) and dims[0] == 0
            for length in dims[1:] if is_record else dims:
                values *= length
            (recorded if is_record else fixed).append((begin, values))
        ends = [self.file.tell(), *(begin + size for begin, size in fixed)]
        if recorded and records > 0:  # -1: written as a stream, the number is not known
            # One record variable alone is not padded.
            step = recorded[0][1] if len(recorded) == 1 else sum(s + -s % 4 for _, s in recorded)
            ends += [begin + (records - 1) * step + size for begin, size in recorded]
        return max(ends)
