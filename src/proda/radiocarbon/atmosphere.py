"""Radiocarbon of the air by year and zone: records, and the histories that plants took up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from proda.errors import ObservationError
from proda.files import reading
from proda.radiocarbon.basis import SLOW_TERMS, Basis

ZONES = ("NH", "tropics", "SH")
"""30-90 N, 30 S-30 N, 30-90 S."""
START = 1850.0
"""Year before which the atmosphere is constant, unless the Holocene is asked for."""

_HUA = {"NH": ("NHZone1", "NHZone2"), "tropics": ("NHZone3", "SHZone3"), "SH": ("SHZone1-2",)}


def zone_of(latitude: float) -> str:
    """Return the zone of the record at a latitude, degrees north."""
    return "NH" if latitude > 30.0 else "SH" if latitude < -30.0 else "tropics"


@dataclass(frozen=True, eq=False)
class Atmosphere:
    """Delta14C of the air (permil) by year, for each zone; straight lines between the years."""

    year: Float[np.ndarray, " year"]
    """AD, rising; negative before Christ."""
    delta: Mapping[str, Float[np.ndarray, " year"]]
    source: str = ""
    _known: dict = field(default_factory=dict, repr=False)

    def coefficients(
        self,
        zone: str,
        year: float,
        basis: Basis,
        *,
        lag: float = 0.0,
        holocene: bool = False,
    ) -> Float[np.ndarray, " term"]:
        """Return the coefficients of what entered the soil until a year.

        Parameters
        ----------
        zone
            One of :data:`ZONES`.
        year
            Of sampling, decimal.
        basis
            Terms of the history; with `holocene` it needs several slow ones.
        lag
            Years that carbon stays in plants before it reaches the soil.
        holocene
            The measured atmosphere before 1850 too, instead of a constant one.

        Raises
        ------
        ObservationError
            If the record ends before the year.
        """
        key = (zone, float(year), basis, lag, holocene)
        if key not in self._known:
            self._known[key] = self._coefficients(*key)
        return np.asarray(self._known[key])

    def _coefficients(
        self, zone: str, year: float, basis: Basis, lag: float, holocene: bool
    ) -> Float[np.ndarray, " term"]:
        if holocene and basis.n_slow < 2:
            raise ValueError(f"the Holocene needs several slow terms, such as {SLOW_TERMS}")
        entered = year - lag
        if entered > self.year[-1]:
            raise ObservationError(
                f"{self.source or 'The record of the atmosphere'} ends in {self.year[-1]:g}, and a "
                f"sample is of {year:g}. Use a longer record."
            )
        ratio = 1.0 + self.delta[zone] / 1000.0
        first = self.year[0] if holocene else START
        inside = self.year[(self.year > first) & (self.year < entered)]
        knots = np.concatenate([[min(first, entered)], inside, [entered]])
        knots = knots[np.concatenate([[True], np.diff(knots) > 0.0])]
        constant = float(np.interp(START, self.year, ratio))
        r, s = np.interp(knots, self.year, ratio)[::-1], (entered - knots)[::-1]
        return (
            basis.coefficients(s, r, constant)
            if len(s) > 1
            else basis.coefficients(np.array([0.0, 1.0]), np.full(2, constant), constant)
        )


def read_atmosphere(path: str | os.PathLike[str]) -> Atmosphere:
    """Read a record of the atmosphere.

    Parameters
    ----------
    path
        A table (CSV) with the columns year, D14C_NH, D14C_tropics and D14C_SH; or with zone, year
        and D14C by month and the zones of Hua et al. (2021); or a folder with `intcal20.14c`,
        `shcal20.14c` and `TableS1.csv` of Graven et al. (2017), as `proda get atmosphere-14c`
        brings them.

    Raises
    ------
    FileError
        If a file is absent or no table.
    ObservationError
        If a table lacks a column, or its numbers cannot be Delta14C in permil.
    """
    target = Path(path)
    if target.is_dir():
        return _compiled(target)
    frame = _table(target)
    if {"zone", "year", "D14C"} <= set(frame.columns):
        return _hua(frame, target)
    return _zones(frame, target)


def _table(path: Path) -> pd.DataFrame:
    with reading(path, "CSV table"):
        return pd.read_csv(path, comment="#")


def _zones(frame: pd.DataFrame, where: Path) -> Atmosphere:
    needed = ["year", *(f"D14C_{zone}" for zone in ZONES)]
    if missing := [name for name in needed if name not in frame.columns]:
        raise ObservationError(
            f"{where}: lacks the columns {', '.join(missing)}; expected {', '.join(needed)}, or "
            "zone, year and D14C."
        )
    return _checked(frame["year"], {zone: frame[f"D14C_{zone}"] for zone in ZONES}, where)


def _hua(frame: pd.DataFrame, where: Path) -> Atmosphere:
    by_zone = frame.pivot_table(index="year", columns="zone", values="D14C").interpolate("index")
    names = [name for zones in _HUA.values() for name in zones]
    if missing := [name for name in names if name not in by_zone]:
        raise ObservationError(f"{where}: lacks the zones {', '.join(missing)}.")
    means = {zone: by_zone[list(names)].mean(axis=1) for zone, names in _HUA.items()}
    return _checked(by_zone.index.to_series(), means, where)


def _compiled(folder: Path) -> Atmosphere:
    """Join IntCal20 and SHCal20 to 1850 with the annual record of Graven et al. after it."""
    old = {name: _calibration(folder / f"{name}.14c") for name in ("intcal20", "shcal20")}
    year, north = old["intcal20"]
    south = np.interp(year, *old["shcal20"])
    path = folder / "TableS1.csv"
    with reading(path, "CSV table"):
        recent = pd.read_csv(path, header=3, skiprows=[4])
    names = {"NH": "NH Delta14co2", "tropics": "Tropics Delta14co2", "SH": "SH Delta14co2"}
    if missing := [n for n in ("Date", *names.values()) if n not in recent.columns]:
        raise ObservationError(
            f"{path}: lacks the columns {', '.join(missing)} of Table S1 of Graven et al. (2017)."
        )
    before = year < START
    columns = {"NH": north, "tropics": 0.5 * (north + south), "SH": south}
    delta = {
        zone: pd.Series(
            np.concatenate([columns[zone][before], recent[names[zone]].to_numpy(float)])
        )
        for zone in ZONES
    }
    joined = pd.Series(np.concatenate([year[before], recent["Date"].to_numpy(float)]))
    return _checked(joined, delta, folder)


def _calibration(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a calibration curve (cal BP, 14C age, sigma, Delta14C, sigma): years AD and Delta14C."""
    with reading(path, "calibration curve"):
        frame = pd.read_csv(path, comment="#", header=None, usecols=[0, 3])
    rows = frame[pd.to_numeric(frame[0], errors="coerce").notna()].astype(float)
    year = 1950.0 - rows[0].to_numpy()
    order = np.argsort(year)
    return year[order], rows[3].to_numpy()[order]


def _checked(year: pd.Series, delta: Mapping[str, pd.Series], where: Path) -> Atmosphere:
    table = pd.DataFrame({"year": year.to_numpy(), **{z: d.to_numpy() for z, d in delta.items()}})
    try:
        table = table.astype(float).dropna().sort_values("year")
    except ValueError as error:
        raise ObservationError(f"{where}: a year or Delta14C is not a number ({error}).") from error
    table = table.groupby("year", as_index=False).mean()
    if len(table) < 2:
        raise ObservationError(f"{where}: holds no record; expected two or more years.")
    largest = table[list(ZONES)].abs().to_numpy().max()
    if largest < 10.0:
        raise ObservationError(
            f"{where}: the largest Delta14C is {largest:g}; this looks like fraction modern. "
            "Expected permil, such as 700 in 1964."
        )
    if table["year"].iloc[-1] <= START:
        raise ObservationError(
            f"{where}: ends in {table['year'].iloc[-1]:g}; a record that reaches the samples is "
            "needed."
        )
    return Atmosphere(
        table["year"].to_numpy(), {zone: table[zone].to_numpy() for zone in ZONES}, str(where)
    )
