"""Run a model on every land cell for every member: chunk by chunk, restartable, memory bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from proda.blocks.chunk_job import run_chunks
from proda.blocks.executor import Executor
from proda.blocks.store import BlockStore
from proda.errors import FileError, ParameterError
from proda.layout import chunks_of
from proda.locks import working_in
from proda.maps.cells import land_cells
from proda.maps.intervals import Extras
from proda.maps.map_plan import MapPlan, run_settings
from proda.maps.map_settings import CHUNK
from proda.maps.member_statistics import QUANTILES
from proda.maps.parameter_sources import EnsembleParameters, ParameterSource, Predict
from proda.maps.write_map import assemble
from proda.models.model import SoilModel
from proda.parameters import Bounds
from proda.simulate import Progress


@dataclass(frozen=True)
class MapResult:
    """What a run did.

    `cells_by_reason` counts cells; `members_by_reason` counts columns, cells times members.
    """

    path: Path
    n_members: int
    cells_by_reason: dict[str, int]
    members_by_reason: dict[str, int]
    chunks: int
    chunks_reused: int
    chunks_redone: list[str] = field(default_factory=list)
    """Chunks of an earlier run that were damaged: which, and how."""


def write_map(
    model: SoilModel,
    forcing: xr.Dataset,
    parameters: ParameterSource | Predict,
    path: str | os.PathLike[str],
    *,
    outside_training: np.ndarray | None = None,
    extras: Extras | None = None,
    bounds: Bounds = "physical",
    quantiles: tuple[float, ...] = QUANTILES,
    chunk: int = CHUNK,
    ages: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
    keep_chunks: bool = False,
) -> MapResult:
    """Run a model on all land cells of a grid and write one CF netCDF file.

    Chunks are kept beside `path`, in the folder `path` + `.chunks`, until the map is whole: an
    interrupted run, called again with the same arguments, resumes where it stopped and ends in the
    same numbers bit for bit.

    Parameters
    ----------
    model
        From :func:`proda.load_model`.
    forcing
        On the grid, as `proda forcing` writes it; open it with
        :func:`proda.files.open_dataset`, so that only a chunk is in memory at a time.
    parameters
        A source (:class:`~proda.maps.parameter_sources.Default`, `Everywhere`,
        `EnsembleParameters`), or a function of positions in the list of land cells
        that returns (member, cell, parameter).
    path
        The netCDF file; an older one stays as it was until the new one is whole.
    outside_training
        Whether the covariates of each land cell lie outside the training range, (cell,).
    extras
        Intervals and the boosted residual of a network trained end to end; what tells them from
        others belongs into `settings`.
    bounds
        Limits that parameters are held to. `"prior"` refuses the defaults, some of which lie
        outside.
    quantiles
        Of the ensemble, beside mean and standard deviation.
    chunk
        Cells per chunk. Memory grows with chunk times members.
    ages
        Whether the map holds the mean ages of carbon, of depths and pools, as well.
    settings
        What else tells this run from others, for the file and for resuming: for a network its
        checksum. Plain JSON.
    progress
        Called with (cells done, cells).
    executor
        Where chunks are computed, and until when; by default in this process, to the end.
    keep_chunks
        Whether to leave the folder of chunks there at the end.

    Raises
    ------
    ForcingError, ParameterError
        Naming cell and value.
    FileError
        If chunks of another run lie in the folder, or the disk is full.
    Stopped, ExecutorError
        As :meth:`proda.blocks.executor.Executor.run`.
    """
    if chunk < 1:
        raise ParameterError(f"chunk = {chunk}; a chunk needs at least one cell.")
    cells = land_cells(forcing)
    if outside_training is not None and outside_training.shape != (len(cells),):
        raise ParameterError(
            f"outside_training has the shape {outside_training.shape}; there are {len(cells):,} "
            "land cells."
        )
    source = (
        parameters if isinstance(parameters, ParameterSource) else EnsembleParameters(parameters)
    )
    plan = MapPlan(model, cells, source, bounds, tuple(quantiles), extras, ages)
    parts = cells.chunks(chunk)
    target = Path(path)
    if not target.parent.is_dir():  # said now, not after hours of work
        raise FileError(f"{target}: the folder {target.parent} does not exist; create it first.")
    store = BlockStore(
        chunks_of(target),
        run_settings(plan, parts, chunk, outside_training)
        | {"given": _plain(settings or {})}
        | ({"ages": True} if ages else {}),
    )
    with working_in(store.folder, "map"):
        reused, faults = run_chunks(plan, parts, store, executor, progress)
        summary = assemble(model, cells, store, len(parts), target, outside_training)
        if not keep_chunks:
            store.remove()
    return MapResult(
        path=target,
        chunks=len(parts),
        chunks_reused=reused,
        chunks_redone=faults,
        **summary,
    )


def _plain(settings: Mapping[str, Any]) -> Any:
    """Return settings as a file gives them back, so that a tuple equals its own list."""
    try:
        return json.loads(json.dumps(dict(settings)))
    except TypeError as error:
        raise ParameterError(f"settings cannot be written as JSON: {error}.") from error
