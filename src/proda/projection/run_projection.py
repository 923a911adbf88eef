"""Project every land cell for every member, chunk by chunk like maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proda.blocks.chunk_job import run_chunks
from proda.blocks.executor import Executor
from proda.blocks.store import BlockStore
from proda.errors import FileError, MapError, ModelError
from proda.layout import chunks_of
from proda.locks import working_in
from proda.maps.cells import LandCells
from proda.maps.map_plan import run_settings
from proda.maps.map_variables import reasons_of
from proda.maps.parameter_sources import ParameterSource
from proda.models.model import SoilModel
from proda.parameters import Bounds
from proda.projection.experiments import Experiment
from proda.projection.projection_plan import ProjectionPlan, Thawed, identity
from proda.projection.projection_settings import ProjectionSettings
from proda.projection.write_projection import assemble
from proda.simulate import Progress


@dataclass(frozen=True)
class ProjectionResult:
    """The result of a run.

    `cells_by_reason` counts the cells of each experiment.
    """

    path: Path
    n_members: int
    cells_by_reason: dict[str, dict[str, int]]
    steps_retried: int
    """Columns times steps that were computed again with implicit Euler steps."""
    chunks: int
    chunks_reused: int
    chunks_redone: list[str] = field(default_factory=list)

    @property
    def remark(self) -> str:
        """A sentence on the repeated steps, or an empty string."""
        if not self.steps_retried:
            return ""
        return (
            f"{self.steps_retried:,} time steps of single columns failed and were repeated in "
            "shorter steps of first order."
        )


def write_projection(
    model: SoilModel,
    cells: LandCells,
    source: ParameterSource,
    experiments: Sequence[Experiment],
    settings: ProjectionSettings,
    path: Path,
    *,
    thawed: Thawed | None = None,
    bounds: Bounds = "physical",
    given: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> ProjectionResult:
    """Project a model on land cells and write one CF netCDF file.

    Chunks are kept beside `path` until it is complete: an interrupted run that is called again with
    the same arguments resumes, and its numbers are the same bit for bit.

    Parameters
    ----------
    model, source, bounds
        As for :func:`proda.maps.run_map.write_map`.
    cells
        Land cells, or the sample of them according to `settings.every`.
    experiments
        The experiments.
    thawed
        Water scalar of thawed soil by cell; see :func:`proda.projection.changed_drivers.changed`.
    given
        Further values that identify this run; plain JSON.
    progress
        Called with (cells done, cells).
    executor
        Where chunks are computed, and until when; by default in this process, without a time limit.

    Raises
    ------
    ModelError
        If the model is a published variant.
    MapError
        If there is no experiment, or two have one name.
    FileError
        If the folder does not exist, or chunks of another run lie there.
    """
    names = [e.name for e in experiments]
    if not names or len(set(names)) < len(names):
        raise MapError("Give one or more experiments with different names.")
    if not model.conserves:
        raise ModelError(f"{model.name} (published) loses carbon and cannot be projected.")
    if not path.parent.is_dir():
        raise FileError(f"{path}: the folder {path.parent} does not exist; create it first.")
    plan = ProjectionPlan(model, cells, source, tuple(experiments), settings, bounds, thawed=thawed)
    parts = cells.chunks(settings.chunk)
    run_identity = run_settings(plan, parts, settings.chunk, None)
    run_identity["members"] = min(
        run_identity["members"], settings.members or run_identity["members"]
    )
    store = BlockStore(
        chunks_of(path), run_identity | {"projection": identity(plan), "given": dict(given or {})}
    )
    with working_in(store.folder, "projection"):
        reused, faults = run_chunks(plan, parts, store, executor, progress)
        assemble(plan, store, len(parts), path)
        counts, retried = _count(store, len(parts), names, reasons_of(model))
        store.remove()
    return ProjectionResult(
        path,
        int(run_identity["members"]),
        counts,
        retried,
        len(parts),
        reused,
        faults,
    )


def _count(
    store: BlockStore, n_chunks: int, names: Sequence[str], words: dict[int, str]
) -> tuple[dict[str, dict[str, int]], int]:
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    retried = 0
    for i in range(n_chunks):
        for name in names:
            part = store.read(i, [f"{name}|reason", f"{name}|retried"])
            retried += int(part[f"{name}|retried"].sum())
            codes, n = np.unique(part[f"{name}|reason"], return_counts=True)
            for code, k in zip(codes, n, strict=True):
                word = words[int(code)]
                counts[name][word] = counts[name].get(word, 0) + int(k)
    return counts, retried
