"""A synthetic world with known truth, on which the whole study can be run without real data."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from proda import files
from proda.drivers.climate import from_climate
from proda.drivers.climate_input import open_climate
from proda.drivers.covariates import open_covariates
from proda.errors import FileError, MapError
from proda.maps.cells import LandCells, land_cells
from proda.maps.parameter_sources import EnsembleParameters
from proda.maps.run_map import write_map
from proda.models.model import SoilModel
from proda.models.registry import load_model
from proda.study.twin_climate import twin_climate
from proda.study.twin_profiles import draw_sites, measure, tidy_tables
from proda.study.twin_truth import CENTRES, true_parameters

CLIMATE, COVARIATES, PROFILES, NOTE = "climate.nc", "covariates.nc", "profiles", "world.json"


@dataclass(frozen=True)
class TwinWorld:
    """The files of a synthetic world, and its settings."""

    folder: Path
    seed: int
    resolution: float
    n_sites: int
    noise: float
    measured_model: str
    land_cells: int
    spread: dict[str, float]
    """Factor on the spread of each model's true parameters: less than 1 where its full spread had
    cells without a steady state."""

    @property
    def climate(self) -> Path:
        """Input of `proda forcing from-climate`."""
        return self.folder / CLIMATE

    @property
    def covariates(self) -> Path:
        """Input of `proda covariates build` and `proda map`."""
        return self.folder / COVARIATES

    @property
    def profiles(self) -> Path:
        """Input of `proda profiles build --source tidy:FOLDER`."""
        return self.folder / PROFILES

    def truth(self, model: str) -> Path:
        """Map of the true parameters, carbon and components, in the format of `proda map`."""
        return self.folder / f"truth_{model}.nc"


def make_twin_world(
    folder: str | os.PathLike[str],
    *,
    seed: int = 1,
    resolution: float = 7.5,
    n_sites: int = 120,
    noise: float = 0.25,
    measured_model: str = "clm5",
    models: tuple[str, ...] = tuple(CENTRES),
) -> TwinWorld:
    """Generate a planet, its climate, the true parameters of its soils, and measured profiles.

    Parameters
    ----------
    folder
        Folder to write; created if absent. `climate.nc`, `covariates.nc`, `profiles/` (the tables
        of the reader `tidy`), `truth_<model>.nc` (maps, in the format of :mod:`proda.maps`) and,
        last, `world.json`.
    seed
        Seed of all random numbers.
    resolution
        Size of a cell, degrees; it must divide 180.
    n_sites
        Number of profiles; 8 % more violate a rule of `proda profiles build`.
    noise
        Standard deviation of a layer's error, natural logarithms.
    measured_model
        Model whose truth the profiles are generated from; the misfit of the others can then be
        studied.
    models
        Models with true maps; by default the two of the study.

    Raises
    ------
    MapError
        If a setting is invalid, or a model has no steady state on this planet.
    FileError
        If the folder cannot be written.
    """
    _check(resolution, n_sites, noise, measured_model, models)
    target = Path(folder)
    try:
        (target / PROFILES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target}: the folder cannot be created ({error}).") from error
    (target / NOTE).unlink(missing_ok=True)
    climate, covariates = twin_climate(seed, resolution)
    files.write_netcdf(climate, target / CLIMATE)
    files.write_netcdf(covariates, target / COVARIATES)
    forcing = from_climate(open_climate(target / CLIMATE)).load()
    cells = land_cells(forcing)
    table = open_covariates(target / COVARIATES).table(cells.row, cells.column)
    spread = {}
    for name in models:
        model = load_model(name)
        for factor in (1.0, 0.8, 0.6, 0.4, 0.2):
            values = true_parameters(model, table, seed, factor)
            if _write_truth(model, forcing, values, target / f"truth_{name}.nc", len(cells)):
                spread[name] = factor
                break
        else:
            raise MapError(f"{name} has no steady state somewhere on the planet of seed {seed}.")
    _write_profiles(target, cells, n_sites, noise, seed, measured_model)
    world = TwinWorld(target, seed, resolution, n_sites, noise, measured_model, len(cells), spread)
    note = {**asdict(world), "folder": None, "synthetic": True}
    with files.whole_file(target / NOTE) as temporary:
        temporary.write_text(json.dumps(note, indent=1), encoding="utf-8")
    return world


def open_twin_world(folder: str | os.PathLike[str]) -> TwinWorld:
    """Return a world that :func:`make_twin_world` has finished.

    Raises
    ------
    FileError
        If there is none.
    """
    target = Path(folder)
    try:
        note = json.loads((target / NOTE).read_text(encoding="utf-8"))
        note.pop("synthetic")
        return TwinWorld(**{**note, "folder": target})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{target / NOTE}: not a finished synthetic world ({error}); create it with "
            "make_twin_world."
        ) from error


def _check(
    resolution: float, n_sites: int, noise: float, measured: str, models: tuple[str, ...]
) -> None:
    if not resolution > 0 or abs(180.0 / resolution - round(180.0 / resolution)) > 1e-9:
        raise MapError(f"resolution = {resolution:g}; it must divide 180 degrees.")
    if n_sites < 1:
        raise MapError(f"n_sites = {n_sites}; a world needs at least one.")
    if not noise >= 0:
        raise MapError(f"noise = {noise:g}; it must not be negative.")
    if measured not in models:
        raise MapError(f"measured_model = {measured}; expected one of {', '.join(models)}.")


def _write_truth(
    model: SoilModel, forcing: xr.Dataset, values: np.ndarray, path: Path, n: int
) -> bool:
    """Write the map of the truth; return whether every cell has a steady state."""
    result = write_map(
        model,
        forcing,
        EnsembleParameters(lambda cells: values[None, cells]),
        path,
        bounds="prior",
        settings={"parameters": "the truth of a synthetic world", "values": float(values.sum())},
    )
    return result.cells_by_reason.get("feasible", 0) == n


def _write_profiles(
    target: Path, cells: LandCells, n_sites: int, noise: float, seed: int, measured: str
) -> None:
    with files.open_netcdf(target / f"truth_{measured}.nc") as truth:
        soc = truth["soc"].transpose("lat", "lon", "layer").to_numpy()[cells.row, cells.column]
    sites, cell = draw_sites(cells, n_sites, seed)
    layers = measure(1000.0 * soc[cell].astype(np.float64), list(sites["profile_id"]), noise, seed)
    profiles, table = tidy_tables(sites, layers, seed)
    for name, frame in (("profiles", profiles), ("layers", table)):
        files.write_parquet(frame, target / PROFILES / f"{name}.parquet", index=False)
