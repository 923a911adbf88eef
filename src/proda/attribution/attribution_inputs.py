"""Inputs of an attribution: a map, the values that replace its components, and the data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from proda import files
from proda.errors import MapError
from proda.layout import RunFolder
from proda.learning.unseen_file import read_unseen
from proda.maps.cells import LandCells
from proda.maps.map_variables import PARAMETER_PREFIX
from proda.maps.totals import open_map
from proda.models.model import SoilModel
from proda.models.registry import load_recorded

PathLike = str | os.PathLike[str]
END_TO_END, POSTERIOR = "end to end", "from posteriors"
"""Routes by which profiles constrain a model, as the comparison calls them."""
MIXED_VARIABLES = ("CTE", "K", "XI", "I", "residence_time", "cSoilAbove1m")
"""Variables of a map that are exchanged between models."""
CONSTANT = "the constant calibrated on all profiles"
MEAN_OF_SITES = "the mean of the accepted sites"


@dataclass(frozen=True)
class AttributedMap:
    """A map of one model and the files with the values that replace its components.

    Parameters
    ----------
    name
        Name of the model.
    maps
        Map of a network (`proda map`).
    network
        The network of this map: its members give the spread, and a network trained end to end
        contains the calibrated constant.
    kept
        Posteriors of the accepted sites, whose mean replaces components in the published method,
        and wherever there is no calibrated constant.
    constant
        Network trained end to end that contains the calibrated constant, if it is not `network`.
    route
        How the profiles constrained the model.
    """

    name: str
    maps: PathLike
    network: PathLike | None = None
    kept: PathLike | None = None
    constant: PathLike | None = None
    route: str = END_TO_END


@dataclass(frozen=True)
class SiteFiles:
    """Measured profiles with forcing and covariates at their sites."""

    profiles: PathLike
    forcing: PathLike
    covariates: PathLike


@dataclass(frozen=True, eq=False)
class Opened:
    """One map in memory: parameters at the land cells with a steady state."""

    files: AttributedMap
    model: SoilModel
    dataset: xr.Dataset
    cells: LandCells
    """Land cells with a steady state in this map."""
    land: np.ndarray
    """Their positions among all land cells of the forcing."""
    own: dict[str, np.ndarray]
    """Mean over the members of each parameter, physical values."""
    replaced: dict[str, float]
    replaced_by: str


def maps_of_run(folder: PathLike) -> list[AttributedMap]:
    """Return the constrained maps of a study, end to end first.

    Raises
    ------
    MapError
        If it contains no map.
    """
    place, entries = RunFolder(Path(folder)), []
    models = sorted(p.name for p in place.path.glob("*/"))
    for model in models:
        if place.end_to_end_map(model).is_file():
            entries.append(
                AttributedMap(
                    model, place.end_to_end_map(model), place.end_to_end(model), route=END_TO_END
                )
            )
    for model in models:
        if place.map(model).is_file():
            through = place.end_to_end(model)
            entries.append(
                AttributedMap(
                    model,
                    place.map(model),
                    place.network(model),
                    place.kept(model),
                    through if through.is_dir() else None,
                    POSTERIOR,
                )
            )
    if not entries:
        raise MapError(f"{place.path}: contains no map of a network; run `proda run` first.")
    return entries


def sites_of_run(folder: PathLike) -> SiteFiles | None:
    """Return the profiles of a study with their forcing and covariates, if they exist."""
    place = RunFolder(Path(folder))
    needed = (place.profiles, place.sites, place.covariates)
    return SiteFiles(*needed) if all(path.exists() for path in needed) else None


def run_of(path: PathLike) -> Path | None:
    """Return the folder of the study that contains a map, or None."""
    parents = Path(path).resolve().parents
    return next((p for p in parents if RunFolder(p).record_file.is_file()), None)


def forcing_of_run(folder: PathLike) -> Path:
    """Return the forcing on the grid of a study."""
    place = RunFolder(Path(folder))
    settings = (
        files.read_toml(place.settings_file, MapError) if place.settings_file.is_file() else {}
    )
    file = settings.get("forcing", {}).get("file")
    return Path(file) if file else place.forcing


def covariates_grid_of_run(folder: PathLike) -> Path | None:
    """Return the grid of covariates in a study's settings, if it exists."""
    place = RunFolder(Path(folder))
    settings = (
        files.read_toml(place.settings_file, MapError) if place.settings_file.is_file() else {}
    )
    grid = settings.get("covariates", {}).get("grid")
    return Path(grid) if grid and Path(grid).exists() else None


def open_attributed(given: AttributedMap, cells: LandCells, forcing: PathLike) -> Opened:
    """Read a map's parameters and the values that replace them.

    Parameters
    ----------
    given
        The map.
    cells, forcing
        All land cells of the forcing, and its file.

    Raises
    ------
    FileError, MapError
        If a file is absent or damaged, the map is on another grid or has no parameters, or there
        are no values to replace them.
    """
    with open_map(given.maps) as opened:
        names = [n for n in opened.variables if str(n).startswith(PARAMETER_PREFIX)]
        dataset = files.load(opened[[*names, *MIXED_VARIABLES, "reason"]], given.maps)
    model = load_recorded(dataset.attrs, str(given.maps))
    if not all(
        np.allclose(dataset[a].to_numpy(), b, atol=1e-6)
        for a, b in (("lat", cells.lat), ("lon", cells.lon))
        if dataset[a].size == b.size
    ) or dataset.sizes["lat"] != len(cells.lat):
        raise MapError(f"{given.maps}: is on another grid than the forcing {forcing}.")
    lacking = [r.name for r in model.rows if PARAMETER_PREFIX + r.name not in dataset]
    if lacking:
        raise MapError(f"{given.maps}: the map lacks the parameters {', '.join(lacking)}.")
    at = {row.name: _values(dataset, row.name)[cells.row, cells.column] for row in model.rows}
    answered = dataset["reason"].transpose("lat", "lon").to_numpy()[cells.row, cells.column] == 0
    here = np.flatnonzero(
        answered & np.all([np.isfinite(v).reshape(len(cells), -1).all(1) for v in at.values()], 0)
    )
    if not here.size:
        raise MapError(f"{given.maps}: no cell has a steady state.")
    replaced, by = replacement(given, model)
    own = {name: v[here] for name, v in at.items()}
    return Opened(given, model, dataset, select(cells, here), here, own, replaced, by)


def _values(dataset: xr.Dataset, name: str) -> np.ndarray:
    data = dataset[PARAMETER_PREFIX + name]
    order = [d for d in ("lat", "lon", "layer") if d in data.dims]
    return np.asarray(data.transpose(*order).to_numpy(), dtype=np.float64)


def select(cells: LandCells, index: np.ndarray) -> LandCells:
    """Return some of the land cells, by position in the list."""
    return LandCells(
        cells.dataset,
        cells.lat,
        cells.lon,
        cells.row[index],
        cells.column[index],
        cells.status,
        cells.area,
        cells.land_fraction,
        cells.land_fraction_given,
    )


def replacement(given: AttributedMap, model: SoilModel) -> tuple[dict[str, float], str]:
    """Return the set of parameters that replaces components, and its description."""
    for folder in (given.constant, given.network):
        left_out = None if folder is None else read_unseen(folder)
        if left_out is not None:
            return {row.name: left_out["constant"][row.name] for row in model.rows}, CONSTANT
    if given.kept is not None:
        return mean_of_sites(given.kept, model), MEAN_OF_SITES
    raise MapError(
        f"{given.maps}: no values to replace the components. Give the network trained end to end, "
        "which contains the calibrated constant (--network), or the posteriors of the accepted "
        "sites (--kept)."
    )


def mean_of_sites(kept: PathLike, model: SoilModel) -> dict[str, float]:
    """Return the mean of the posterior means of the accepted sites.

    Raises
    ------
    MapError
        If the file belongs to another model, or contains no site.
    """
    with files.open_dataset(kept, result=True) as opened:
        lost = "posterior_mean" not in opened or not opened.sizes.get("site")
        mean = None if lost else files.load(opened[["posterior_mean"]], kept)["posterior_mean"]
    if mean is None or not {r.name for r in model.rows} <= set(mean["parameter"].to_numpy()):
        raise MapError(
            f"{kept}: contains no posteriors of sites of {model.name}; expected the "
            "output of `proda diagnose --output`."
        )
    values = mean.mean("site")
    return {row.name: float(values.sel(parameter=row.name)) for row in model.rows}
