"""Maps from files: forcing and a network, defaults, or the mean of sites in; a map file out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from proda import cf, files
from proda.blocks.executor import Executor
from proda.checksums import digest
from proda.default_b import MEAN_B
from proda.drivers.covariates import open_covariates
from proda.drivers.grids import standard_grid
from proda.errors import MapError
from proda.learning.boosted_residual import read_residual
from proda.learning.conformal import Intervals
from proda.learning.features import Missing
from proda.learning.forcing_inputs import needs_forcing
from proda.learning.network_folder import load_ensemble, load_for_model, network_checksum
from proda.learning.residuals import read_residuals
from proda.learning.unseen_file import read_unseen
from proda.maps.cells import LandCells, land_cells
from proda.maps.intervals import Extras
from proda.maps.map_comparison import positions
from proda.maps.map_settings import CHUNK
from proda.maps.network_parameters import CellCovariates, NetworkParameters, cell_covariates
from proda.maps.parameter_sources import Default, Everywhere, b_by_type
from proda.maps.run_map import MapResult, write_map
from proda.models.model import SoilModel
from proda.models.registry import load_model, load_recorded, model_name
from proda.parameters import Bounds
from proda.places import check_dataset_sites
from proda.simulate import Progress

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class NetworkMap:
    """A map made with a network: what the run did, and what its covariates were like."""

    result: MapResult
    covariates: CellCovariates
    model: str
    variant: str


def map_network(
    forcing: PathLike,
    output: PathLike,
    *,
    network: PathLike,
    covariates: PathLike,
    model: str | None = None,
    variant: str | None = None,
    draws: bool = True,
    residual: bool = False,
    missing: Missing = "leave_out",
    bounds: Bounds = "physical",
    chunk: int = CHUNK,
    ages: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> NetworkMap:
    """Predict parameters on the covariate grid, run the model on every land cell, write a map.

    Parameters
    ----------
    forcing
        Forcing on the grid, of `proda forcing` (Zarr or netCDF).
    output
        The netCDF file; an interrupted call, repeated, goes on where it was.
    network
        Folder of :func:`proda.learning.network_folder.save_ensemble`.
    covariates
        Covariates on the same grid (netCDF or Zarr).
    model, variant
        What the network must be for; None: whatever it was trained for.
    draws
        Members spread as far as the truth may lie: joint draws where the network's folder has
        residuals (:mod:`proda.learning.residuals`), else each parameter by itself. Without
        `draws` the networks as they were trained, which agree more with each other than with the
        truth. Networks trained end to end have no draws: theirs are always the members.
    residual
        Also carbon and stocks with the boosted residual of the network's folder added (variables
        ending in `_and_residual`): a product of its own, which carries no mechanism.
    missing
        Cells that lack a covariate: "leave_out" counts them as `no_parameters`, "median" fills in
        the median of the training sites, and counts.
    bounds, chunk, ages, progress, executor
        As in :func:`proda.maps.run_map.write_map`.

    Raises
    ------
    FileError, LearningError
        If a file cannot be read, or the network is for another model, variant or set of
        parameters, or has no calibration for draws.
    MapError
        If the covariates are on another grid, or no cell has all of them; or a residual is wanted
        of a network that has none.

    Notes
    -----
    Maps of networks trained end to end with folds hold the 90 % predictive interval of one profile
    in the cell (`_lower`, `_upper`).
    """
    opened = cf.open_grid(forcing)
    parameters = network_source(
        land_cells(opened),
        network=network,
        covariates=covariates,
        model=model,
        variant=variant,
        draws=draws,
        missing=missing,
    )
    source, known = parameters.source, parameters.covariates
    extras, description = _extras(network, source, residual)
    result = write_map(
        parameters.model,
        opened,
        source,
        output,
        outside_training=known.outside_training,
        extras=extras,
        bounds=bounds,
        chunk=chunk,
        ages=ages,
        settings=parameters.description | description,
        progress=progress,
        executor=executor,
    )
    return NetworkMap(result, known, parameters.model.name, parameters.model.variant)


@dataclass(frozen=True)
class NetworkSource:
    """Parameters from a network at the cells of a grid."""

    model: SoilModel
    source: NetworkParameters
    covariates: CellCovariates
    description: dict[str, Any]
    """What tells them from others, for the file and for resuming."""


def network_source(
    cells: LandCells,
    *,
    network: PathLike,
    covariates: PathLike,
    model: str | None = None,
    variant: str | None = None,
    draws: bool = True,
    missing: Missing = "leave_out",
) -> NetworkSource:
    """Return parameters that a network predicts; arguments and errors are :func:`map_network`'s."""
    networks, kind = load_for_model(network, model, variant)
    known = cell_covariates(open_covariates(covariates), cells, networks, missing)
    there = read_residuals(network, networks.model, networks.variant, networks.parameters)
    # Networks trained end to end have no posteriors that could say how far parameters may lie off.
    draws = draws and not needs_forcing(networks.features.names)
    residuals, checksum = (None, "") if there is None or not draws else there
    drawn = "calibrated draws" if residuals is None else "joint draws"
    source = NetworkParameters(networks, known, draws, missing, residuals)
    description = {
        "parameters": f"network, {drawn if draws else 'members as trained'}",
        "network": network_checksum(network),
        "residuals": checksum,
        "covariates": known.digest,
        "missing_covariates": missing,
    }
    return NetworkSource(kind, source, known, description)


def _extras(
    network: PathLike, source: NetworkParameters, residual: bool
) -> tuple[Extras | None, dict[str, str]]:
    """Return intervals and residual of a network's folder, and what tells them from others."""
    left_out = read_unseen(network)
    boosted = read_residual(network) if residual else None
    if residual and boosted is None:
        raise MapError(
            f"{network}: contains no boosted residual; train it with `proda train --model ... "
            "--residual`."
        )
    if left_out is None:
        return None, {}
    known = {name: Intervals.from_dict(one) for name, one in left_out["intervals"].items()}
    extras = Extras(known.get("network"), boosted, known.get("network_and_residual"), source)
    if extras.intervals is None and boosted is None:
        return None, {}
    kept = {
        "intervals": json.dumps(left_out["intervals"].get("network")),
        "boosted_residual": "" if boosted is None else digest(*boosted.arrays.values()),
    }
    return extras, kept


def map_default(
    forcing: PathLike,
    output: PathLike,
    *,
    model: str,
    variant: str = "default",
    b: float | None = None,
    plant_types: PathLike | None = None,
    plant_type_variable: str | None = None,
    b_table: PathLike | None = None,
    bounds: Bounds = "physical",
    chunk: int = CHUNK,
    ages: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> MapResult:
    """Run a model with its ad hoc parameters on every land cell and write a map (P-section 2.5).

    Parameters
    ----------
    forcing, output, bounds, chunk, ages, progress, executor
        As in :func:`map_network`. Some defaults lie outside the prior: `bounds` is "physical".
    b
        Depth profile of carbon input everywhere, where the registry has no default for b (CLM5).
        None: the mean over all vegetation.
    plant_types, plant_type_variable, b_table
        Instead of `b`: a grid that holds the plant functional type of each cell (with
        `flag_meanings` by name, else by number), and a CSV table with the columns `type`, `b`.

    Raises
    ------
    FileError, MapError, ParameterError
        Naming what cannot be read, is on another grid, or lacks a type.
    """
    kind = load_model(model, variant)
    opened = cf.open_grid(forcing)
    b_of_cells: float | np.ndarray = MEAN_B if b is None else b
    given: dict[str, Any] = {"parameters": "default", "b": b_of_cells}
    if plant_types is not None:
        if plant_type_variable is None or b_table is None:
            raise MapError(
                "Plant types need the name of their variable and a table of b (type, b)."
            )
        types = _plant_types(plant_types, plant_type_variable, land_cells(opened))
        b_of_cells = b_by_type(types, _b_table(b_table, types))
        given["b"] = f"by plant type: {plant_type_variable}"
    elif plant_type_variable is not None or b_table is not None:
        raise MapError("A table of b by plant type needs a grid of plant types.")
    return write_map(
        kind,
        opened,
        Default(b_of_cells),
        output,
        bounds=bounds,
        chunk=chunk,
        ages=ages,
        settings=given,
        progress=progress,
        executor=executor,
    )


def map_mean(
    forcing: PathLike,
    output: PathLike,
    *,
    kept: PathLike,
    model: str | None = None,
    bounds: Bounds = "physical",
    chunk: int = CHUNK,
    ages: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> MapResult:
    """Run a model everywhere with the mean parameters of the accepted sites (P-section 2.5).

    Parameters
    ----------
    kept
        What `proda diagnose --output` wrote; it names the model.
    model
        What it must be for; None: whatever it is for.
    forcing, output, bounds, chunk, ages, progress, executor
        As in :func:`map_network`.

    Raises
    ------
    FileError, MapError
        If a file cannot be read, is no such file, or is of another model.
    """
    kind, source, description = mean_source(kept, model)
    return write_map(
        kind,
        cf.open_grid(forcing),
        source,
        output,
        bounds=bounds,
        chunk=chunk,
        ages=ages,
        settings=description,
        progress=progress,
        executor=executor,
    )


def mean_source(
    kept: PathLike, model: str | None = None
) -> tuple[SoilModel, Everywhere, dict[str, Any]]:
    """Return a model, the mean parameters of its accepted sites, and what tells them from others.

    Arguments and errors are those of :func:`map_mean`.
    """
    posterior = files.load(files.open_dataset(kept, result=True), kept)
    if "posterior_mean" not in posterior or "model" not in posterior.attrs:
        raise MapError(
            f"{kept}: contains no posteriors of sites; expected the output of `proda diagnose "
            "--output`."
        )
    if model is not None and posterior.attrs["model"] != model_name(model):
        raise MapError(f"{kept}: for the model {posterior.attrs['model']}, not {model}.")
    check_dataset_sites(posterior, kept, MapError)
    kind = load_recorded(posterior.attrs, str(kept))
    if posterior.sizes["site"] == 0:
        raise MapError(f"{kept}: contains no site.")
    mean = posterior["posterior_mean"].mean("site")
    there = [str(name) for name in mean["parameter"].to_numpy()]
    if lost := [row.name for row in kind.rows if row.name not in there]:
        raise MapError(f"{kept}: lacks the parameters {', '.join(lost)}.")
    values = {row.name: float(mean.sel(parameter=row.name)) for row in kind.rows}
    description = {"parameters": f"mean of {posterior.sizes['site']} sites", "values": values}
    return kind, Everywhere(values), description


def map_constant(
    forcing: PathLike,
    output: PathLike,
    *,
    network: PathLike,
    bounds: Bounds = "physical",
    chunk: int = CHUNK,
    ages: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> MapResult:
    """Run a model everywhere with the constant that was calibrated on all profiles.

    Parameters
    ----------
    network
        Folder of a network trained end to end, which holds the constant and names the model.
    forcing, output, bounds, chunk, ages, progress, executor
        As in :func:`map_network`.

    Raises
    ------
    FileError, MapError
        If a file cannot be read, or the network was trained by another route.
    """
    kind, source, description = constant_source(network)
    return write_map(
        kind,
        files.open_dataset(forcing),
        source,
        output,
        bounds=bounds,
        chunk=chunk,
        ages=ages,
        settings=description,
        progress=progress,
        executor=executor,
    )


def constant_source(network: PathLike) -> tuple[SoilModel, Everywhere, dict[str, Any]]:
    """Return a model, its calibrated constant, and what tells it from others.

    Arguments and errors are those of :func:`map_constant`.
    """
    trained = load_ensemble(network)
    left_out = read_unseen(network)
    if left_out is None:
        raise MapError(
            f"{network}: contains no calibrated constant; only networks trained end to end "
            "(`proda train --model`) do."
        )
    values = left_out["constant"]
    about = {
        "parameters": f"constant calibrated on {trained.n_sites} profiles",
        "values": values,
    }
    return trained.soil_model(str(network)), Everywhere(values), about


def _plant_types(path: PathLike, variable: str, cells: LandCells) -> np.ndarray:
    """Return the name, or without names the number, of the type of each land cell."""
    grid = standard_grid(cf.open_grid(path), str(path))
    if variable not in grid or set(grid[variable].dims) != {"lat", "lon"}:
        raise MapError(f"{path}: has no variable {variable} on (lat, lon).")
    like = xr.Dataset(coords={"lat": cells.lat, "lon": cells.lon})
    row, column = (
        positions(grid, like, axis, "grid of plant types")[at]
        for axis, at in (("lat", cells.row), ("lon", cells.column))
    )
    data = cf.load(grid[[variable]], path)[variable].transpose("lat", "lon")
    codes = data.to_numpy()[row, column].astype(np.float64)
    if (lost := np.isnan(codes)).any():
        i = int(np.argmax(lost))
        raise MapError(
            f"{path}: {variable} is missing at {int(lost.sum()):,} land cells, the first at "
            f"{cells.latitude[i]:g} N {cells.longitude[i]:g} E."
        )
    if (broken := codes != np.round(codes)).any():
        raise MapError(f"{path}: {variable} holds {codes[broken][0]:g}; types are whole numbers.")
    names = cf.classes(data.attrs, f"{path}: {variable}", MapError)
    if names is None:
        return codes.astype(int)
    return np.array([names.get(code, str(code)) for code in codes.astype(int)])


def _b_table(path: PathLike, types: np.ndarray) -> dict[Any, float]:
    table = files.read_csv(path, needed=("type", "b"), what="table of types and b", kind=MapError)
    with files.reading(path, "table of types and b", MapError, "Each type needs its number b."):
        kinds = table["type"].astype(int if types.dtype.kind == "i" else str)
        values = table["b"].astype(float)
    if kinds.duplicated().any():
        raise MapError(f"{path}: type {kinds[kinds.duplicated()].iloc[0]} appears twice.")
    return dict(zip(kinds.tolist(), values.tolist(), strict=True))
