"""Contents of monthly CLM/CESM history files: the position of each variable and month.

Only headers are read here. CLM stamps a monthly mean with the END of its month (January is
stamped 1 February, 00:00), in a calendar of 365 days; time bounds state it exactly.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import cftime
import netCDF4
import numpy as np
import xarray as xr

from proda import units
from proda.drivers import grids
from proda.errors import FileError, ForcingError, ProdaError
from proda.files import check_whole, reading
from proda.forcing import N_MONTHS
from proda.grid import CLM5_GRID

MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_LOCK = threading.Lock()  # the HDF5 library is not safe with threads

_LAT, _LON = ("lat", "lsmlat", "latitude"), ("lon", "lsmlon", "longitude")


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[netCDF4.Dataset]:
    """Open a netCDF file alone in this process; every failure inside names the file.

    Raises
    ------
    FileError
        If it is absent, cannot be read, or ends too early.
    """
    if not Path(path).is_file():
        raise FileError(f"{path}: there is no such file.")
    with _LOCK:
        try:
            with netCDF4.Dataset(path) as dataset:
                yield dataset
        except ProdaError:
            raise
        except (OSError, RuntimeError, IndexError, AttributeError, UnicodeError) as error:
            raise FileError(
                f"{path}: not a readable netCDF file, or cut short ({error}). Copy it again; "
                "`ncdump -h` shows its contents."
            ) from error


def plain(variable: Any, index: Any = ...) -> np.ndarray:
    """Values as float64 with NaN where they are missing or outside of their valid range.

    Raises
    ------
    FileError
        Naming the file and the variable, if they cannot be read as numbers.
    """
    where = f"{variable.group().filepath()}: {variable.name}"
    with reading(where, "variable of numbers", FileError, "Copy the file again."):
        return np.ma.filled(np.ma.asarray(variable[index], dtype=np.float64), np.nan)


def in_unit(
    values: np.ndarray, variable: Any, unit: str, dimensions: units.Dimensions, path: Path
) -> np.ndarray:
    """Bring values of a variable to `unit`, which they are in if the file does not say.

    Raises
    ------
    ForcingError
        Naming file, variable and unit, if that measures something else.
    """
    given = str(getattr(variable, "units", "")).strip() or unit
    theirs, ours = units.factor(given, dimensions), units.factor(unit, dimensions)
    if theirs is None or ours is None:
        raise ForcingError(
            f"{path}: {variable.name} is in {given!r}, which is not recognised; expected {unit!r}."
        )
    return values if theirs == ours else values * (theirs / ours)


@dataclass(frozen=True)
class MonthInFile:
    """One month of one variable: the file and the position on its time axis."""

    path: Path
    index: int


@dataclass(frozen=True)
class HistoryField:
    """A variable as the files describe it."""

    unit: str
    dims: tuple[str, ...]
    records: dict[tuple[int, int], MonthInFile]
    """By (year, month)."""

    @property
    def layered(self) -> bool:
        """Whether it has a soil layer besides latitude and longitude."""
        return len(self.dims) == 3


@dataclass(frozen=True)
class History:
    """The files, their grid, and where each variable lies. `fields` has monthly ones only."""

    paths: tuple[Path, ...]
    lat: np.ndarray
    lon: np.ndarray
    fields: dict[str, HistoryField]

    def field(self, name: str) -> HistoryField:
        """Return a variable's description, or name what is missing."""
        if name not in self.fields:
            instead = " (or SOILPSI)" if name == "W_SCALAR" else ""
            raise ForcingError(
                f"The history files have no monthly variable {name}{instead} (looked in "
                f"{len(self.paths)} files, from {self.paths[0]} to {self.paths[-1]}). Add it to "
                "hist_fincl1 of the run, or give further files."
            )
        return self.fields[name]

    def years(self, name: str) -> tuple[int, int]:
        """First and last year that `name` has months of."""
        years = [year for year, _ in self.field(name).records]
        return min(years), max(years)

    def check_complete(self, names: Iterable[str], first: int, last: int) -> None:
        """Refuse variables that lack a month of the years first..last.

        Raises
        ------
        ForcingError
            Naming the variable and its missing years and months.
        """
        for name in names:
            have = self.field(name).records
            lacking: list[str] = []
            for year in range(first, last + 1):
                months = [m for m in range(1, N_MONTHS + 1) if (year, m) not in have]
                if len(months) == N_MONTHS:
                    lacking.append(f"all of {year}")
                elif months:
                    lacking.append(f"{', '.join(MONTH_NAMES[m - 1] for m in months)} of {year}")
            if lacking:
                more = f" and {len(lacking) - 8} more years" if len(lacking) > 8 else ""
                raise ForcingError(
                    f"{name} lacks {'; '.join(lacking[:8])}{more}. Every month of "
                    f"{first}-{last} is needed: add the files, or choose other years."
                )


def scan(paths: Sequence[str | os.PathLike[str]], wanted: Iterable[str]) -> History:
    """Read the headers of history files, in any order: one month, many, or one variable each.

    Parameters
    ----------
    paths
        netCDF files on one regular latitude-longitude grid.
    wanted
        Names to look for.

    Raises
    ------
    FileError
        Naming the file that cannot be read.
    ForcingError
        Naming both files where a month appears twice, grids differ, or times are not monthly.
    """
    if not paths:
        raise ForcingError("No history files were given.")
    names = list(wanted)
    fields: dict[str, HistoryField] = {}
    lat = lon = None
    starts: dict[tuple[int, int], Path] = {}
    for path in [Path(p) for p in paths]:
        if path.is_file():
            check_whole(path)
        with opened(path) as dataset:
            here = grid_of(dataset, path)
            if lat is None or lon is None:
                lat, lon = here
            elif not (_same(lat, here[0]) and _same(lon, here[1])):
                raise ForcingError(f"{path}: its grid differs from that of {paths[0]}.")
            monthly = [
                n for n in names if n in dataset.variables and "time" in dataset[n].dimensions
            ]
            months, at_start = months_of(dataset, path) if monthly else ([], False)
            if at_start:
                starts |= dict.fromkeys(months, path)
            for name in monthly:
                field = _describe(dataset[name], name, path, here)
                known = fields.setdefault(name, field)
                if (known.unit, known.dims) != (field.unit, field.dims):
                    raise ForcingError(
                        f"{path}: {name} has unit {field.unit!r} and dimensions {field.dims}; "
                        f"in earlier files it has {known.unit!r} and {known.dims}."
                    )
                for index, month in enumerate(months):
                    if (twice := known.records.get(month)) is not None:
                        raise ForcingError(
                            f"{name} of {MONTH_NAMES[month[1] - 1]} {month[0]} appears twice: in "
                            f"{twice.path} and in {path}. Give each month once."
                        )
                    known.records[month] = MonthInFile(path, index)
    _check_stamps(starts)
    assert lat is not None  # there is at least one file
    assert lon is not None
    return History(tuple(Path(p) for p in paths), lat, lon, fields)


def _check_stamps(months: Mapping[tuple[int, int], Path]) -> None:
    """Refuse stamps that may be starts of months, where no bounds say what they stand for.

    CLM stamps the end of a month; then a record stamped 1 January is December. Other tools stamp
    the start. Whole years decide: they end in December in only one of the two cases.

    Raises
    ------
    ForcingError
        Naming the first and last stamps, and what to add.
    """
    if not months:
        return
    first, last = min(months), max(months)
    as_ends = (first[1] == 1) + (last[1] == N_MONTHS)
    as_starts = (first[1] == N_MONTHS) + (last[1] == N_MONTHS - 1)
    if as_ends > as_starts:
        return
    begin, end = (MONTH_NAMES[month % N_MONTHS] for _, month in (first, last))
    seem = (
        "seem to be starts of months" if as_starts > as_ends else "may be starts or ends of months"
    )
    raise ForcingError(
        f"{months[first]}: the records have no time bounds, and their stamps {seem}: the first is "
        f"1 {begin}, the last 1 {end}. CLM stamps the end of a month, by which the first record "
        f"would be {MONTH_NAMES[first[1] - 1]} of {first[0]} and all months might be shifted by "
        "one. Add time bounds (attribute `bounds` of time) to the files, or stamp the middle of "
        "each month."
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=1e-4))


def grid_of(dataset: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the latitudes and longitudes of a file, as they are."""
    axes = []
    for names in (_LAT, _LON):
        candidates = [n for n in names if n in dataset.variables and dataset[n].ndim == 1]
        if not candidates:
            raise ForcingError(
                f"{path}: no axis {names[0]}; a regular latitude-longitude grid is needed "
                "(regrid unstructured output first)."
            )
        name = "lat" if names is _LAT else "lon"
        unit = getattr(dataset[candidates[0]], "units", "degrees")
        axis = xr.DataArray(plain(dataset[candidates[0]]), dims=name, attrs={"units": unit})
        axes.append(grids.check_axis(axis, name, str(path)))
    grids.check_no_repeats(axes[1], str(path))
    return axes[0], axes[1]


def _describe(
    variable: Any, name: str, path: Path, grid: tuple[np.ndarray, np.ndarray]
) -> HistoryField:
    dims = variable.dimensions
    shape = dict(zip(dims, variable.shape, strict=True))
    lat = next((d for d in _LAT if d in dims), None)
    lon = next((d for d in _LON if d in dims), None)
    others = [d for d in dims if d not in ("time", lat, lon)]
    if (
        lat is None
        or lon is None
        or dims[0] != "time"
        or dims[-2:] != (lat, lon)
        or len(others) > 1
    ):
        raise ForcingError(
            f"{path}: {name} has the dimensions ({', '.join(dims)}); expected "
            "(time, lat, lon) or (time, layer, lat, lon)."
        )
    if (shape[lat], shape[lon]) != (len(grid[0]), len(grid[1])):
        raise ForcingError(f"{path}: {name} is not on the grid of the file.")
    _check_methods(variable, name, path)
    if others:
        check_layers(variable.group(), others[0], shape[others[0]], name, path)
    return HistoryField(str(getattr(variable, "units", "")).strip(), dims[1:], {})


def _check_methods(variable: Any, name: str, path: Path) -> None:
    """Refuse a variable whose values are not means of their months, where cell_methods says so."""
    methods = str(getattr(variable, "cell_methods", ""))
    match = re.search(r"\btime\d?\s*:\s*(\w+)", methods)
    allowed = {"mean", "maximum"} if name.startswith("ALTMAX") else {"mean"}
    if match and match[1] not in allowed:
        raise ForcingError(
            f"{path}: the cell_methods of {name} are {methods!r}; monthly means (time: mean) are "
            "needed."
        )


def check_layers(dataset: Any, dim: str, size: int, name: str, path: Path) -> None:
    """Refuse a variable whose first 20 layers are not those of CLM5.

    Ground variables have 25 layers, of which the last 5 are bedrock (to 42 m) and are cut off.
    """
    n = len(CLM5_GRID)
    if size < n:
        raise ForcingError(
            f"{path}: {name} has {size} layers ({dim}); CLM5's 20 soil layers are needed."
        )
    if dim in dataset.variables:
        depth = plain(dataset[dim])[:n]
        if units.factor(getattr(dataset[dim], "units", "m"), units.LENGTH) is not None:
            depth = in_unit(depth, dataset[dim], "m", units.LENGTH, path)
        if str(getattr(dataset[dim], "positive", "")) == "up":
            depth = -depth
        # Some files number the layers (levdcmp as 1, 2, ...) instead of giving depths.
        if not np.array_equal(depth, np.arange(1, n + 1)) and not np.allclose(
            depth, CLM5_GRID.node, rtol=1e-3
        ):
            depths = ", ".join(f"{d:g}" for d in depth[:4])
            raise ForcingError(
                f"{path}: the first layers of {name} lie at {depths}"
                " m ...; those of CLM5 lie at 0.01, 0.04, 0.09, 0.16 m ..."
            )


def months_of(dataset: Any, path: Path) -> tuple[list[tuple[int, int]], bool]:
    """Return (year, month) of each record: from the time bounds, else from the time stamp.

    Without bounds a stamp at the very start of a month is CLM's end of the month before; any
    other stamp lies in its own month.

    Returns
    -------
    months, at_start
        And whether stamps at the start of a month, not bounds, were taken so.
    """
    if "time" not in dataset.variables:
        raise ForcingError(f"{path}: has the dimension time, but no times.")
    time = dataset["time"]
    found_at_start = False
    unit = getattr(time, "units", None)
    if unit is None:
        raise ForcingError(f"{path}: the time axis has no units.")
    calendar = str(getattr(time, "calendar", "standard"))

    def dates(values: np.ndarray) -> list[Any]:
        if not np.isfinite(values).all():
            raise ForcingError(f"{path}: a time is missing or not a number.")
        return list(np.atleast_1d(cftime.num2date(values, unit, calendar)))

    try:
        bounds = str(getattr(time, "bounds", ""))
        if bounds in dataset.variables:
            edges = plain(dataset[bounds])
            start, end = dates(edges[:, 0]), dates(edges[:, 1])
            for a, b in zip(start, end, strict=True):
                days = (b - a).total_seconds() / 86400
                if not 27 < days < 32:
                    raise ForcingError(
                        f"{path}: a record covers {days:g} days ({a} to {b}); monthly means are "
                        "needed."
                    )
            middle = dates(edges.mean(axis=1))
        else:
            middle = []
            for stamp in dates(plain(time)):
                at_start = (stamp.day, stamp.hour, stamp.minute, stamp.second) == (1, 0, 0, 0)
                found_at_start |= at_start
                middle.append(stamp - timedelta(hours=12) if at_start else stamp)
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        if isinstance(error, ForcingError):
            raise
        raise ForcingError(
            f"{path}: its times cannot be decoded ({error}; units {unit!r}, calendar {calendar!r})."
        ) from error
    return [(date.year, date.month) for date in middle], found_at_start
