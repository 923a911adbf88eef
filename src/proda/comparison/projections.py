"""Comparison of projections: the agreement of models today and in their changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.comparison.correlations import tested, vary
from proda.comparison.model_files import AFTER, BEFORE, END_TO_END
from proda.comparison.published_responses import constraints_table
from proda.comparison.spatial import weighted_correlation
from proda.errors import ComparisonError
from proda.latitude import GLOBE, ZONES
from proda.maps.totals import PG
from proda.projection.projection_variables import CHANGE, NEW, STOCK
from proda.projection.split import PARTS

STATES = (BEFORE, AFTER, END_TO_END)
"""Default parameters, and parameters constrained by each route, as in the comparison of maps."""
NEW_STEADY_STATE = "new steady state"
Files = Mapping[str, Mapping[str, str | os.PathLike[str]]]
"""Model -> state -> file of `proda project`."""


def open_projection(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a projection.

    Raises
    ------
    FileError
        If it cannot be read.
    ComparisonError
        If it is not a projection.
    """
    dataset = files.open_netcdf(path, result=True)
    needed = ("experiment", "years", "series_carbon", CHANGE + STOCK, "cell_area", "land_fraction")
    if missing := [name for name in needed if name not in dataset.variables]:
        raise ComparisonError(f"{path}: not a proda projection; it lacks {', '.join(missing)}.")
    return dataset


@dataclass(frozen=True)
class Moment:
    """An experiment and a time of it: years since the start, or None for the new steady state."""

    experiment: str
    years: float | None

    @property
    def words(self) -> str:
        """The time in tables."""
        return NEW_STEADY_STATE if self.years is None else f"{self.years:g}"

    def take(self, dataset: xr.Dataset, name: str, end: str = "") -> np.ndarray:
        """Return a variable of the change at this moment, (lat, lon)."""
        at = dataset.isel(experiment=_position(dataset, self.experiment))
        if self.years is None:
            return np.asarray(at[name + NEW + end].transpose("lat", "lon"), dtype=np.float64)
        years = at["years"].to_numpy()
        here = int(np.argmin(np.abs(years - self.years)))
        return np.asarray(at[name + end].isel(time=here).transpose("lat", "lon"), dtype=np.float64)


def _position(dataset: xr.Dataset, experiment: str) -> int:
    return [str(e) for e in dataset["experiment"].to_numpy()].index(experiment)


def moments(datasets: list[xr.Dataset]) -> list[Moment]:
    """Return the moments that all projections have, except the start and the control."""
    names = [[str(e) for e in d["experiment"].to_numpy()] for d in datasets]
    years = [set(d["years"].to_numpy().tolist()) - {0.0} for d in datasets]
    common = sorted(set.intersection(*years))
    return [
        Moment(name, at)
        for name in names[0]
        if name != "control" and all(name in others for others in names)
        for at in (*common, None)
    ]


def agreement_table(opened: Mapping[str, Mapping[str, xr.Dataset]]) -> pd.DataFrame:
    """Compare the change of carbon (0-100 cm) of every pair of models, before and after.

    All states are compared on the cells where both models have a result in all of them.

    Returns
    -------
    pandas.DataFrame
        One row per pair, state and moment: `r` of the change maps (kg m-2), weighted by land, with
        its effective number of cells and test, `r_relative` of the changes of the logarithm,
        `same_sign` (share of the land on which both change in one direction), `between` (root mean
        square difference of the models over the square root of 2, kg m-2), `within` (that of the
        members of a model around its mean), and `r_today`, of the logarithm of the present stock.
        NaN where a field is constant, or the models have no cell in common.
    """
    rows = []
    for first, second in combinations(opened, 2):
        states = [s for s in STATES if s in opened[first] and s in opened[second]]
        both = [[opened[m][s] for m in (first, second)] for s in states]
        if not both:
            continue
        for moment in moments([d for pair in both for d in pair]):
            land = _common_land([d for pair in both for d in pair], moment)
            for state, pair in zip(states, both, strict=True):
                labels = {
                    "first": first,
                    "second": second,
                    "state": state,
                    "experiment": moment.experiment,
                    "years": moment.words,
                }
                rows.append(labels | _compared(pair, moment, land))
    return pd.DataFrame(rows)


def _common_land(datasets: list[xr.Dataset], moment: Moment) -> np.ndarray:
    """Return the land of cells where all have a result and carbon, km2; 0 elsewhere."""
    land = np.nan_to_num(np.asarray(datasets[0]["cell_area"] * datasets[0]["land_fraction"]))
    for dataset in datasets:
        today, change = _today(dataset), moment.take(dataset, CHANGE + STOCK)
        land = np.where(np.isfinite(today) & np.isfinite(change) & (today > 0.0), land, 0.0)
    return land


def _today(dataset: xr.Dataset) -> np.ndarray:
    start = dataset[STOCK].isel(experiment=0, time=0).transpose("lat", "lon")
    return np.asarray(start, dtype=np.float64)


def _compared(pair: list[xr.Dataset], moment: Moment, land: np.ndarray) -> dict[str, float]:
    here = land > 0.0
    if not here.any():
        return {"n": 0}
    grid = np.meshgrid(pair[0]["lat"], pair[0]["lon"], indexing="ij")
    lat, lon = (np.asarray(axis)[here] for axis in grid)
    w = land[here]
    x, y = (moment.take(d, CHANGE + STOCK)[here] for d in pair)
    a, b = (_today(d)[here] for d in pair)
    logs = [np.log(np.maximum(s + c, 1e-12 * s) / s) for s, c in ((a, x), (b, y))]
    spreads = [_spread(d, moment)[here] for d in pair]
    within = [np.average(s**2, weights=w) for s in spreads if np.isfinite(s).all()]
    relative = tested(logs[0], logs[1], lat, lon, w)
    return {
        **tested(x, y, lat, lon, w),
        "r_relative": relative["r"],
        "r_relative_low": relative["low"],
        "r_relative_high": relative["high"],
        "same_sign": float(np.average(np.sign(x) == np.sign(y), weights=w)),
        "between": float(np.sqrt(np.average((x - y) ** 2, weights=w) / 2.0)),
        "within": float(np.sqrt(np.mean(within))) if within else float("nan"),
        "r_today": weighted_correlation(np.log(a), np.log(b), w) if vary(a, b) else float("nan"),
    }


def _spread(dataset: xr.Dataset, moment: Moment) -> np.ndarray:
    name = CHANGE + STOCK
    if (name + "_sd") not in dataset:
        return np.full(_today(dataset).shape, np.nan)
    return moment.take(dataset, name, "_sd")


def totals_table(opened: Mapping[str, Mapping[str, xr.Dataset]]) -> pd.DataFrame:
    """Return the change of carbon of each model, by zone and in permafrost soil.

    Returns
    -------
    pandas.DataFrame
        One row per model, state, experiment, time and region: `carbon` (Pg, at the start) and
        `change` (Pg) in 0-100 cm, with `q05` and `q95` over the members, and `per_cent`.
    """
    rows = []
    for model, states in opened.items():
        for state, dataset in states.items():
            rows += [{"model": model, "state": state, **row} for row in _totals(dataset)]
    return pd.DataFrame(rows)


def _totals(dataset: xr.Dataset) -> list[dict[str, object]]:
    stock = [str(s) for s in dataset["stock"].to_numpy()].index(STOCK)
    rows: list[dict[str, object]] = []
    for i, experiment in enumerate(map(str, dataset["experiment"].to_numpy())):
        years = dataset["series_years"].isel(experiment=i).to_numpy()
        series = dataset["series_carbon"].isel(experiment=i, stock=stock).to_numpy()
        for at in dataset["years"].to_numpy()[1:]:
            step = int(np.nanargmin(np.abs(years - at)))
            for region, inside in regions(dataset).items():
                start, end = (series[:, inside, k].sum(axis=1) for k in (0, step))
                change = end - start
                low, high = np.quantile(change, [0.05, 0.95]) if len(change) > 1 else (np.nan,) * 2
                rows.append(
                    {
                        "experiment": experiment,
                        "years": float(at),
                        "region": region,
                        "carbon": start.mean(),
                        "change": change.mean(),
                        "q05": low,
                        "q95": high,
                        "per_cent": 100.0 * change.mean() / start.mean()
                        if start.mean() > 0
                        else 0.0,
                    }
                )
    return rows


def regions(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return which entries of the dimension region belong to the globe, a zone, permafrost soil."""
    zone = np.array([str(z) for z in dataset["region"].to_numpy()])
    frozen = dataset["permafrost"].to_numpy().astype(bool)
    masks = {GLOBE: np.ones(len(zone), dtype=bool)} | {name: zone == name for name in ZONES}
    return masks | {"permafrost soil": frozen}


def split_table(opened: Mapping[str, Mapping[str, xr.Dataset]]) -> pd.DataFrame:
    """Return the effects of input, turnover, their product and imbalance on all carbon, Pg.

    Returns
    -------
    pandas.DataFrame
        One row per model, state, experiment and time, with the parts, their sum `change`, and
        `carbon` at the start.
    """
    rows = []
    for model, states in opened.items():
        for state, dataset in states.items():
            rows += [{"model": model, "state": state, **row} for row in _split(dataset)]
    return pd.DataFrame(rows)


def _split(dataset: xr.Dataset) -> list[dict[str, object]]:
    land = np.nan_to_num(np.asarray(dataset["cell_area"] * dataset["land_fraction"]))

    def total(values: xr.DataArray) -> float:
        return float(PG * np.nansum(values.transpose("lat", "lon").to_numpy() * land))

    rows: list[dict[str, object]] = []
    for i, experiment in enumerate(map(str, dataset["experiment"].to_numpy())):
        here = dataset.isel(experiment=i)
        start = total((here["cSoil"] + here["cLitter"]).isel(time=0))
        for j, at in enumerate(dataset["years"].to_numpy()):
            if at > 0.0:
                parts = {name: total(here[name].isel(time=j)) for name in PARTS}
                labels = {"experiment": experiment, "years": float(at)}
                rows.append(labels | parts | {"change": sum(parts.values()), "carbon": start})
    return rows


TABLES = ("agreement", "totals", "split", "constraints")
"""Tables of the comparison of projections."""
OPEN_QUESTION = "plus_4K"
"""Experiment for judging whether models that agree today agree in their changes."""


@dataclass(frozen=True, eq=False)
class Projections:
    """Projections of several models beside each other: the files, opened, and tables by name."""

    opened: Mapping[str, Mapping[str, xr.Dataset]]
    tables: dict[str, pd.DataFrame]


def compare_projections(given: Files, output: str | os.PathLike[str]) -> Projections:
    """Compare projections and write one CSV per table into a folder.

    Parameters
    ----------
    given
        Model -> state -> file.
    output
        Folder, created if absent.

    Raises
    ------
    FileError, ComparisonError
        If a file cannot be read, is not a projection, or is on another grid than the first.
    """
    opened = {
        model: {state: open_projection(path) for state, path in states.items()}
        for model, states in given.items()
    }
    _check_grids(given, opened)
    tables = {
        "agreement": agreement_table(opened),
        "totals": totals_table(opened),
        "split": split_table(opened),
    }
    tables["constraints"] = constraints_table(tables["totals"], tables["split"])
    files.write_tables(tables, output, ComparisonError)
    return Projections(opened, tables)


def _check_grids(given: Files, opened: Mapping[str, Mapping[str, xr.Dataset]]) -> None:
    every = [(given[m][s], d) for m, states in opened.items() for s, d in states.items()]
    first_path, first = every[0]
    for path, dataset in every[1:]:
        for axis in ("lat", "lon"):
            if not np.array_equal(dataset[axis].to_numpy(), first[axis].to_numpy()):
                raise ComparisonError(
                    f"{path}: its axis {axis} differs from that of {first_path}. Project both on "
                    "the same forcing, with the same setting `every`."
                )
