"""From a source to the table of a stream at the sites of a build of profiles, and back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from proda import files
from proda.checksums import file_digest
from proda.errors import FileError, ObservationError
from proda.observations.build_summary import read_build
from proda.places import half_degree_cell
from proda.streams.registry import STREAMS
from proda.streams.stream import KEPT, Rows, Stream

TABLE, REJECTED, SUMMARY = "values.parquet", "rejected.parquet", "summary.json"
NO_SITE = "no_site"


class Made(BaseModel):
    """What `summary.json` of a table holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    proda: str
    stream: str
    settings: dict[str, Any]
    source: str
    profiles: str
    counts: dict[str, int]
    """Rows by reason; they add up to those read."""
    sites: int
    matched: dict[str, int]
    """Rows kept by how they were matched: the same profile, or the same cell."""
    table: str
    """SHA-256 of the table."""


def build(
    stream: Stream,
    source: str | os.PathLike[str],
    profiles: str | os.PathLike[str],
    output: str | os.PathLike[str],
) -> Made:
    """Read a source, judge its rows, match them to sites and write the table of the stream.

    Parameters
    ----------
    stream
        With the settings that the table is made with.
    source
        One of the formats of `stream.sources`.
    profiles
        Folder of `proda profiles build`: its kept profiles are the sites.
    output
        Folder to write, created if absent.

    Raises
    ------
    ObservationError
        If the source is of another format, or no row is kept.
    """
    rows = _judged(stream, source, profiles)
    kept = rows.kept
    counts = {str(k): int(n) for k, n in rows.reason.value_counts().items()}
    if kept.empty:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in counts.items())
        raise ObservationError(
            f"{source}: no value of {stream.title} is kept ({reasons}). The usual causes are wrong "
            "units and profiles of other places."
        )
    extras = stream.extras(kept)
    kept = kept.assign(**{f"extra_{k}": extras[:, k] for k in range(extras.shape[1])})
    order = ["site", "upper", "lower", "year"]
    kept = kept.sort_values(order, kind="stable", ignore_index=True)
    left_out = rows.table.assign(reason=rows.reason)[rows.reason != KEPT]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_parquet(kept, folder / TABLE)
    files.write_parquet(left_out, folder / REJECTED)
    ordered = (*stream.reasons, NO_SITE, KEPT)
    made = Made(
        proda=version("proda"),
        stream=stream.name,
        settings=stream.settings,
        source=str(Path(source).absolute()),
        profiles=str(Path(profiles).absolute()),
        counts={name: counts[name] for name in ordered if name in counts},
        sites=int(kept["site"].nunique()),
        matched={str(k): int(n) for k, n in kept["matched"].value_counts().items()},
        table=file_digest(folder / TABLE),
    )
    if sum(made.counts.values()) != len(rows.table):
        raise AssertionError("a row has no fate, or two")
    with files.whole_file(folder / SUMMARY) as temporary:
        temporary.write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return made


def _judged(
    stream: Stream, source: str | os.PathLike[str], profiles: str | os.PathLike[str]
) -> Rows:
    """Read the rows of a source, judge them and match them to sites."""
    rows = Rows(stream.read(Path(source)))
    stream.judge(rows)
    _, sites, _ = read_build(profiles, ["profile_id"])
    names, how = _match(rows.table, sites)
    rows.table = rows.table.assign(site=names, matched=how)
    rows.rule(NO_SITE, rows.table["site"].isna())
    return rows


def _match(table: pd.DataFrame, sites: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the site of each row: the same profile, else the nearest site of the same cell."""
    own = {_plain(name): name for name in sites["profile_id"].astype(str)}
    own_site = table["source_id"].astype(str).map(lambda name: own.get(_plain(name)))
    how = np.where(own_site.notna(), "profile", "cell").astype(object)
    lat, lon = sites["lat"].to_numpy(float), sites["lon"].to_numpy(float)
    by_cell = pd.Series(np.arange(len(sites))).groupby(half_degree_cell(lat, lon)).apply(np.array)
    names = sites["profile_id"].astype(str).to_numpy()
    result = own_site.to_numpy(object).copy()
    places = table[["lat", "lon"]].to_numpy(float)
    for i in np.flatnonzero(own_site.isna().to_numpy()):
        if not np.isfinite(places[i]).all():
            result[i] = None
            continue
        inside = by_cell.get(half_degree_cell(*places[i : i + 1].T)[0])
        if inside is None:
            result[i] = None
            continue
        # On a plane: by great circles, the other of two sites almost equally near may be nearer.
        north = lat[inside] - places[i, 0]
        east = (lon[inside] - places[i, 1]) * np.cos(np.radians(places[i, 0]))
        result[i] = names[inside[np.argmin(north**2 + east**2)]]
    return result, how


def _plain(name: str) -> str:
    """Return an identifier as every source has it: `israd_a|b|c` and `israd:a/b/c` are one."""
    last = name.rpartition(":")[2] if "|" in name or ":" in name else name
    return re.sub(r"^israd_", "", last).replace("|", "/").strip().casefold()


@dataclass(frozen=True, eq=False)
class StreamTable:
    """A table of a stream, opened."""

    stream: Stream
    made: Made
    rows: pd.DataFrame

    @property
    def size(self) -> int:
        """Number of values that every site is padded to."""
        most = int(self.rows.groupby("site").size().max()) if len(self.rows) else 1
        return max(4, 1 << (most - 1).bit_length())


def read(folder: str | os.PathLike[str]) -> StreamTable:
    """Open a table that `proda streams build` wrote.

    Raises
    ------
    FileError
        If it is absent, damaged or of an unknown stream.
    """
    place = Path(folder)
    path = place / SUMMARY
    if not path.is_file():
        raise FileError(f"{path}: there is no such file; `proda streams build` writes it.")
    try:
        made = Made.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise FileError(f"{path}: not a summary of this version; build the table again.") from error
    if made.stream not in STREAMS:
        raise FileError(
            f"{path}: unknown stream {made.stream!r}; the streams are {', '.join(STREAMS)}."
        )
    if file_digest(place / TABLE) != made.table:
        raise FileError(
            f"{place / TABLE}: checksum mismatch with {SUMMARY}; build the table again."
        )
    return StreamTable(
        STREAMS[made.stream](**made.settings), made, files.read_parquet(place / TABLE)
    )


def read_all(folders: Mapping[str, str | os.PathLike[str]]) -> dict[str, StreamTable]:
    """Open the tables of several streams, by name, in the order of the registry.

    Raises
    ------
    ObservationError
        If a name is unknown, or a table is of another stream than its name says.
    FileError
        If one is absent or damaged.
    """
    if unknown := [name for name in folders if name not in STREAMS]:
        raise ObservationError(
            f"streams: unknown stream {unknown[0]!r}; choose one of {', '.join(STREAMS)}."
        )
    tables = {name: read(folders[name]) for name in STREAMS if name in folders}
    for name, table in tables.items():
        if table.made.stream != name:
            raise ObservationError(f"{folders[name]}: a table of {table.made.stream}, not {name}.")
    return tables


def described(made: Made) -> str:
    """Return the counts of a table as one line."""
    return json.dumps(made.counts)
