"""Inputs of the comparison: the opened files of each model, checked for consistency."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.errors import ComparisonError
from proda.inference.diagnostics.filter import Filter
from proda.maps.map_comparison import on_same_grid
from proda.maps.totals import land_area, open_map
from proda.places import check_dataset_sites, check_sites

BEFORE, AFTER, END_TO_END = "before", "after", "end to end"
STATES = (BEFORE, AFTER, END_TO_END)
"""Default (ad hoc) parameters, parameters after data assimilation, and those trained end to end."""
ROUTES = {END_TO_END: "end to end", AFTER: "from posteriors"}
"""States in which profiles constrain the parameters, and the names of their routes."""

STOCK = "cSoilAbove1m"
LOGARITHMIC = (STOCK, "residence_time")
"""Compared as natural logarithms; for stocks, as in the paper."""
COMPONENTS = ("CTE", "K", "XI", "B", "V", "I")
COMPARED = (STOCK, *COMPONENTS, "litter_to_soil", "residence_time")
"""Variables of the maps by which every pair of models is compared."""


@dataclass(frozen=True)
class ModelFiles:
    """The files with the results of one model.

    Parameters
    ----------
    maps
        Map after data assimilation (route "from posteriors").
    default
        Map with default parameters; without it, the state "before" is missing.
    summary
        `summary.nc` of the assimilation: evidence, WAIC, PSIS-LOO, fit.
    sites
        Table of `proda diagnose` with the kept sites. Without it, all sampled sites are kept.
    forcing
        Forcing at the sites, for the substrates of Michaelis constants there.
    end_to_end
        Map of networks trained end to end. Either this or `maps` is needed.
    network, end_to_end_network
        Folders of the networks trained on posteriors and end to end, with their predictions at
        held-out places.
    """

    maps: str | os.PathLike[str] | None = None
    default: str | os.PathLike[str] | None = None
    summary: str | os.PathLike[str] | None = None
    sites: str | os.PathLike[str] | None = None
    forcing: str | os.PathLike[str] | None = None
    end_to_end: str | os.PathLike[str] | None = None
    network: str | os.PathLike[str] | None = None
    end_to_end_network: str | os.PathLike[str] | None = None

    @property
    def networks(self) -> dict[str, Path]:
        """The given folders of networks, by the state of their maps."""
        paths = {AFTER: self.network, END_TO_END: self.end_to_end_network}
        return {state: Path(path) for state, path in paths.items() if path is not None}

    @property
    def by_state(self) -> dict[str, str | os.PathLike[str]]:
        """The given maps, by state."""
        paths = {BEFORE: self.default, AFTER: self.maps, END_TO_END: self.end_to_end}
        return {state: path for state, path in paths.items() if path is not None}


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """One model's results in memory."""

    name: str
    maps: dict[str, xr.Dataset]
    """The given maps by state: "before", "after", "end to end"."""
    summary: xr.Dataset | None = None
    sites: pd.DataFrame | None = None
    forcing: xr.Dataset | None = field(default=None, repr=False)
    networks: Mapping[str, Path] = field(default_factory=dict)
    """Folders of networks, by the state of their maps."""

    @property
    def max_gelman_rubin(self) -> float:
        """The limit that was applied to the sites, from their table; otherwise the default."""
        if self.sites is None or "max_gelman_rubin" not in self.sites or self.sites.empty:
            return Filter.max_gelman_rubin
        return float(self.sites["max_gelman_rubin"].iloc[0])


def open_models(models: Mapping[str, ModelFiles]) -> dict[str, OpenedModel]:
    """Open the files of all models, in alphabetical order of their names.

    Raises
    ------
    FileError
        If a file cannot be read.
    MapError
        If a file is not a map, or is on another grid than the first.
    ComparisonError
        If there are fewer than two models, one has no map that profiles constrain, two have no map
        of the same state, or a file belongs to another model than its name.
    """
    if len(models) < 2:
        raise ComparisonError(f"{len(models)} model given; a comparison needs two or more.")
    opened: dict[str, OpenedModel] = {}
    grid: xr.Dataset | None = None
    for name in sorted(models):
        given = models[name]
        if given.maps is None and given.end_to_end is None:
            raise ComparisonError(
                f"{name} has no map with constrained parameters, from posteriors or end to end."
            )
        maps = {}
        for state, path in given.by_state.items():
            dataset = files.load(_needed(open_map(path), path), path)
            grid = dataset if grid is None else grid
            maps[state] = _aligned(dataset, grid, path)
        summary = None if given.summary is None else read_summary(given.summary)
        opened[name] = OpenedModel(
            name,
            maps,
            summary,
            None if given.sites is None else read_site_table(given.sites),
            None if given.forcing is None else files.open_dataset(given.forcing),
            given.networks,
        )
        _check_model(opened[name], given)
    for pair in pairs(opened):
        if not states_of(opened, pair):
            states = "; ".join(f"{name}: {', '.join(opened[name].maps)}" for name in pair)
            raise ComparisonError(f"{' and '.join(pair)} have no map of the same state ({states}).")
    return opened


def _needed(dataset: xr.Dataset, path: str | os.PathLike[str]) -> xr.Dataset:
    """Drop unused variables: the parameters and layers are the largest part of a map."""
    keep = [
        n
        for n in dataset.data_vars
        if not str(n).startswith(("param_", "n_")) and "layer" not in dataset[n].dims
    ]
    if lacking := [n for n in COMPARED if n not in keep]:
        raise ComparisonError(f"{path}: the map lacks {', '.join(lacking)}.")
    return dataset[keep]


def _aligned(dataset: xr.Dataset, grid: xr.Dataset, path: str | os.PathLike[str]) -> xr.Dataset:
    if all(np.array_equal(dataset[d], grid[d]) for d in ("lat", "lon")):
        return dataset
    if dataset.sizes["lat"] != grid.sizes["lat"] or dataset.sizes["lon"] != grid.sizes["lon"]:
        raise ComparisonError(
            f"{path}: on a grid of {dataset.sizes['lat']} x {dataset.sizes['lon']} cells, the "
            f"first map on one of {grid.sizes['lat']} x {grid.sizes['lon']}. They must share one."
        )
    return on_same_grid(dataset, grid)


def read_summary(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read the summary of an assimilation into memory, with its sites as text.

    Raises
    ------
    FileError
        If the file cannot be read.
    ComparisonError
        If it is not a summary, or the names of its sites are not unique.
    """
    dataset = files.load(files.open_dataset(path, result=True), path)
    if lacking := [n for n in ("log_evidence", "reason", "site") if n not in dataset.variables]:
        raise ComparisonError(f"{path}: not a summary of an assimilation; it lacks {lacking}.")
    check_dataset_sites(dataset, path, ComparisonError)
    return dataset.assign_coords(site=pd.Index(dataset["site"].to_numpy().astype(str)))


def read_site_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the table of `proda diagnose`, indexed by site.

    Raises
    ------
    ComparisonError
        If it cannot be read, or lacks the columns site and kept.
    """
    table = files.read_csv(
        path, what="table of `proda diagnose --table`", kind=ComparisonError, dtype={"site": str}
    )
    if not {"site", "kept"} <= set(table):
        raise ComparisonError(f"{path}: lacks site or kept; `proda diagnose --table` writes both.")
    check_sites(table["site"].fillna("").to_numpy(), path, ComparisonError)
    if table["kept"].dtype != bool:
        odd = next((v for v in table["kept"] if str(v) not in ("True", "False")), "no text")
        raise ComparisonError(f"{path}: kept is {odd}; expected True or False in every row.")
    return table.set_index("site")


def _check_model(model: OpenedModel, given: ModelFiles) -> None:
    opened = [(path, model.maps[state]) for state, path in given.by_state.items()]
    if given.summary is not None and model.summary is not None:
        opened.append((given.summary, model.summary))
    model_of = {str(path): str(dataset.attrs.get("model", model.name)) for path, dataset in opened}
    # Variants of one model may be compared under different names; files of one name must not be
    # mixed.
    if len(set(model_of.values())) > 1:
        raise ComparisonError(
            f"The files given for {model.name} are of different models: "
            + ", ".join(f"{path} of {name}" for path, name in model_of.items())
        )


def grid_of(models: Mapping[str, OpenedModel]) -> xr.Dataset:
    """Return any of the maps, which all have the same grid and land."""
    return next(iter(next(iter(models.values())).maps.values()))


def routes_of(models: Mapping[str, OpenedModel]) -> tuple[str, ...]:
    """Return the states in which profiles constrain some model, in the order of ROUTES."""
    return tuple(s for s in ROUTES if any(s in model.maps for model in models.values()))


def pairs(models: Mapping[str, OpenedModel]) -> list[tuple[str, str]]:
    """Return all pairs of models, alphabetically; a difference is the second minus the first."""
    return list(combinations(sorted(models), 2))


def common_land(
    models: Mapping[str, OpenedModel],
    names: tuple[str, ...],
    states: tuple[str, ...],
    with_carbon: bool = False,
) -> xr.DataArray:
    """Return the land (km2) of cells where all maps of these models and states have a result.

    With `with_carbon`, only cells where all of them also have carbon count.
    """
    first = models[names[0]].maps[states[0]]
    land = land_area(first)
    for name in names:
        for state in states:
            dataset = models[name].maps[state]
            land = land.where(dataset["reason"].transpose("lat", "lon") == 0, 0.0)
            if with_carbon:
                land = land.where(holds_carbon(dataset), 0.0)
    return land


def holds_carbon(dataset: xr.Dataset) -> xr.DataArray:
    """Return where a map has any carbon.

    Where there is no carbon (soil that never thaws, no input) the components are 0 by convention;
    as this is so in the same cells for both models, these zeros would give a meaningless
    correlation.
    """
    return dataset["residence_time"].transpose("lat", "lon") > 0


DEFINED_EVERYWHERE = (STOCK, "I")
"""Variables that are defined also where there is no carbon."""


def states_of(models: Mapping[str, OpenedModel], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the states that all these models have."""
    return tuple(s for s in STATES if all(s in models[n].maps for n in names))


def path_if_there(path: Path) -> Path | None:
    """Return the path if it exists."""
    return path if path.exists() else None
