"""Build the tables from the sources: all tables are written, or none.

The tables are finished under temporary names before the first is renamed, and `summary.json`, which
holds their checksums, is renamed last: if the machine stops in between, `summary.verify` detects
that the files are not from one build.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from proda.checksums import file_digest
from proda.errors import FileError
from proda.files import whole_file
from proda.observations.build_steps import Report, Work
from proda.observations.build_summary import Summary
from proda.observations.land import open_land_mask
from proda.observations.profile_settings import ProfileSettings
from proda.observations.schema import (
    LAYER_COLUMNS,
    PROFILE_COLUMNS,
    REJECTED_COLUMNS,
    TableColumn,
    parquet_writer,
)

_COLUMNS: dict[str, tuple[TableColumn, ...]] = {
    "profiles": PROFILE_COLUMNS,
    "layers": LAYER_COLUMNS,
    "rejected": REJECTED_COLUMNS,
}


def build(
    settings: ProfileSettings,
    out: str | os.PathLike[str] | None,
    report: Report | None = None,
) -> Summary:
    """Read all sources, apply all rules, and write the accepted and the rejected profiles.

    Parameters
    ----------
    settings
        Sources and rules.
    out
        Folder for profiles.parquet, layers.parquet, rejected.parquet and summary.json, created
        if absent; None only counts.
    report
        Called with the progress.

    Returns
    -------
    Summary
        Counts by source and reason, and the pedotransfer functions.

    Raises
    ------
    ProdaError
        If a source cannot be read, or counts do not add up (an error in this package).
    """
    report = report or (lambda *_: None)
    size = sum(source.size() for source in settings.source)
    land = None
    if settings.land_mask is not None:
        land = open_land_mask(
            settings.land_mask, settings.land_mask_variable, settings.rules.coast_tolerance
        )
    if out is None:
        return Work(settings, land, {}, report).run(size)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as files:
            last = files.enter_context(whole_file(folder / "summary.json"))
            paths = {
                name: files.enter_context(whole_file(folder / f"{name}.parquet"))
                for name in _COLUMNS
            }
            with contextlib.ExitStack() as tables:
                writers = {
                    name: tables.enter_context(parquet_writer(path, _COLUMNS[name]))
                    for name, path in paths.items()
                }
                summary = Work(settings, land, writers, report).run(size)
            summary.tables = {f"{name}.parquet": file_digest(p) for name, p in paths.items()}
            last.write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
            return summary
    except OSError as error:
        raise FileError(f"{folder}: writing failed ({error}); nothing was written.") from error
