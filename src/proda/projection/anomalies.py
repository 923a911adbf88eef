"""A user's own anomalies: fields by year and month, or global warming times a pattern."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda import cf
from proda.drivers.grids import standard_grid
from proda.errors import FileError, ForcingError
from proda.forcing import LITTER, N_MONTHS
from proda.projection.experiments import Change, Experiment, experiments_named
from proda.projection.projection_settings import ProjectionSettings
from proda.projection.steps import TimeSpan, time_steps

WARMING = ("soil_temperature", "tsl", "tas")
"""Names of an anomaly of temperature (K); the first that exists is used. CMIP has tsl and tas."""
INPUT = ("carbon_input", "npp")
"""Names of the carbon input as a multiple of the present input."""
WATER = ("w_scalar",)
"""Names of the change that is added to the water scalar."""
LAST_YEARS = 10
"""Years whose mean anomaly gives the new steady state."""


@dataclass(frozen=True, eq=False)
class AnomalyFields(Experiment):
    """Anomalies on a grid, year by year.

    Attributes
    ----------
    name, words
        Name in files and words in figures.
    lat, lon
        Axes, ascending, degrees; longitudes from -180 to 180.
    warming
        K, (year, month or 1, lat, lon).
    carbon_input
        Multiple of the present input, (year, lat, lon), or None.
    water
        Added to the water scalar, (year, month or 1, lat, lon), or None.
    """

    name: str
    words: str
    lat: Float[np.ndarray, " lat"]
    lon: Float[np.ndarray, " lon"]
    warming: Float[np.ndarray, "year month lat lon"]
    carbon_input: Float[np.ndarray, "year lat lon"] | None = None
    water: Float[np.ndarray, "year month lat lon"] | None = None
    digest: str = field(default="")

    def steps(self, settings: ProjectionSettings) -> list[TimeSpan]:
        """Return steps of a year.

        Raises
        ------
        ForcingError
            If results are requested for years after the last.
        """
        if settings.times[-1] > len(self.warming):
            raise ForcingError(
                f"{self.name}: has {len(self.warming)} years; results are requested for year "
                f"{settings.times[-1]:g}. Give earlier times."
            )
        return time_steps(settings.times, 1.0, 1.0, 1.0, tuple(range(1, len(self.warming))))

    def at(
        self,
        span: TimeSpan,
        latitude: Float[np.ndarray, " site"],
        longitude: Float[np.ndarray, " site"],
    ) -> Change:
        """Return the anomalies of the year that contains the middle of the step."""
        return self._change(slice(int(span.middle), int(span.middle) + 1), latitude, longitude)

    def end(
        self, latitude: Float[np.ndarray, " site"], longitude: Float[np.ndarray, " site"]
    ) -> Change:
        """Return the mean anomalies of the last years."""
        return self._change(slice(-LAST_YEARS, None), latitude, longitude)

    def same(self, one: TimeSpan, other: TimeSpan) -> bool:
        """Whether both steps lie in one year."""
        return int(one.middle) == int(other.middle)

    def identity(self) -> str:
        """Return a checksum of the fields."""
        return self.digest

    def _change(self, years: slice, latitude: np.ndarray, longitude: np.ndarray) -> Change:
        n = len(latitude)
        warming = self._monthly(self.warming, years, latitude, longitude)
        factor = np.ones((n, len(LITTER)))
        if self.carbon_input is not None:
            mean = self.carbon_input[years].mean(axis=0)
            factor *= np.maximum(self._sample(mean, latitude, longitude), 0.0)[:, None]
        water = None
        if self.water is not None:
            water = self._monthly(self.water, years, latitude, longitude)
        return Change(warming, factor, water)

    def _monthly(
        self, values: np.ndarray, years: slice, latitude: np.ndarray, longitude: np.ndarray
    ) -> np.ndarray:
        months = [self._sample(m, latitude, longitude) for m in values[years].mean(axis=0)]
        return np.broadcast_to(np.stack(months, axis=1), (len(latitude), N_MONTHS))

    def _sample(
        self, values: np.ndarray, latitude: np.ndarray, longitude: np.ndarray
    ) -> np.ndarray:
        """Interpolate between cells; beyond the first and last row, use the nearest row."""
        lon = np.concatenate([[self.lon[-1] - 360.0], self.lon, [self.lon[0] + 360.0]])
        round_ = np.concatenate([values[:, -1:], values, values[:, :1]], axis=1)
        y = np.interp(latitude, self.lat, np.arange(len(self.lat)))
        x = np.interp((longitude + 180.0) % 360.0 - 180.0, lon, np.arange(len(lon)))
        i, j = np.floor(y).astype(int), np.floor(x).astype(int)
        i, j = np.minimum(i, len(self.lat) - 2), np.minimum(j, len(lon) - 2)
        v, u = y - i, x - j
        upper = (1 - u) * round_[i, j] + u * round_[i, j + 1]
        lower = (1 - u) * round_[i + 1, j] + u * round_[i + 1, j + 1]
        return np.asarray((1 - v) * upper + v * lower)


def read_experiments(settings: ProjectionSettings) -> list[Experiment]:
    """Return all experiments of the settings: idealised ones, fields, warming times pattern.

    Raises
    ------
    ParameterError, ForcingError, FileError
        Naming the experiment or the file, and the error.
    """
    experiments: list[Experiment] = list(experiments_named(settings.experiments))
    experiments += [read_fields(path) for path in settings.anomalies]
    if settings.warming is not None and settings.pattern is not None:
        experiments.append(read_warming(settings.warming, settings.pattern))
    return experiments


def read_fields(path: Path) -> AnomalyFields:
    """Read anomalies on (year, lat, lon), (year, month, lat, lon), or monthly (time, lat, lon).

    Raises
    ------
    ForcingError
        If there is no variable of a known name, a dimension is unknown, or a value is missing.
    """
    dataset = standard_grid(cf.open_grid(path), str(path))
    if "time" in dataset.dims:
        dataset = _by_year(dataset, path)
    if "year" not in dataset.dims:
        raise ForcingError(f"{path}: has no dimension year (or time).")
    lat, lon, order = _axes(dataset)
    arrays = {}
    for kind, names in (("warming", WARMING), ("carbon_input", INPUT), ("water", WATER)):
        name = next((n for n in names if n in dataset), None)
        if name is not None:
            arrays[kind] = _values(dataset[name], path, name, order)
    if not arrays:
        raise ForcingError(
            f"{path}: contains none of {', '.join((*WARMING, *INPUT, *WATER))}; name the anomalies "
            "so."
        )
    years = len(next(iter(arrays.values())))
    nothing = np.zeros((years, 1, len(lat), len(lon)))
    share = arrays.get("carbon_input")
    return AnomalyFields(
        path.stem,
        str(dataset.attrs.get("title", f"anomalies of {path.name}")),
        lat,
        lon,
        arrays.get("warming", nothing),
        None if share is None else share.mean(axis=1),
        arrays.get("water"),
        _digest(lat, lon, *arrays.values()),
    )


def read_warming(table: Path, pattern: Path) -> AnomalyFields:
    """Read global warming by year and multiply it by a pattern of local warming.

    Parameters
    ----------
    table
        CSV with the columns year and warming (K since the start).
    pattern
        netCDF with `warming_pattern` on (lat, lon), or `warming_pattern_monthly` on (month, lat,
        lon), K for each K of global warming.

    Raises
    ------
    FileError, ForcingError
        If a file cannot be read, or lacks a column or variable.
    """
    try:
        rows = pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise FileError(f"{table}: cannot be read ({error}).") from error
    if missing := [name for name in ("year", "warming") if name not in rows]:
        raise ForcingError(f"{table}: lacks the column {', '.join(missing)}.")
    rows = rows.sort_values("year")
    years, warming = rows["year"].to_numpy(), rows["warming"].to_numpy(float)
    if (np.diff(years) != 1).any() or not np.isfinite(warming).all():
        raise ForcingError(f"{table}: expected every year once, each with a number.")
    grid = standard_grid(cf.open_grid(pattern), str(pattern))
    name = next((n for n in ("warming_pattern_monthly", "warming_pattern") if n in grid), None)
    if name is None:
        raise ForcingError(f"{pattern}: has no variable warming_pattern.")
    lat, lon, order = _axes(grid)
    local = _values(grid[name].expand_dims("year"), pattern, name, order)[0]
    return AnomalyFields(
        f"{table.stem}_x_{pattern.stem}",
        f"global warming of {table.name} times the pattern of {pattern.name}",
        lat,
        lon,
        warming[:, None, None, None] * local[None],
        digest=_digest(lat, lon, local, warming),
    )


def _by_year(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Turn a time axis of years or of months into year (and month)."""
    n = dataset.sizes["time"]
    try:
        dates = xr.decode_cf(dataset[["time"]])["time"].dt
        months, years = dates.month.to_numpy(), dates.year.to_numpy()
    except (AttributeError, TypeError, ValueError) as error:
        raise ForcingError(f"{path}: the axis time holds no dates; use year and month.") from error
    if len(np.unique(years)) == n:
        return dataset.rename({"time": "year"})
    whole = np.tile(np.arange(1, N_MONTHS + 1), n // N_MONTHS)
    if n % N_MONTHS or not np.array_equal(months, whole):
        raise ForcingError(f"{path}: the axis time holds neither years nor whole years of months.")
    index = pd.MultiIndex.from_arrays([years, months], names=("year", "month"))
    coords = xr.Coordinates.from_pandas_multiindex(index, "time")
    return dataset.drop_vars("time").assign_coords(coords).unstack("time")  # noqa: PD010


def _axes(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the axes in ascending order, longitudes from -180 to 180, and the order."""
    lat = dataset["lat"].to_numpy().astype(float)
    lon = (dataset["lon"].to_numpy().astype(float) + 180.0) % 360.0 - 180.0
    order = np.argsort(lat), np.argsort(lon)
    return lat[order[0]], lon[order[1]], order


def _values(
    data: xr.DataArray, path: Path, name: str, order: tuple[np.ndarray, np.ndarray]
) -> Float[np.ndarray, "year month lat lon"]:
    if "month" not in data.dims:
        data = data.expand_dims("month", axis=1)
    if set(data.dims) != {"year", "month", "lat", "lon"} or data.sizes["month"] not in (1, 12):
        raise ForcingError(
            f"{path}: {name} has the dimensions {', '.join(map(str, data.dims))}; expected year, "
            "lat, lon, and month with 12 values where it differs between months."
        )
    values = data.transpose("year", "month", "lat", "lon").to_numpy().astype(float)
    if not np.isfinite(values).all():
        raise ForcingError(f"{path}: {name} is missing in places; anomalies need every cell.")
    return np.asarray(values[:, :, order[0]][..., order[1]])


def _digest(*arrays: np.ndarray) -> str:
    # Not that of `checksums`: chunks of interrupted projections are recognised by this value.
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
