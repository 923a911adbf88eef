"""The expected time and disk space of the stages of a study."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proda import files
from proda.blocks.executor import processes
from proda.errors import ProdaError
from proda.inference.assimilation_run import predicted_bytes
from proda.inference.problem import expected_evaluations
from proda.inference.samplers.published import Published
from proda.learning.residuals import MEMBERS as JOINT_DRAWS
from proda.machine import cores
from proda.observations.build_summary import read_summary
from proda.study.folder import StudyFolder
from proda.study.plan import PlannedStage, state_of
from proda.study.record import Record
from proda.study.settings import StudySettings
from proda.validation_settings import FROM_POSTERIORS

MEASURED = "measured on two cores of a server without GPU (docs/real_study.md)"
BEFORE = "from an earlier run of the same stages in this folder"
EVALUATIONS_PER_SECOND = {"clm5": 0.35e6, "compas": 0.44e6}
"""Model evaluations per second of one process of two (benchmarks/results/samplers.md)."""
PUBLISHED_PER_SECOND = 0.035e6
"""Of the published sampler, whose proposals cost ten times a model (docs/published_study.md)."""
PROFILE_BYTES_PER_SECOND = 5e6
CLIMATE_BYTES_PER_SECOND = 3e6
TRAINING_SECONDS_PER_SITE = 0.05
SECONDS_PER_WEIGHT = 1e-8
"""Of one network in one step of its optimiser."""
THROUGH_SECONDS_PER_SITE = 1e-4
"""Seconds of one network in one epoch, including baselines (benchmarks/results/end_to_end.md)."""
MAP_COLUMNS_PER_SECOND = 70_000.0
"""Columns with components: land cells times members."""
PROJECTIONS_PER_SECOND = 1_400.0
"""Cells times members times experiments of 100 years per second and core (docs/projections.md)."""
COMPARED_CELLS_PER_SECOND = 1_500.0
MAP_BYTES_PER_CELL = 1_600.0
PROJECTED_BYTES = 500.0
"""Of one cell and experiment."""
ALSO_AT_SEA = ("status", "cell_area", "land_fraction")
"""Variables of a grid whose values do not show which cells are land."""


@dataclass(frozen=True)
class Cost:
    """Predicted seconds and bytes of a stage; NaN where they cannot be predicted yet."""

    seconds: float
    disk: float
    basis: str = MEASURED


def predict(folder: StudyFolder, steps: list[PlannedStage], record: Record) -> dict[str, Cost]:
    """Predict the cost of each stage.

    Parameters
    ----------
    folder
        The study; sites and cells are counted where the files exist.
    steps
        From :func:`proda.study.plan.plan`.
    record
        Record of the study: a stage that was done before is expected to take as long again.

    Returns
    -------
    dict
        Stage -> cost.
    """
    known = {name: s for name, s in record.stages.items() if s.status == "done"}
    profiles, cells = _profiles(folder), _cells(folder)
    sites = _sites(folder, profiles)
    costs = {}
    for step in steps:
        name = step.stage.name
        if name in known:
            costs[name] = Cost(known[name].seconds, known[name].disk_bytes, BEFORE)
        else:
            costs[name] = _first(folder.settings, step, profiles, sites, cells)
    return costs


@dataclass(frozen=True)
class _Work:
    """What the cost of a stage depends on; sizes that are not known yet are NaN."""

    settings: StudySettings
    model: str
    read: float
    """Bytes of the files that the stage reads."""
    profiles: float
    sites: float
    cells: float


def _first(
    settings: StudySettings, step: PlannedStage, profiles: float, sites: float, cells: float
) -> Cost:
    """Predict the cost of a stage that was never run."""
    read = float(sum(state_of(path)[0] for path in step.stage.reads))
    model = step.stage.name.partition("/")[0]
    work = _Work(settings, model, read, profiles, sites, cells)
    members = settings.training.build(0).members
    kinds: dict[str, Callable[[], Cost]] = {
        "profiles": lambda: Cost(2.0 + read / PROFILE_BYTES_PER_SECOND, 0.3 * read),
        "forcing": lambda: Cost(2.0 + read / CLIMATE_BYTES_PER_SECOND, 5.0 * read),
        "covariates": lambda: Cost(5.0, 0.1 * read),
        "assimilation": lambda: _assimilation(work),
        "filter": lambda: Cost(30.0, 400.0 * sites),
        "training": lambda: _training(work),
        "end-to-end": lambda: _end_to_end(work),
        "default-map": lambda: _map(cells, 1),
        "end-to-end-maps": lambda: _map(cells, settings.learning.end_to_end.members),
        "maps": lambda: _map(cells, members + JOINT_DRAWS),
        "attribution": lambda: _map(cells, 64 * len(settings.study.models)),
        "projection": lambda: _projection(work),
        "projections": lambda: Cost(20.0, 1e6),
        "comparison": lambda: Cost(10.0 + cells / COMPARED_CELLS_PER_SECOND, 100.0 * cells),
        "report": lambda: Cost(20.0, 30e6),
    }
    return kinds[step.stage.kind]()


def _assimilation(work: _Work) -> Cost:
    settings, sites = work.settings, work.sites
    if work.model in settings.assimilation.runs:
        return Cost(work.read / PROFILE_BYTES_PER_SECOND, work.read)
    chosen = settings.assimilation_of(work.model)
    per_site = expected_evaluations(chosen)
    rate = EVALUATIONS_PER_SECOND.get(work.model, min(EVALUATIONS_PER_SECOND.values()))
    if chosen.sampler == Published.name:
        rate = PUBLISHED_PER_SECOND
    workers = settings.assimilation.workers or processes()
    disk = math.nan if math.isnan(sites) else predicted_bytes(chosen, int(sites)) / 2
    return Cost(sites * per_site / rate / workers, disk)


def _training(work: _Work) -> Cost:
    """Predict the cost of training from posteriors."""
    network = work.settings.training.build(0)
    networks = _networks(network.members, work.settings.training.folds, FROM_POSTERIORS)
    steps = network.epochs * work.sites / network.batch_size
    weights = sum(a * b for a, b in itertools.pairwise(network.hidden))
    seconds = SECONDS_PER_WEIGHT * weights * steps * networks
    return Cost(20.0 + TRAINING_SECONDS_PER_SITE * work.sites + seconds, 5e6 * network.members / 10)


def _end_to_end(work: _Work) -> Cost:
    through = work.settings.learning.end_to_end
    if work.model in through.networks:
        return Cost(10.0, work.read)
    updates = through.epochs * _networks(through.members, through.folds, through.fold_members)
    seconds = 30.0 + THROUGH_SECONDS_PER_SITE * updates * work.profiles
    return Cost(seconds, 300.0 * work.profiles)


def _map(cells: float, columns: int) -> Cost:
    """Predict the cost of a map of which each cell is computed `columns` times."""
    seconds = 5.0 + cells * columns / MAP_COLUMNS_PER_SECOND
    return Cost(seconds, 0.5 * MAP_BYTES_PER_CELL * cells)


def _projection(work: _Work) -> Cost:
    chosen, learning = work.settings.projection, work.settings.learning
    members = learning.end_to_end.members
    learnt = min(members, chosen.members or members)
    runs = (learnt if learning.through else 0) + chosen.default
    if learning.posterior:
        runs += min(JOINT_DRAWS, chosen.members or JOINT_DRAWS)
    experiments = len(chosen.experiments) + len(chosen.anomalies) + (chosen.warming is not None)
    sample = work.cells / chosen.every**2
    each = runs * experiments * (0.3 + 0.7 * max(chosen.times) / 100.0)
    return Cost(
        5.0 + sample * each / PROJECTIONS_PER_SECOND / cores(),
        PROJECTED_BYTES * sample * experiments,
    )


def _networks(members: int, folds: int, fold_members: int) -> int:
    """Return how many networks are trained in all."""
    return members + folds * min(fold_members, members)


def _profiles(folder: StudyFolder) -> float:
    """Return the number of usable profiles, NaN before they are built."""
    try:
        return float(read_summary(folder.profiles).total("profile", "kept"))
    except ProdaError:
        return math.nan


def _sites(folder: StudyFolder, profiles: float) -> float:
    """Return how many sites are to be assimilated."""
    asked = folder.settings.assimilation.sites
    if asked is None:
        return profiles
    return float(asked if math.isnan(profiles) else min(asked, profiles))


def _cells(folder: StudyFolder) -> float:
    """Return the number of cells with forcing, or with covariates where there is no forcing yet."""
    path: Path = folder.forcing if folder.forcing.exists() else folder.settings.covariates.grid
    grid = files.open_dataset(path)
    for name, values in grid.data_vars.items():
        if {"lat", "lon"} <= set(values.dims) and name not in ALSO_AT_SEA:
            layer = values.isel({dim: 0 for dim in values.dims if dim not in ("lat", "lon")})
            return float(layer.count())
    return 0.0
