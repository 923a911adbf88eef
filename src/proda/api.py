"""The public Python interface: one function for each step of a study.

The names of this module are those of `proda` itself: call ``proda.assimilate``, not
``proda.api.assimilate``. Each function does what the command of the same name does, with the same
settings classes. Data may be given as files, as xarray or pandas objects in memory, or as what
another function here returned. Data in memory are written to a folder `OUTPUT.inputs` beside the
result, so that a result and its inputs stay together; where nothing is written, to a temporary
folder that is removed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from proda import cf, files
from proda.attribution.attribute import Attribution, attribute_maps
from proda.attribution.attribution_inputs import (
    AttributedMap,
    SiteFiles,
    covariates_grid_of_run,
    forcing_of_run,
    maps_of_run,
    sites_of_run,
)
from proda.attribution.single import SAMPLE
from proda.blocks.executor import executor_of
from proda.comparison.compare_models import (
    Comparison,
    compare_models,
    covariates_of_run,
    files_of_run,
    projections_of_run,
)
from proda.comparison.model_files import ModelFiles
from proda.drivers import climate as climate_rules
from proda.drivers import covariates as grids
from proda.drivers import nearest_cells
from proda.drivers.climate_input import open_climate
from proda.drivers.forcing_settings import LIMIT_KM, W_FLOOR
from proda.drivers.site_tables import as_sites, read_sites
from proda.errors import (
    AssimilationError,
    ComparisonError,
    CovariateError,
    MapError,
    ObservationError,
)
from proda.forcing import Forcing
from proda.inference.assessment import Assessment, assess, kept_posterior
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.diagnostics.filter import Filter
from proda.inference.profiles import read_profiles
from proda.inference.runner import work
from proda.layout import RUN_DESCRIPTION, RunFolder
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.evaluate import Evaluation, evaluate_network
from proda.learning.features import Missing
from proda.learning.from_posteriors import TrainingResult, train_network
from proda.learning.learning_settings import LearningSettings
from proda.learning.predict import predict_table
from proda.learning.through_model import ThroughResult
from proda.learning.through_model import train_end_to_end as train_through
from proda.maps import map_from_files as stage
from proda.maps.totals import open_map
from proda.observations.build import build
from proda.observations.build_summary import Summary, read_build
from proda.observations.profile_settings import ProfileSettings, from_mapping, read_settings
from proda.observations.schema import REJECTED_COLUMNS, read_table
from proda.parameters import Bounds
from proda.validation_settings import END_TO_END, FOLDS, FROM_POSTERIORS, SPLIT, TREES, Split

PathLike = str | os.PathLike[str]
Report = Callable[[int, int, str], None]
"""Called while a function works: steps done, steps in total, and what is being done."""


@dataclass(frozen=True, eq=False)
class ProfileTables:
    """Soil profiles that passed the rules, and those that did not.

    Parameters
    ----------
    folder
        Where the tables are.
    summary
        Counts by source and reason, and the pedotransfer functions.
    profiles, layers
        One row per profile and per layer that is used.
    rejected
        Every profile and layer that is left out, with its reason.
    """

    folder: Path
    summary: Summary
    profiles: pd.DataFrame
    layers: pd.DataFrame
    rejected: pd.DataFrame


@dataclass(frozen=True, eq=False)
class SampledForcing:
    """Forcing at sites, and the sites that have none.

    Parameters
    ----------
    forcing
        On (site, ...), as :meth:`proda.Forcing.from_dataset` reads it.
    left_out
        Sites without forcing: site, latitude, longitude, reason, distance_km.
    """

    forcing: xr.Dataset
    left_out: pd.DataFrame


@dataclass(frozen=True, eq=False)
class SampledCovariates:
    """Covariates at sites or cells, and the sites that have none.

    Parameters
    ----------
    table
        One row per site or cell, one column per covariate.
    left_out
        Sites too far from any cell, with the reason; empty for a grid.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Assimilation:
    """A finished assimilation.

    Parameters
    ----------
    folder
        The run folder.
    draws
        `posterior` on (site, chain, draw, parameter), opened lazily.
    summary
        Means, quantiles, diagnostics and fitted layers of every site.
    """

    folder: Path
    draws: xr.Dataset
    summary: xr.Dataset


Table = PathLike | pd.DataFrame
Grid = PathLike | xr.Dataset
SiteForcing = PathLike | xr.Dataset | SampledForcing
SiteCovariates = PathLike | pd.DataFrame | SampledCovariates
Profiles = PathLike | ProfileTables
Network = PathLike | TrainingResult | ThroughResult
Kept = PathLike | xr.Dataset | Assessment


def build_profiles(
    settings: ProfileSettings | Mapping[str, Any] | PathLike,
    folder: PathLike,
    *,
    tables: Mapping[str, pd.DataFrame] | None = None,
    progress: Report | None = None,
) -> ProfileTables:
    """Read soil profiles, apply the rules and compute carbon stocks (`proda profiles build`).

    Parameters
    ----------
    settings
        Sources and rules: a :class:`proda.ProfileSettings`, the same as a mapping, or a TOML file.
    folder
        Where the tables are written; created if absent.
    tables
        Tables of layers in memory, by the name of their source. The source has the reader `csv` and
        states columns and units, but no `layers_file`. Only with `settings` as a mapping.
    progress
        Called while the function works.

    Returns
    -------
    ProfileTables

    Raises
    ------
    ObservationError, FileError
        If a setting is wrong or a source cannot be read.
    """
    if tables is not None and not isinstance(settings, Mapping):
        raise ObservationError("tables: give the settings as a mapping, in which they are sources.")
    with _inputs(folder) as kept:
        if isinstance(settings, Mapping):
            settings = from_mapping(_with_tables(settings, tables or {}, kept), "settings")
        elif not isinstance(settings, ProfileSettings):
            settings = read_settings(settings)
        build(settings, folder, None if progress is None else _reordered(progress))
    return open_profiles(folder)


def open_profiles(folder: PathLike) -> ProfileTables:
    """Open the tables that :func:`build_profiles` or `proda profiles build` wrote.

    Raises
    ------
    FileError
        If a table is absent, or the files are not of one build.
    """
    summary, profiles, layers = read_build(folder)
    rejected = read_table(Path(folder) / "rejected.parquet", REJECTED_COLUMNS)
    return ProfileTables(Path(folder), summary, profiles, layers, rejected)


def estimate_forcing(
    climate: PathLike, output: PathLike | None = None, *, w_floor: float = W_FLOOR
) -> xr.Dataset:
    """Estimate the forcing of a grid from annual climate (`proda forcing from-climate`).

    Parameters
    ----------
    climate
        Annual climate on lat, lon (netCDF or Zarr).
    output
        Zarr store to write; with it the result is opened from there.
    w_floor
        Smallest water scalar.

    Returns
    -------
    Forcing on (lat, lon, layer, month), lazy.

    Raises
    ------
    ForcingError, FileError
        If a variable is missing or out of range, or a file cannot be read.
    """
    dataset = open_climate(climate, {})
    source = f"{Path(climate).name}: {dataset.attrs.get('title', 'no title')}"
    forcing = climate_rules.from_climate(dataset, w_floor, source)
    if output is None:
        return forcing
    with files.whole_folder(output) as temporary:
        files.write_zarr(forcing, temporary)
    return cf.open_grid(output)


def sample_forcing(
    forcing: Grid,
    sites: Table | ProfileTables,
    output: PathLike | None = None,
    *,
    limit_km: float = LIMIT_KM,
) -> SampledForcing:
    """Take the forcing of each site's nearest usable cell (`proda forcing at-sites`).

    Parameters
    ----------
    forcing
        Forcing on a grid.
    sites
        Table with site (or profile_id), latitude, longitude; or the profiles themselves.
    output
        File to write (.nc or .zarr); the sites that are left out go to OUTPUT.left_out.csv.
    limit_km
        Leave out sites farther from the centre of any usable cell.

    Returns
    -------
    SampledForcing

    Raises
    ------
    ForcingError, SiteError, FileError
        If no site is near a usable cell, or the input cannot be read.
    """
    grid = forcing if isinstance(forcing, xr.Dataset) else cf.open_grid(forcing)
    sampled, nearest = nearest_cells.forcing_at_sites(grid, _sites(sites), limit_km)
    Forcing.from_dataset(sampled)  # judged before an older file is replaced
    if output is not None:
        files.write_dataset(sampled, output)
        nearest_cells.write_left_out(nearest, f"{os.fspath(output)}.left_out.csv")
    return SampledForcing(sampled, nearest.left_out)


def sample_covariates(
    grid: PathLike,
    sites: Table | ProfileTables | None = None,
    output: PathLike | None = None,
    *,
    limit_km: float = LIMIT_KM,
) -> SampledCovariates:
    """Take the covariates of sites, or of every usable cell (`proda covariates build`).

    Parameters
    ----------
    grid
        Covariates on lat, lon (netCDF or Zarr).
    sites
        Table with site (or profile_id), latitude, longitude; or the profiles themselves. Without
        it, every usable cell of the grid.
    output
        Parquet table to write; the sites that are left out go to OUTPUT.left_out.csv.
    limit_km
        Leave out sites farther from the centre of any usable cell.

    Returns
    -------
    SampledCovariates

    Raises
    ------
    CovariateError, SiteError, FileError
        If no site is near a usable cell, or the input cannot be read.
    """
    opened = grids.open_covariates(grid)
    if sites is None:
        table, nearest = grids.on_grid(opened), None
    else:
        table, nearest = grids.at_sites(opened, _sites(sites), limit_km)
        if table.empty:
            raise CovariateError(f"None of the sites is near a usable cell: {nearest.counts()}.")
    if output is not None:
        grids.write_table(table, output)
        if nearest is not None:
            nearest_cells.write_left_out(nearest, f"{os.fspath(output)}.left_out.csv")
    left_out = pd.DataFrame(columns=["site", "reason"]) if nearest is None else nearest.left_out
    return SampledCovariates(table, left_out)


def assimilate(
    profiles: Profiles,
    forcing: SiteForcing,
    folder: PathLike,
    settings: AssimilationSettings | None = None,
    *,
    n_sites: int | None = None,
    workers: int = 1,
    cluster: PathLike | None = None,
    stop_after: float | None = None,
    progress: Report | None = None,
    warn: Callable[[str], None] | None = None,
) -> Assimilation:
    """Estimate a model's parameters at every profile (`proda assimilate`).

    A folder that holds a run of the same settings and data already is resumed, or opened if the
    run is finished; calling the function again is therefore safe.

    Parameters
    ----------
    profiles
        From :func:`build_profiles`, or the folder it wrote.
    forcing
        Forcing at the sites, from :func:`sample_forcing`, as a dataset or a file.
    folder
        Where the run is kept.
    settings
        Model, sampler, likelihood. Without it: those of the run in the folder, else the defaults.
    n_sites
        Use at most this many sites, spread over latitudes.
    workers
        Processes on this machine. With more than one, a script needs the usual
        ``if __name__ == "__main__":``.
    cluster
        TOML file of a cluster, instead of `workers`.
    stop_after
        Stop within this many seconds: no block of sites is started that would not be finished.
    progress
        Called with the number of sites done and in total.
    warn
        Called with a sentence about each damaged file that is computed again.

    Returns
    -------
    Assimilation

    Raises
    ------
    Stopped
        If stopped before the end; call the function again to resume.
    AssimilationError, FileError
        If settings or data do not fit each other, or differ from those of the run in the folder.
    """
    with _inputs(folder, fixed=True) as kept:
        run = _run(Path(folder), settings, _folder(profiles), _forcing(forcing, kept), n_sites)
    if not run.complete:
        with executor_of(workers, cluster, stop_after) as executor:
            work(run, executor, progress=_counting(progress), warn=warn or (lambda _: None))
    return open_assimilation(folder)


def open_assimilation(folder: PathLike) -> Assimilation:
    """Open a finished assimilation.

    Raises
    ------
    FileError
        If the run is not finished.
    """
    return Assimilation(Path(folder), *open_posterior(folder))


def diagnose(
    run: PathLike | Assimilation | xr.Dataset,
    limits: Filter | None = None,
    output: PathLike | None = None,
) -> Assessment:
    """Judge the sites of an assimilation (`proda diagnose`).

    Parameters
    ----------
    run
        From :func:`assimilate`, its folder, or its summary.
    limits
        What a site's posterior must satisfy; the published limits by default.
    output
        File for the posteriors of the sites that pass (.nc or .zarr), for :func:`train`.

    Returns
    -------
    Assessment, of which `sites` is a table with one row per site; :func:`kept_posterior` returns
    the posteriors of the sites that pass.

    Raises
    ------
    AssimilationError, FileError
        If the run is not finished, or no site passes and an output is asked for.
    """
    if isinstance(run, Assimilation):
        summary = run.summary
    else:
        summary = run if isinstance(run, xr.Dataset) else open_posterior(run)[1]
    assessment = assess(summary, limits or Filter())
    if output is not None:
        files.write_dataset(kept_posterior(assessment), output)
    return assessment


def train(
    kept: Kept,
    covariates: SiteCovariates,
    network: PathLike,
    settings: LearningSettings | None = None,
    *,
    profiles: Profiles | None = None,
    forcing: SiteForcing | None = None,
    assimilation: PathLike | Assimilation | None = None,
    folds: int = FOLDS,
    fold_members: int = FROM_POSTERIORS,
    random_folds: bool = False,
    trees: int = TREES,
    curve: bool = True,
    missing: Missing = "leave_out",
    progress: Report | None = None,
) -> TrainingResult:
    """Train networks on the posteriors of sites and judge them (`proda train`).

    Parameters
    ----------
    kept
        From :func:`diagnose`, the posteriors themselves, or their file.
    covariates
        Covariates of the sites.
    network
        Folder to write; an older network there is replaced.
    settings
        The defaults of :class:`proda.LearningSettings` if absent.
    profiles, forcing
        Give both to tune the networks through the soil model and to judge them by carbon.
    assimilation
        Adds the fit of the sites' own posteriors, and joint draws for maps.
    folds, fold_members, random_folds
        Folds of the cross-validation (0: none), networks in each, and whether folds are random
        sites or blocks of the map.
    trees, curve
        Trees of the random forest to compare with; whether to compute the learning curve.
    missing
        Sites that lack a covariate: "leave_out", or "median" to fill them in.
    progress
        Called after every epoch.

    Returns
    -------
    TrainingResult, with tables of skill, importance and the learning curve.

    Raises
    ------
    LearningError, FileError
        If the input does not fit or cannot be read.
    """
    with _inputs(network) as held:
        return train_network(
            held.dataset(kept_posterior(kept) if isinstance(kept, Assessment) else kept, "kept"),
            _covariates(covariates, held),
            network,
            settings,
            profiles=None if profiles is None else _folder(profiles),
            forcing=None if forcing is None else _forcing(forcing, held),
            assimilation=None if assimilation is None else _folder(assimilation),
            folds=folds,
            fold_members=fold_members,
            spatial=not random_folds,
            trees=trees,
            curve=curve,
            missing=missing,
            progress=_epochs(progress),
        )


def train_end_to_end(
    covariates: SiteCovariates,
    network: PathLike,
    settings: EndToEndSettings | None = None,
    *,
    model: str,
    profiles: Profiles,
    forcing: SiteForcing,
    variant: str = "default",
    folds: int = FOLDS,
    fold_members: int = END_TO_END,
    split: Split = SPLIT,
    residual: bool = False,
    missing: Missing = "leave_out",
    streams: Mapping[str, PathLike] | None = None,
    progress: Report | None = None,
) -> ThroughResult:
    """Train networks through a soil model on measured carbon (`proda train --model`).

    Parameters
    ----------
    covariates
        Covariates of the sites.
    network
        Folder to write; an older network there is replaced.
    settings
        The defaults of :class:`proda.EndToEndSettings` if absent.
    model, variant
        The soil model.
    profiles, forcing
        Soil profiles, and the forcing at their sites.
    folds, fold_members, split
        Folds of the cross-validation (0: none), networks in each, and how sites are divided.
    residual
        Also boost what the networks leave of ln carbon at places left out.
    missing
        Sites that lack a covariate: "leave_out", or "median" to fill them in.
    streams
        Data beside carbon to learn from: folder of `proda streams build` by name of the stream.
    progress
        Called after every epoch.

    Returns
    -------
    EndToEndResult, with the calibrated constant and the skill at places left out.

    Raises
    ------
    LearningError, FileError
        If the input does not fit or cannot be read.
    """
    with _inputs(network) as held:
        return train_through(
            _covariates(covariates, held),
            network,
            profiles=_folder(profiles),
            forcing=_forcing(forcing, held),
            model=model,
            variant=variant,
            settings=settings,
            folds=folds,
            fold_members=fold_members,
            split=split,
            residual=residual,
            streams=streams,
            missing=missing,
            progress=_epochs(progress),
        )


def evaluate(
    network: Network,
    profiles: Profiles,
    forcing: SiteForcing,
    covariates: SiteCovariates,
    output: PathLike | None = None,
    *,
    missing: Missing = "leave_out",
) -> Evaluation:
    """Compare a network and its baselines with any measured profiles (`proda evaluate`).

    Parameters
    ----------
    network
        From :func:`train` or :func:`train_end_to_end`, or its folder.
    profiles, forcing, covariates
        Soil profiles, and forcing and covariates at their sites.
    output
        CSV table to write, one row per method.
    missing
        Sites that lack a covariate: "leave_out", or "median" to fill them in.

    Returns
    -------
    Evaluation, with tables of skill and of what was left out.

    Raises
    ------
    LearningError, FileError
        If the input does not fit or cannot be read.
    """
    with _inputs(output) as held:
        return evaluate_network(
            _folder(network),
            _folder(profiles),
            _forcing(forcing, held),
            _covariates(covariates, held),
            output,
            missing=missing,
        )


def predict(
    network: Network,
    covariates: SiteCovariates,
    output: PathLike | None = None,
    *,
    draws: bool = False,
    missing: Missing = "leave_out",
    forcing: Grid | SampledForcing | None = None,
) -> xr.Dataset:
    """Predict parameters wherever there are covariates (`proda predict`).

    Parameters
    ----------
    network
        From :func:`train` or :func:`train_end_to_end`, or its folder.
    covariates
        Table of sites or cells, or a file with a grid.
    output
        File to write (.nc or .zarr).
    draws
        Also members spread as far as the truth may lie.
    missing
        Rows that lack a covariate: "leave_out" for NaN, or "median" to fill them in.
    forcing
        Forcing of the same places, which networks trained end to end need.

    Returns
    -------
    Parameters on (member, site, parameter), with mean, spread and flags of extrapolation.

    Raises
    ------
    LearningError, FileError
        If the input does not fit or cannot be read.
    """
    with _inputs(output) as held:
        predicted = predict_table(
            _folder(network),
            _covariates(covariates, held),
            output,
            draws=draws,
            missing=missing,
            forcing=None if forcing is None else _forcing(forcing, held),
        )
    if output is None and not isinstance(covariates, str | os.PathLike):
        predicted.attrs["covariates"] = "given in memory"
    return predicted


def map_carbon(
    forcing: Grid,
    output: PathLike,
    *,
    network: Network | None = None,
    covariates: PathLike | None = None,
    model: str | None = None,
    variant: str | None = None,
    default: bool = False,
    mean_of: Kept | None = None,
    constant: PathLike | ThroughResult | None = None,
    draws: bool = True,
    residual: bool = False,
    missing: Missing = "leave_out",
    b: float | None = None,
    bounds: Bounds = "physical",
    ages: bool = False,
    progress: Report | None = None,
) -> xr.Dataset:
    """Run a model on every land cell and write a map (`proda map`).

    Exactly one of `network`, `default`, `mean_of` and `constant` says where parameters come from.

    Parameters
    ----------
    forcing
        Forcing on the grid.
    output
        The netCDF file. An interrupted call continues when it is repeated.
    network, covariates
        Predict parameters with this network from the covariates of a grid (file).
    model, variant
        The soil model; a network or kept sites name their own.
    default
        Use the model's default parameters everywhere; needs `model`.
    mean_of
        Use the mean of the sites that :func:`diagnose` kept.
    constant
        Use the constant that was calibrated by :func:`train_end_to_end`.
    draws, residual, missing
        With `network`: members spread as far as the truth may lie; carbon with the boosted residual
        added; cells that lack a covariate.
    b
        With `default`: depth profile of carbon input where the model has no default for it;
        None: the mean over all vegetation.
    bounds
        Limits of parameters: "physical" or "prior".
    ages
        Whether the map holds the mean ages of carbon, of depths and pools, as well.
    progress
        Called with the number of cells done and in total.

    Returns
    -------
    The map, opened lazily.

    Raises
    ------
    MapError, LearningError, FileError
        If the input does not fit or cannot be read.
    """
    given = (network is not None, default, mean_of is not None, constant is not None)
    if sum(given) != 1:
        raise MapError("Give exactly one of network, default, mean_of and constant.")
    common: dict[str, Any] = {"bounds": bounds, "ages": ages}
    if progress is not None:
        common["progress"] = lambda done, total: progress(done, total, "cells")
    with _inputs(output) as held:
        grid = held.dataset(forcing, "forcing")
        if network is not None:
            if covariates is None:
                raise MapError("network: give the covariates of the grid, too.")
            stage.map_network(
                grid,
                output,
                network=_folder(network),
                covariates=covariates,
                model=model,
                variant=variant,
                draws=draws,
                residual=residual,
                missing=missing,
                **common,
            )
        elif mean_of is not None:
            kept = kept_posterior(mean_of) if isinstance(mean_of, Assessment) else mean_of
            stage.map_mean(grid, output, kept=held.dataset(kept, "kept"), model=model, **common)
        elif constant is not None:
            stage.map_constant(grid, output, network=_folder(constant), **common)
        else:
            if model is None:
                raise MapError("default: name the model, too.")
            stage.map_default(
                grid, output, model=model, variant=variant or "default", b=b, **common
            )
    return open_map(output)


def attribute(
    maps: PathLike | Sequence[AttributedMap],
    output: PathLike | None = None,
    *,
    forcing: Grid | None = None,
    covariates: PathLike | None = None,
    sites: SiteFiles | None = None,
    sample: int = SAMPLE,
    input_variation: float | None = None,
    progress: Report | None = None,
) -> Attribution:
    """Say which component makes a map what it is, and two maps differ (`proda attribute`).

    Parameters
    ----------
    maps
        Folder of a study, whose files are then taken where they are not given; or maps with their
        networks.
    output
        Folder to write; RUN/attribution by default where `maps` is the folder of a study.
    forcing
        Forcing on the grid of the maps.
    covariates
        Covariates on the same grid (file): then the members of the networks tell a spread.
    sites
        Measured profiles: then components are also judged by the skill there.
    sample
        Cells on which every member is run.
    input_variation
        Standard deviation over mean of the carbon input, for the published method.
    progress
        Called after every step.

    Returns
    -------
    Attribution, with `tables` by name and `maps` of Shapley values.

    Raises
    ------
    MapError, LearningError, FileError
        If the files do not fit together or cannot be read.
    """
    if isinstance(maps, str | os.PathLike):
        entries: Sequence[AttributedMap] = maps_of_run(maps)
        forcing = forcing_of_run(maps) if forcing is None else forcing
        covariates = covariates or covariates_grid_of_run(maps)
        sites, output = sites or sites_of_run(maps), output or RunFolder(Path(maps)).attribution
    else:
        entries = maps
    if output is None or forcing is None:
        raise MapError("attribute: name the folder to write, and the forcing of the maps.")
    with _inputs(output) as held:
        return attribute_maps(
            entries,
            output,
            forcing=held.dataset(forcing, "forcing"),
            covariates=covariates,
            sites=sites,
            sample=sample,
            input_variation=input_variation,
            progress=None
            if progress is None
            else (lambda done, total: progress(done, total, "steps")),
        )


def compare(
    models: PathLike | Mapping[str, ModelFiles],
    output: PathLike | None = None,
    *,
    reference: PathLike | None = None,
    covariates: SiteCovariates | None = None,
    forcing: SiteForcing | None = None,
    progress: Report | None = None,
) -> Comparison:
    """Compare models before and after learning from profiles (`proda compare`).

    Parameters
    ----------
    models
        Folder of a study, or the files of each model by its name.
    output
        Folder to write; RUN/comparison by default where `models` is the folder of a study.
    reference
        File with reference stocks on the maps' grid.
    covariates
        Covariates at the sites, whose climate classes group them.
    forcing
        Forcing at the sites, for the Michaelis constants there.
    progress
        Called after every step.

    Returns
    -------
    Comparison, with `tables` by name and `maps` of differences.

    Raises
    ------
    ComparisonError, MapError, FileError
        If the files do not fit together or cannot be read.
    """
    table: PathLike | None = None
    parts: PathLike | None = None
    if not isinstance(models, Mapping):
        parts = RunFolder(Path(models)).attribution
        compared = files_of_run(models)
        target, table = output or RunFolder(Path(models)).comparison, covariates_of_run(models)
    else:
        compared = dict(models)
        if output is None:
            raise ComparisonError("compare: name the folder to write.")
        target = output
    with _inputs(target) as held:
        if covariates is not None:
            table = _covariates(covariates, held)
        if forcing is not None:
            path = _forcing(forcing, held)
            compared = {name: replace(each, forcing=path) for name, each in compared.items()}
        return compare_models(
            compared,
            target,
            reference=reference,
            covariates=table,
            projections=None if isinstance(models, Mapping) else projections_of_run(models),
            attribution=parts,
            progress=None
            if progress is None
            else (lambda done, total: progress(done, total, "steps")),
        )


class _Inputs:
    """Files of data that are in memory."""

    def __init__(self, folder: Path, fixed: bool) -> None:
        self.folder = folder
        self.fixed = fixed

    def dataset(self, value: Grid, name: str) -> PathLike:
        """Return the path of a dataset, written if it is in memory."""
        if not isinstance(value, xr.Dataset):
            return value
        path = self.folder / f"{name}.nc"
        if path.is_file():
            with files.open_dataset(path) as before:
                if before.load().equals(value):
                    return path
            if self.fixed:
                raise AssimilationError(
                    f"{path}: the run was started with another {name} than is given now. Choose "
                    "another folder."
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_netcdf(value, path)
        return path

    def table(self, value: Table, name: str) -> PathLike:
        """Return the path of a table, written if it is in memory."""
        if not isinstance(value, pd.DataFrame):
            return value
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.parquet"
        files.write_parquet(value, path)
        return path


@contextmanager
def _inputs(output: PathLike | None, fixed: bool = False) -> Iterator[_Inputs]:
    """Yield a place for data in memory: beside the output, or else a temporary folder.

    `fixed`: what is there may not be replaced by anything else.
    """
    if output is not None:
        yield _Inputs(Path(f"{os.fspath(output)}.inputs"), fixed)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _Inputs(Path(folder), fixed)


def _folder(value: Profiles | Network | Assimilation) -> PathLike:
    return value if isinstance(value, str | os.PathLike) else value.folder


def _forcing(value: SiteForcing, held: _Inputs) -> PathLike:
    inner = value.forcing if isinstance(value, SampledForcing) else value
    return held.dataset(inner, "forcing")


def _covariates(value: SiteCovariates, held: _Inputs) -> PathLike:
    return held.table(value.table if isinstance(value, SampledCovariates) else value, "covariates")


def _sites(value: Table | ProfileTables) -> pd.DataFrame:
    if isinstance(value, ProfileTables):
        return as_sites(value.profiles)
    if isinstance(value, pd.DataFrame):
        return as_sites(value)
    inside = Path(value) / "profiles.parquet"
    return read_sites(inside if inside.is_file() else value)


def _with_tables(
    settings: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], held: _Inputs
) -> dict[str, Any]:
    """Return settings whose sources of tables in memory name the files these were written to."""
    sources = [dict(source) for source in settings.get("source", ())]
    by_name = {source.get("name"): source for source in sources}
    for name, table in tables.items():
        if name not in by_name:
            raise ObservationError(f"tables: no source of the settings has the name {name!r}.")
        held.folder.mkdir(parents=True, exist_ok=True)
        path = held.folder / f"{name}.csv"
        with files.whole_file(path) as temporary:
            table.to_csv(temporary, index=False)
        by_name[name]["layers_file"] = str(path)
    return {**settings, "source": sources}


def _run(
    folder: Path,
    settings: AssimilationSettings | None,
    profiles: PathLike,
    forcing: PathLike,
    n_sites: int | None,
) -> Run:
    """Create a run, or open the one that is there if it is of the same settings and data."""
    if not (folder / RUN_DESCRIPTION).is_file():
        return create(
            folder,
            settings or AssimilationSettings.model_validate({}),
            profiles,
            forcing,
            n_sites=n_sites,
        )
    run = Run(folder)
    if settings is not None and settings != run.settings:
        asked, held = settings.model_dump(), run.settings.model_dump()
        differ = [
            f"{n} = {asked[n]!r} (the run has {held[n]!r})" for n in asked if asked[n] != held[n]
        ]
        raise AssimilationError(
            f"{folder} holds a run with other settings: {'; '.join(differ)}. Choose another folder."
        )
    places = {"profiles": profiles, "forcing": forcing}
    moved = {n: p for n, p in places.items() if Path(p).absolute() != Path(run.places[n])}
    run.relocate(**moved)
    run.check_profiles()
    run.check_forcing()
    left_out = len(pd.read_csv(folder / "left_out.csv"))
    available = len(read_profiles(profiles)) - left_out
    expected = available if n_sites is None else min(n_sites, available)
    if expected != run.description.n_sites:
        raise AssimilationError(
            f"{folder} holds a run of {run.description.n_sites:,} sites, not {expected:,}. Choose "
            "another folder, or the same n_sites."
        )
    return run


def _counting(progress: Report | None) -> Callable[[int, int, float], None]:
    if progress is None:
        return lambda *_: None
    return lambda done, total, _: progress(done, total, "sites")


def _epochs(progress: Report | None) -> Callable[[Any], None] | None:
    if progress is None:
        return None
    return lambda now: progress(now.epoch, now.epochs, now.stage)


def _reordered(progress: Report) -> Callable[[str, int, int], None]:
    return lambda what, done, total: progress(done, total, what)
