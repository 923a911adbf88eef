"""Tables on disk in partitions by profile, so that any number of layers fits in memory.

Files of millions of layers are not sorted by profile, and the properties of one layer lie in
several files. Rows are therefore dealt to partitions by a hash of their profile identifier: one
partition holds all rows of its profiles, from every file, and is small enough to work on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from proda.errors import ObservationError

KEY = "profile_id"
_PENDING_ROWS = 200_000


class Spool:
    """Named tables in partitions, in a temporary folder that goes away at the end."""

    def __init__(self, n_partitions: int, folder: str | Path | None = None) -> None:
        self.n_partitions = n_partitions
        self._folder = tempfile.TemporaryDirectory(prefix=".proda-profiles-", dir=folder)
        self._writers: dict[tuple[str, int], pa.RecordBatchFileWriter] = {}
        self._pending: dict[str, list[pa.Table]] = {}

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()
        self._folder.cleanup()

    def _path(self, name: str, partition: int) -> Path:
        return Path(self._folder.name) / f"{name}-{partition}.arrow"

    def add(self, name: str, table: pa.Table) -> None:
        """Deal rows to their partitions by profile (some wait in memory until `flush`)."""
        waiting = self._pending.setdefault(name, [])
        waiting.append(table)
        if sum(map(len, waiting)) >= _PENDING_ROWS:
            self._deal(name, pa.concat_tables(self._pending.pop(name)))

    def flush(self) -> None:
        """Deal the rows that still wait; call once after the last `add`."""
        for name in list(self._pending):
            self._deal(name, pa.concat_tables(self._pending.pop(name)))

    def _deal(self, name: str, table: pa.Table) -> None:
        keys = table.column(KEY).combine_chunks().dictionary_encode()
        if keys.null_count:
            raise ObservationError(f"{keys.null_count} rows of {name} have no {KEY}.")
        hashes = pd.util.hash_array(keys.dictionary.to_numpy(zero_copy_only=False).astype(object))
        partition = (hashes % self.n_partitions)[keys.indices.to_numpy()]
        order = np.argsort(partition, kind="stable")
        ends = np.cumsum(np.bincount(partition, minlength=self.n_partitions))
        dealt = table.take(pa.array(order))
        start = 0
        for k, end in enumerate(ends.tolist()):
            if end > start:
                self.put(name, k, dealt.slice(start, end - start))
            start = end

    def put(self, name: str, partition: int, table: pa.Table) -> None:
        """Append rows that are known to belong to a partition."""
        writer = self._writers.get((name, partition))
        if writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            writer = pa.ipc.new_file(self._path(name, partition), table.schema, options=options)
            self._writers[name, partition] = writer
        writer.write_table(table)

    def take(self, name: str, partition: int) -> pa.Table | None:
        """Return a partition's rows and forget them; None if there are none."""
        writer = self._writers.pop((name, partition), None)
        if writer is None:
            return None
        writer.close()
        path = self._path(name, partition)
        with pa.OSFile(str(path), "rb") as file:
            table = pa.ipc.open_file(file).read_all()
        path.unlink()
        return table


def not_null(table: pa.Table, name: str) -> pa.Table:
    """Return the rows that have a value in one column."""
    return table.filter(pc.is_valid(table.column(name)))
