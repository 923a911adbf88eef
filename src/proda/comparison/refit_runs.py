"""Refits of one model from files: repeated end-to-end trainings, each with its own map."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda import cf, files
from proda.comparison.model_files import COMPARED
from proda.drivers.covariates import open_covariates
from proda.errors import ComparisonError
from proda.learning.applicability import fit_range
from proda.learning.carbon import held_out_carbon
from proda.learning.carbon_sites import CarbonSites, read_carbon_sites
from proda.learning.end_to_end import default_share, fit_constants, physical, problem_of
from proda.learning.end_to_end_inputs import (
    EndToEndInputs,
    end_to_end_inputs,
    with_covariates,
)
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.ensemble import Ensemble
from proda.learning.refits import KINDS, RefitKind, Refits, remove_checkpoints, train_refits
from proda.learning.splits import NO_FOLD, plan
from proda.learning.train import Progress
from proda.maps.cells import land_cells
from proda.maps.network_parameters import NetworkParameters, cell_covariates
from proda.maps.parameter_sources import Default, EnsembleParameters
from proda.maps.refit_maps import every_nth, member_fields
from proda.models.model import SoilModel
from proda.models.outside import provenance

PathLike = str | os.PathLike[str]

DEFAULTS, CONSTANT, RANDOM = "defaults", "calibrated constant", "random constants"
"""Untrained kinds, with one constant everywhere; `random constants` are the random starts."""

RANGE = (0.05, 0.95)
"""Random starts are between these shares of the prior range."""

MOST_LOST = 0.1
"""Share of sites without a steady state above which a random start is drawn again."""

TRIED, SITES = 200, 256
"""Maximum number of random starts that are tried, and the number of sites where they are tried."""


def refit_model(
    covariates: PathLike,
    *,
    profiles: PathLike,
    forcing: PathLike,
    grid_covariates: PathLike,
    grid_forcing: PathLike,
    model: str,
    variant: str = "default",
    settings: EndToEndSettings | None = None,
    kinds: Sequence[RefitKind] = KINDS,
    each: int = 3,
    every: int = 4,
    checkpoints: PathLike | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Train a model end to end many times and map every refit on a sample of the land.

    Parameters
    ----------
    covariates, profiles, forcing
        Data of the sites, as for :func:`proda.learning.through_model.train_end_to_end`.
    grid_covariates, grid_forcing
        Data of the cells, as for :func:`proda.maps.map_from_files.map_network`.
    model, variant
        The soil model.
    settings
        Settings of the training; by default ours.
    kinds, each
        Kinds of refits (:data:`proda.learning.refits.KINDS`), and the number of each.
    every
        Map only every n-th row and column of cells.
    checkpoints
        Folder for checkpoints, from which an interrupted training resumes.
    on_progress, on_stage
        Called with epochs and with stages.

    Returns
    -------
    xarray.Dataset
        The variables by which models are compared, and `share_PARAMETER`, on (refit, cell); on
        refit `kind`, `trained` (False for the defaults, the calibrated constant and random
        constants), `validation_loss` and `lost`. See
        :func:`proda.maps.refit_maps.member_fields`. The attributes count `sites`, and those
        `left_out` because forcing or covariates are missing.

    Raises
    ------
    FileError, LearningError, MapError, ComparisonError
        Naming what is absent, damaged or inconsistent.
    """
    tell = on_stage or (lambda _: None)
    settings = EndToEndSettings() if settings is None else settings
    tell("reading")
    table = files.read_parquet(covariates, needed=("site",))
    sites = read_carbon_sites(profiles, forcing, table, model, variant)
    sites, _ = with_covariates(sites, settings, "leave_out")
    left_out = len(sites.left_out)
    kind, p = sites.layers.model, sites.layers.profiles
    problem = problem_of(sites.layers, settings)
    default = default_share(sites.layers)
    tell("calibrated constant")
    one = plan(p.latitude, p.longitude, settings.network(), members=1)
    constant = fit_constants(problem, default, one, settings, on_progress)[0]
    inputs = end_to_end_inputs(sites, {NO_FOLD: constant[0]}, settings)
    tell("random starts")
    random = random_starts(sites, each, settings.seed)
    tell("training")
    refits = train_refits(
        inputs.of(NO_FOLD),
        problem,
        p.latitude,
        p.longitude,
        {"constant": constant, "default": default, "random": random},
        settings,
        kinds,
        each,
        checkpoints,
        on_progress,
    )
    del problem
    tell("mapping")
    cells = every_nth(land_cells(cf.open_grid(grid_forcing)), every)
    networks = _ensemble(refits, sites, inputs, settings)
    known = cell_covariates(open_covariates(grid_covariates), cells, networks)
    trained = NetworkParameters(networks, known, draws=False)
    sources = [trained, Default(), _everywhere(constant, kind), _everywhere(random, kind)]
    fields = _label(member_fields(kind, sources, cells, COMPARED), refits, each)
    if checkpoints is not None:
        remove_checkpoints(checkpoints, kind.name)
    return fields.assign_attrs(
        settings=str(settings.as_dict()), sites=len(sites), left_out=left_out, every=every
    )


def random_starts(sites: CarbonSites, n: int, seed: int) -> Float[np.ndarray, "start parameter"]:
    """Draw constants from the prior for which most sites have a steady state.

    Returns
    -------
    Shares of the prior range, uniform within :data:`RANGE`.

    Raises
    ------
    ComparisonError
        If too few are found.
    """
    rng = np.random.default_rng([seed, 22])
    some = np.sort(rng.permutation(len(sites))[:SITES])
    layers = sites.layers.select(some)
    starts: list[np.ndarray] = []
    for _ in range(TRIED):
        share = rng.uniform(*RANGE, len(layers.model.rows))
        values = np.tile(physical(share, layers.model), (len(layers), 1))
        fine = held_out_carbon(layers, values, "random starts").feasible
        if (~fine).mean() <= MOST_LOST:
            starts.append(share)
        if len(starts) == n:
            return np.stack(starts)
    raise ComparisonError(
        f"{layers.model.name}: of {TRIED} random sets of parameters {len(starts)} have a steady "
        f"state at {1 - MOST_LOST:.0%} of the sites; {n} are needed. Use fewer refits."
    )


def _label(fields: xr.Dataset, refits: Refits, each: int) -> xr.Dataset:
    """Add the kind of each refit, the trained ones first, and what their training gave."""
    untrained = [DEFAULTS, CONSTANT, *[RANDOM] * each]
    none = np.full(len(untrained), np.nan)
    return fields.assign_coords(
        kind=("refit", [*refits.kind, *untrained]),
        trained=("refit", np.arange(len(refits.kind) + len(untrained)) < len(refits.kind)),
        validation_loss=("refit", np.concatenate([refits.loss, none])),
        lost=("refit", np.concatenate([refits.lost, none])),
    )


def _ensemble(
    refits: Refits, sites: CarbonSites, inputs: EndToEndInputs, settings: EndToEndSettings
) -> Ensemble:
    rows = sites.layers.model.rows
    return Ensemble(
        refits.networks,
        inputs.features,
        fit_range(inputs.table, inputs.features),
        None,
        sites.layers.model.name,
        sites.layers.model.variant,
        tuple(row.name for row in rows),
        np.array([row.lower for row in rows]),
        np.array([row.upper for row in rows]),
        settings.network(),
        len(sites),
        pd.DataFrame(),
        inputs.reference,
        provenance(sites.layers.model),
    )


def _everywhere(
    shares: Float[np.ndarray, "member parameter"], model: SoilModel
) -> EnsembleParameters:
    """Return constants as members that have the same values at every cell."""
    values = physical(shares, model)
    return EnsembleParameters(lambda chosen: np.repeat(values[:, None], len(chosen), axis=1))
