"""Tables of sites: a name and a place each, from CSV or Parquet."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from proda import files
from proda.errors import FileError, SiteError

_SITE = ("site", "profile_id", "id")
_LATITUDE = ("latitude", "lat")
_LONGITUDE = ("longitude", "lon")


def read_sites(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the columns site, latitude, longitude of a CSV or Parquet table; one row per site.

    `profile_id` or `id`, and `lat`, `lon` are understood too; other columns are left alone.

    Raises
    ------
    FileError
        If the file is absent or cannot be read.
    SiteError
        If a column is missing, a coordinate is not a number, or a site appears twice.
    """
    target = Path(path)
    if target.is_dir():
        advice = (
            f"; give {target / 'profiles.parquet'}"
            if (target / "profiles.parquet").is_file()
            else ""
        )
        raise FileError(f"{target}: this is a folder; expected a table of sites{advice}.")
    if not target.is_file():
        raise FileError(f"{target}: there is no such file.")
    with files.reading(target, "table", FileError, "Check that it was copied whole."):
        table = pd.read_parquet(target) if target.suffix == ".parquet" else _read_csv(target)
    return as_sites(table, str(target))


def _read_csv(path: Path) -> pd.DataFrame:
    """Read all columns as text; rows of another length than the header are refused.

    Only the empty field is missing: "NA" is a country and may be a site's name. Pandas would take a
    row that has one field too many for one with an index, and shift its columns.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    _check_names(header, str(path))
    table = pacsv.read_csv(
        path,
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return table.to_pandas()


def _check_names(names: Sequence[object], where: str) -> None:
    """Refuse a table that has one of the columns read here more than once."""
    for name in (*_SITE, *_LATITUDE, *_LONGITUDE):
        if (n := list(names).count(name)) > 1:
            raise SiteError(
                f"{where}: the column {name} appears {n} times. Remove or rename all but one."
            )


def as_sites(table: pd.DataFrame, where: str = "sites") -> pd.DataFrame:
    """Take the columns site, latitude, longitude from a table (see :func:`read_sites`)."""
    _check_names(list(table.columns), where)
    chosen = {}
    for ours, names in (("site", _SITE), ("latitude", _LATITUDE), ("longitude", _LONGITUDE)):
        present = [name for name in names if name in table.columns]
        if not present:
            raise SiteError(
                f"{where}: no column {' or '.join(names)}; it has "
                f"{', '.join(map(str, table.columns))}."
            )
        chosen[ours] = table[present[0]]
    sites = pd.DataFrame(chosen).reset_index(drop=True)
    for name in ("latitude", "longitude"):
        if any(isinstance(v, list | tuple | dict | set | np.ndarray) for v in sites[name]):
            raise SiteError(f"{where}: the column {name} holds lists, not numbers.")
        numbers = pd.to_numeric(sites[name], errors="coerce").astype(np.float64)
        if (wrong := numbers.isna() & sites[name].notna()).any():
            first = int(np.argmax(wrong.to_numpy()))
            raise SiteError(
                f"{where}: {name} {sites[name][first]!r} of site {sites['site'][first]} (row "
                f"{first + 1}) is not a number ({int(wrong.sum())} such rows)."
            )
        sites[name] = numbers
    if any(isinstance(v, list | tuple | dict | set | np.ndarray) for v in sites["site"]):
        raise SiteError(f"{where}: the column of sites holds lists, not names.")
    if sites["site"].isna().any():
        raise SiteError(f"{where}: {int(sites['site'].isna().sum())} rows have no site name.")
    if (twice := sites["site"].duplicated()).any():
        raise SiteError(
            f"{where}: site {sites['site'][twice].iloc[0]} appears more than once "
            f"({int(twice.sum())} repeated rows); give each site one row."
        )
    return sites
