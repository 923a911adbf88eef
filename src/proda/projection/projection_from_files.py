"""Compute projections from files of forcing and parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proda import cf, faults
from proda.blocks.executor import Executor
from proda.default_b import MEAN_B
from proda.errors import MapError, ParameterError
from proda.maps.cells import LandCells, land_cells
from proda.maps.map_from_files import constant_source, mean_source, network_source
from proda.maps.parameter_sources import Default, ParameterSource
from proda.maps.refit_maps import every_nth
from proda.models.model import SoilModel
from proda.models.registry import load_model
from proda.projection.anomalies import read_experiments
from proda.projection.projection_plan import Thawed
from proda.projection.projection_settings import ProjectionSettings
from proda.projection.run_projection import ProjectionResult, write_projection
from proda.simulate import Progress

PathLike = str | os.PathLike[str]


def projection_settings(**given: Any) -> ProjectionSettings:
    """Return checked settings.

    Raises
    ------
    ParameterError
        Naming the setting and the allowed values.
    """
    try:
        return ProjectionSettings.model_validate(given)
    except ValidationError as error:
        raise ParameterError(f"project: {faults.say(error, ProjectionSettings)}.") from error


def sample_of(forcing: PathLike, settings: ProjectionSettings) -> LandCells:
    """Open forcing on a grid and return its land cells, or the sample of them in the settings."""
    cells = land_cells(cf.open_grid(forcing))
    return cells if settings.every == 1 else every_nth(cells, settings.every)


def project_files(
    forcing: PathLike,
    output: PathLike,
    settings: ProjectionSettings,
    *,
    network: PathLike | None = None,
    covariates: PathLike | None = None,
    default: str | None = None,
    mean_of: PathLike | None = None,
    constant: PathLike | None = None,
    model: str | None = None,
    variant: str | None = None,
    draws: bool = True,
    b: float | None = None,
    thawed: Thawed | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> ProjectionResult:
    """Project a model on the land cells of a grid and write one file.

    Parameters
    ----------
    forcing, output
        As for :func:`proda.maps.map_from_files.map_network`.
    settings
        Settings of the projection.
    network, covariates, draws
        Parameters of a network on covariates of the same grid.
    default, b
        Default parameters of this model.
    mean_of
        Mean of the sites that `proda diagnose` kept.
    constant
        Constant of a network that was trained end to end.
    model, variant
        Model and variant that the parameters must belong to; None: any.
    thawed, progress, executor
        As for :func:`proda.projection.run_projection.write_projection`.

    Raises
    ------
    MapError
        If not exactly one of `network`, `default`, `mean_of` and `constant` is given.
    """
    if sum(x is not None for x in (network, default, mean_of, constant)) != 1:
        raise MapError("Give exactly one of network, default, mean_of and constant.")
    cells = sample_of(forcing, settings)
    kind: SoilModel
    source: ParameterSource
    if network is not None:
        if covariates is None:
            raise MapError("A network needs the covariates of the grid.")
        parameters = network_source(
            cells,
            network=network,
            covariates=covariates,
            model=model,
            variant=variant,
            draws=draws,
        )
        kind, source, description = parameters.model, parameters.source, parameters.description
    elif constant is not None:
        kind, source, description = constant_source(constant)
    elif mean_of is not None:
        kind, source, description = mean_source(mean_of, model)
    else:
        assert default is not None
        kind = load_model(default, variant or "default")
        chosen = MEAN_B if b is None else b
        source, description = Default(chosen), {"parameters": "default", "b": chosen}
    return write_projection(
        kind,
        cells,
        source,
        read_experiments(settings),
        settings,
        Path(output),
        thawed=thawed,
        given=description,
        progress=progress,
        executor=executor,
    )
