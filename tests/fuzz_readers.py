"""Damaged inputs for every reader: what each makes of them, by kind, from a seed.

A kind of file is built once, in code. Each input is a copy with one or two mutations; the reader
must refuse it with an error of ours, or give the same values. Where a format carries no checksum
(a table in plain text, a netCDF file of somebody else) a changed digit cannot be seen: such inputs
are counted apart.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.blocks.cluster_settings import read_cluster
from proda.blocks.store import BlockStore
from proda.comparison.model_files import read_site_table
from proda.drivers.catalogue import catalogue
from proda.drivers.climate_input import CLIMATE_VARIABLES, open_climate
from proda.drivers.covariates import open_covariates
from proda.drivers.litter_recipes import from_toml
from proda.drivers.site_tables import read_sites
from proda.errors import ProdaError
from proda.forcing import Forcing
from proda.learning import archive
from proda.learning.residuals import read_residuals, write_residuals
from proda.maps.cells import land_cells
from proda.maps.totals import open_map
from proda.observations.land import open_land_mask
from proda.observations.profile_settings import read_settings
from tests.comparison_worlds import made_map
from tests.map_grids import small_grid

SECONDS = 20
"""A reader that takes longer hangs."""

UNCHANGED, REFUSED, CHANGED = "unchanged", "refused", "changed"
TRACEBACK, HANG, DIED = "traceback", "hang", "died"


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it is built (a path below a folder), how it is read, what it carries."""

    name: str
    build: Callable[[Path], Path]
    read: Callable[[Path], Any]
    sealed: bool
    text: bool = False


@dataclass
class Tally:
    """What came out, and the first words of each thing that must not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


# ---- values, to compare


def fingerprint(value: Any) -> str:
    """Digest of whatever a reader returns."""
    total = hashlib.sha256()
    _add(total, value)
    return total.hexdigest()


def _add(total: Any, value: Any) -> None:
    if isinstance(value, xr.Dataset | xr.DataArray):
        _add(
            total,
            {
                str(n): (v.dims, v.attrs, v.to_numpy())
                for n, v in getattr(value, "variables", value.coords).items()
            },
        )
        _add(total, value.attrs)
    elif isinstance(value, pd.DataFrame):
        _add(total, {str(c): value[c].to_numpy() for c in value})
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            total.update(str(key).encode())
            _add(total, value[key])
    elif isinstance(value, np.ndarray):
        total.update(f"{value.shape}".encode())
        total.update(repr(value.tolist()).encode("utf-8", "replace"))
    elif isinstance(value, list | tuple):
        for part in value:
            _add(total, part)
    elif hasattr(value, "__dataclass_fields__"):
        _add(total, {n: getattr(value, n) for n in value.__dataclass_fields__})
    else:
        total.update(repr(value).encode("utf-8", "replace"))


# ---- kinds


def _small(rng: np.random.Generator) -> xr.Dataset:
    return xr.Dataset(
        {
            "carbon": (("site", "layer"), rng.normal(10.0, 3.0, (6, 4)), {"units": "kg m-2"}),
            "count": ("site", np.arange(6)),
        },
        {
            "site": np.array([f"s{i}" for i in range(6)], object),
            "latitude": ("site", np.arange(6.0)),
        },
        {"model": "clm5", "variant": "default"},
    )


def _zarr(folder: Path) -> Path:
    files.write_zarr(_small(np.random.default_rng(1)).chunk(site=2), folder / "x.zarr")
    return folder / "x.zarr"


def _netcdf(folder: Path) -> Path:
    files.write_netcdf(_small(np.random.default_rng(2)), folder / "x.nc")
    return folder / "x.nc"


def _loaded(path: Path) -> xr.Dataset:
    with files.open_dataset(path) as opened:
        return files.load(opened, path)


def _map(folder: Path) -> Path:
    files.write_netcdf(made_map("clm5", (5.0, 10.0, 20.0), 1), folder / "map.nc")
    return folder / "map.nc"


def _read_map(path: Path) -> xr.Dataset:
    with open_map(path) as opened:
        return files.load(opened, path)


def _residuals(folder: Path) -> Path:
    values = np.random.default_rng(5).normal(size=(4, 3))
    write_residuals(
        xr.Dataset(
            {"residual": (("member", "parameter"), values)},
            {"parameter": ["a", "b", "c"]},
            {"model": "m", "variant": "v"},
        ),
        folder,
    )
    return folder / "residuals.nc"


def _read_residuals(path: Path) -> Any:
    target = path.parent / "residuals.nc"
    if target != path:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        path.rename(target)
    found = read_residuals(path.parent, "m", "v", ("a", "b", "c"))
    if found is None:  # a network that was written with residuals misses them itself
        raise ProdaError("no residuals")
    return found


def _archive(folder: Path) -> Path:
    archive.write_archive(folder / "w.npz", {"a": 1}, {"w": np.arange(12.0).reshape(3, 4)})
    return folder / "w.npz"


def _blocks(folder: Path) -> Path:
    made = BlockStore(folder / "blocks", {"members": 2})
    made.write_arrays(0, {"cells": np.arange(5), "x": np.arange(5.0)})
    return folder / "blocks"


def _read_blocks(path: Path) -> Any:
    made = BlockStore(path, {"members": 2})
    if why := made.check(0):
        raise ProdaError(why)  # computed again by the caller
    return made.read(0)


def _foreign_netcdf(form: str, folder: Path) -> Path:
    _small(np.random.default_rng(3)).to_netcdf(folder / "y.nc", format=form, engine="netcdf4")
    return folder / "y.nc"


def _climate(folder: Path) -> Path:
    rng = np.random.default_rng(6)
    lat, lon = np.linspace(60, -60, 5), np.linspace(-150, 150, 6)
    data = {}
    for row in CLIMATE_VARIABLES:
        low, high = (0.1, 0.4) if row.unit == "1" else (5.0, 30.0)
        data[row.name] = (("lat", "lon"), rng.uniform(low, high, (5, 6)), {"units": row.unit})
    xr.Dataset(data, {"lat": lat, "lon": lon}).to_netcdf(folder / "climate.nc")
    return folder / "climate.nc"


def _covariates(folder: Path) -> Path:
    rng = np.random.default_rng(7)
    lat, lon = np.linspace(60, -60, 5), np.linspace(-150, 150, 6)
    xr.Dataset(
        {
            "rain": (("lat", "lon"), rng.uniform(300, 2000, (5, 6)), {"units": "mm"}),
            "zone": (
                ("lat", "lon"),
                rng.integers(1, 3, (5, 6)).astype("i2"),
                {"flag_values": np.array([1, 2], "i2"), "flag_meanings": "wet dry"},
            ),
        },
        {"lat": lat, "lon": lon},
    ).to_netcdf(folder / "cov.nc")
    return folder / "cov.nc"


def _read_covariates(path: Path) -> Any:
    return open_covariates(path).dataset


def _land(folder: Path) -> Path:
    lat, lon = np.linspace(-72, 72, 5), np.linspace(-150, 150, 6)
    land = np.random.default_rng(8).uniform(0, 1, (5, 6))
    xr.Dataset(
        {"land_fraction": (("lat", "lon"), land, {"units": "1"})}, {"lat": lat, "lon": lon}
    ).to_netcdf(folder / "land.nc")
    return folder / "land.nc"


def _forcing(folder: Path) -> Path:
    files.write_zarr(small_grid(shape=(3, 4)), folder / "f.zarr")
    return folder / "f.zarr"


def _read_forcing(path: Path) -> Any:
    cells = land_cells(files.open_dataset(path))
    taken = cells.forcing(np.arange(len(cells))) if hasattr(cells, "forcing") else None
    return cells.latitude, None if not isinstance(taken, Forcing) else vars(taken)


def _sites_csv(folder: Path) -> Path:
    (folder / "s.csv").write_text(
        "site,latitude,longitude,note\na,10.5,20,x\nb,-5,30.25,y\nc,0,1,z\n"
    )
    return folder / "s.csv"


def _sites_parquet(folder: Path) -> Path:
    table = pd.DataFrame({"site": ["a", "b"], "latitude": [1.0, 2.0], "longitude": [3.0, 4.0]})
    files.write_parquet(table, folder / "s.parquet", index=False)
    return folder / "s.parquet"


def _verdicts(folder: Path) -> Path:
    (folder / "v.csv").write_text("site,kept,reason\n1001,True,kept\n1002,False,no draws\n")
    return folder / "v.csv"


def _toml(text: str, folder: Path) -> Path:
    (folder / "t.toml").write_text(text)
    return folder / "t.toml"


_PROFILES = """[[source]]
reader = "tidy"
name = "all"
folder = "."
"""
_CLUSTER = "[local]\nworkers = 2\n"
_CATALOGUE = """[mine]
title = "t"
licence = "CC-BY"
citation = "c"
[[mine.files]]
url = "https://example.org/a.nc"
name = "a.nc"
"""
_LITTER = "\n".join(f"[{pool}]\nNPP = 0.25" for pool in ("CWD", "ML", "CL", "LL"))


def kinds() -> list[Kind]:
    """Return all kinds."""
    part = functools.partial
    return [
        Kind("Zarr store of ours", _zarr, _loaded, True),
        Kind("netCDF file of ours", _netcdf, _loaded, True),
        Kind("forcing on a grid", _forcing, _read_forcing, True),
        Kind("map", _map, _read_map, True),
        Kind("joint residuals", _residuals, _read_residuals, True),
        Kind("weights", _archive, archive.read_archive, True),
        Kind("blocks", _blocks, _read_blocks, True),
        Kind("netCDF-4 of others", part(_foreign_netcdf, "NETCDF4"), _loaded, False),
        Kind("netCDF-3 of others", part(_foreign_netcdf, "NETCDF3_64BIT"), _loaded, False),
        Kind("climate", _climate, open_climate, False),
        Kind("covariates", _covariates, _read_covariates, False),
        Kind("land mask", _land, lambda p: vars(open_land_mask(p)), False),
        Kind("sites, CSV", _sites_csv, read_sites, False, True),
        Kind("sites, Parquet", _sites_parquet, read_sites, False),
        Kind("Parquet table", _sites_parquet, files.read_parquet, False),
        Kind("verdicts on sites", _verdicts, read_site_table, False, True),
        Kind("settings of profiles", part(_toml, _PROFILES), read_settings, False, True),
        Kind("settings of a cluster", part(_toml, _CLUSTER), read_cluster, False, True),
        Kind("catalogue", part(_toml, _CATALOGUE), lambda p: catalogue([p]), False, True),
        Kind("recipe of litter", part(_toml, _LITTER), lambda p: from_toml(str(p)), False, True),
    ]


# ---- mutations


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    if data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def _set(data: bytearray, rng: np.random.Generator) -> None:
    if data:
        data[rng.integers(len(data))] = int(rng.choice([0, 0x1B, 0x2C, 0x0A, 0x7F, 0xFF, 0x80]))


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[rng.integers(len(data) + 1) :]


def _insert(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data) + 1))
    data[at:at] = rng.bytes(int(rng.integers(1, 40)))


def _remove(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data) + 1))
    del data[at : at + int(rng.integers(1, 60))]


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data) + 1))
    n = min(int(rng.integers(1, 300)), len(data) - at)
    data[at : at + n] = bytes(n)


def _swap_blocks(data: bytearray, rng: np.random.Generator) -> None:
    n = len(data) // 4
    if n:
        a, b = sorted(int(x) for x in rng.integers(0, len(data) - n + 1, 2))
        data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]


def _magic(data: bytearray, rng: np.random.Generator) -> None:
    every = [
        b"CDF\x01",
        b"CDF\x05",
        b"\x89HDF\r\n\x1a\n",
        b"PAR1",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"%PDF",
        b"<html>",
    ]
    new = every[rng.integers(len(every))]
    data[: len(new)] = new


BYTES = (_flip, _flip, _set, _cut, _insert, _remove, _zero, _swap_blocks, _magic)

_WORDS = [
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-9999",
    "1_000",
    "١",
    "abc",
    "0",
    "1e308",
    "true",
    "2024-02-30",
    "[" * 3000,
    "{",
    '"',
    "\x1b[2J",
    "\u202e",
    "\x00",
    "a" * 5000,
    "é",
    "1,5",
]


def _retext(data: bytearray, rng: np.random.Generator) -> None:
    """Change a word, a line or a column of a text."""
    lines = data.decode("utf-8", "replace").split("\n")
    at = int(rng.integers(len(lines)))
    cells = lines[at].split(",")
    column = int(rng.integers(len(cells)))
    which = int(rng.integers(7))
    if which == 0:
        cells[column] = _WORDS[rng.integers(len(_WORDS))]
        lines[at] = ",".join(cells)
    elif which == 1:  # a column removed, twice, or renamed, in every line
        twice = bool(rng.integers(2))
        for i, line in enumerate(lines):
            parts = line.split(",")
            if column < len(parts):
                parts[column : column + 1] = [parts[column]] * 2 if twice else []
            lines[i] = ",".join(parts)
    elif which == 2:
        lines[0] = ",".join(["x", *lines[0].split(",")[1:]])
    elif which == 3:
        lines.insert(at, lines[at])
    elif which == 4:
        lines[at] = lines[at].replace("=", "= " + _WORDS[rng.integers(len(_WORDS))] + " ")
    elif which == 5:
        lines = [line.replace(",", ";") for line in lines]
    else:
        lines = lines[:at]
    data[:] = "\n".join(lines).encode("utf-8", "surrogatepass")


def _rewrite(path: Path, rng: np.random.Generator) -> None:
    """Change names, types, axes or attributes of a netCDF file, as a writer would do it wrongly."""
    with xr.open_dataset(path, engine="netcdf4", decode_cf=False) as opened:
        found = opened.load()
    name = str(rng.choice([str(n) for n in found.variables]))
    which = int(rng.integers(8))
    if which == 0:
        found = found.drop_vars(name)
    elif which == 1:
        found = found.rename({name: "other"})
    elif which == 2:
        shape = found[name].shape
        found[name] = found[name].dims, np.full(shape, "text", object)
    elif which == 3:
        key = str(
            rng.choice(
                [
                    "scale_factor",
                    "add_offset",
                    "_FillValue",
                    "units",
                    "calendar",
                    "flag_values",
                    "flag_meanings",
                    "valid_range",
                    "missing_value",
                    "coordinates",
                    "grid_mapping",
                    "bounds",
                ]
            )
        )
        values = ["text", 3, 1e308, "\x1b[2J", [1.0, 2.0, 3.0], "days since 99999-01-01", ""]
        found[name].attrs[key] = values[rng.integers(len(values))]
    elif which == 4 and found[name].dtype.kind in "fi" and found[name].ndim:
        values = found[name].to_numpy().astype(float)
        values.flat[0] = rng.choice([np.nan, np.inf, 1e308, -9999.0])
        found[name] = found[name].dims, values, found[name].attrs
    elif which == 5 and found[name].dtype.kind in "fi" and found[name].ndim:
        values = found[name].to_numpy().copy()
        values[-1] = values[0]
        found[name] = found[name].dims, values, found[name].attrs
    elif which == 6 and found.sizes:
        found = found.isel({str(rng.choice([str(d) for d in found.sizes])): slice(0, 0)})
    else:
        found = found.rename_dims({d: f"{d}_" for d in list(found.sizes)[:1]})
    for variable in found.variables.values():
        variable.encoding.clear()
    content = path.read_bytes()
    path.unlink()
    try:
        found.to_netcdf(path, engine="netcdf4")
    except Exception:  # what no writer can write is no input either
        path.write_bytes(content)
        _in_file(path, rng, BYTES)


def _retable(path: Path, rng: np.random.Generator) -> None:
    """Change columns and types of a Parquet table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    i = int(rng.integers(table.num_columns))
    name, n = table.column_names[i], table.num_rows
    types: list[Any] = [
        pa.array([None] * n, pa.null()),
        pa.array([b"x"] * n),
        pa.array([[1]] * n),
        pa.array([{"a": 1}] * n),
        pa.array([1e308] * n),
        pa.array([float("nan")] * n),
        pa.array(["t"] * n),
        pa.array([0] * n, pa.timestamp("ns")),
        pa.array([True] * n),
        pa.array([2**62] * n, pa.int64()),
        pa.array(["a"] * n).dictionary_encode(),
    ]
    which = int(rng.integers(5))
    if which == 0:
        table = table.drop_columns([name])
    elif which == 1:
        table = table.append_column(name, table.column(i))
    elif which == 2:
        table = table.slice(0, 0)
    elif which == 3:
        table = table.rename_columns([f"{c}_" if c == name else c for c in table.column_names])
    else:
        table = table.set_column(i, name, types[rng.integers(len(types))])
    pq.write_table(table, path)


def _in_folder(path: Path, rng: np.random.Generator) -> None:
    """Remove, empty, swap or replace files of a folder, or damage one."""
    every = sorted(p for p in path.rglob("*") if p.is_file())
    one = every[rng.integers(len(every))]
    which = int(rng.integers(8))
    if which == 0:
        one.unlink()
    elif which == 1:
        one.write_bytes(b"")
    elif which == 2:
        other = every[rng.integers(len(every))]
        a, b = one.read_bytes(), other.read_bytes()
        one.write_bytes(b)
        other.write_bytes(a)
    elif which == 3:
        one.unlink()
        one.mkdir()
    else:
        _in_file(one, rng, BYTES)


def _in_file(path: Path, rng: np.random.Generator, ways: tuple[Callable, ...]) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 3))):
        ways[rng.integers(len(ways))](data, rng)
    path.write_bytes(data)


def mutate(kind: Kind, path: Path, rng: np.random.Generator) -> None:
    """Damage a copy."""
    if rng.random() < 0.02:  # another kind of thing altogether
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if rng.random() < 0.5:
            path.mkdir()
    elif path.is_dir():
        _in_folder(path, rng)
    elif kind.text:
        _in_file(path, rng, (*BYTES, *[_retext] * 9))
    elif path.suffix == ".nc" and not kind.sealed and rng.random() < 0.4:
        _rewrite(path, rng)
    elif path.suffix == ".parquet" and rng.random() < 0.4:
        _retable(path, rng)
    else:
        _in_file(path, rng, BYTES)


# ---- trying


class _HangError(BaseException):
    pass


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _HangError

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def attempt(kind: Kind, path: Path, right: str) -> tuple[str, str]:
    """Read once; return what came out, and the words of what must not."""
    try:
        with _limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = fingerprint(kind.read(path))
    except ProdaError as error:
        text = str(error)
        return (REFUSED, "") if text else (TRACEBACK, "an error without words")
    except _HangError:
        return HANG, f"longer than {SECONDS} s"
    except Exception as error:
        place = error.__traceback__
        where = ""
        while place is not None:
            name = place.tb_frame.f_code.co_filename
            if "/proda/" in name:
                where = f"{name.rsplit('/proda/', 1)[1]}:{place.tb_lineno}"
            place = place.tb_next
        return TRACEBACK, f"{where} {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return (UNCHANGED if found == right else CHANGED), ""


def run(kind: Kind, folder: Path, seeds: range) -> Tally:
    """Try one input for each seed.

    Parameters
    ----------
    kind
        What is read.
    folder
        Empty; used for the files.
    seeds
        Of the inputs; each decides its input alone.
    """
    whole = folder / "whole"
    whole.mkdir(parents=True)
    original = kind.build(whole)
    right = fingerprint(kind.read(original))
    tally = Tally()
    for seed in seeds:
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        path = place / original.name
        mutate(kind, path, np.random.default_rng([seed, len(kind.name)]))
        before = set(place.rglob("*"))
        outcome, words = attempt(kind, path, right)
        if left := set(place.rglob("*")) - before - {place / "residuals.nc"}:
            outcome, words = TRACEBACK, f"left {sorted(p.name for p in left)[0]} behind"
        tally.outcomes[outcome] += 1
        if words or (kind.sealed and outcome == CHANGED):
            tally.faults.append(f"{kind.name}, seed {seed}: {outcome} {words}")
    return tally
