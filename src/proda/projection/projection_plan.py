"""The data and the computation of one chunk of a projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from proda.forcing import Forcing
from proda.latitude import in_zone
from proda.maps.cells import LandCells
from proda.maps.map_plan import most_common
from proda.maps.map_variables import LIMIT, NO_PARAMETERS, TOO_LARGE
from proda.maps.member_statistics import QUANTILES, summarise_below
from proda.maps.parameter_sources import ParameterSource
from proda.maps.totals import PG
from proda.models.model import SoilModel
from proda.parameters import Bounds
from proda.projection.experiments import Experiment
from proda.projection.forward import (
    CARBON,
    CARBON_INPUT,
    LITTER_CARBON,
    MEAN_AGE,
    SINCE_START,
    Projected,
    losses_of,
    project_members,
)
from proda.projection.projection_settings import ProjectionSettings
from proda.projection.projection_variables import (
    ALL_CARBON,
    CHANGE,
    GAINING,
    NEW,
    PERMAFROST_DEPTH,
    REGIONS,
    RESIDENCE,
    STOCK,
)
from proda.projection.split import split_change, turnover_time

Thawed = Callable[[np.ndarray], np.ndarray]
"""Positions of land cells -> water scalar of their soil where it is thawed."""


@dataclass(frozen=True, eq=False)
class ProjectionPlan:
    """The data on which the numbers of one chunk depend; sent to workers."""

    model: SoilModel
    cells: LandCells
    source: ParameterSource
    experiments: tuple[Experiment, ...]
    settings: ProjectionSettings
    bounds: Bounds = "physical"
    quantiles: tuple[float, ...] = QUANTILES
    thawed: Thawed | None = None

    def compute(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of one chunk, `EXPERIMENT|NAME`, and its sums by region."""
        forcing = self.cells.forcing(cells)
        members, known = self.source.at(self.model, cells, forcing, self.bounds)
        members = members[: self.settings.members]
        known = known[: len(members)]
        projections = project_members(
            self.model,
            members,
            forcing,
            self.experiments,
            self.settings,
            self.cells.latitude[cells],
            self.cells.longitude[cells],
            None if self.thawed is None else self.thawed(cells),
        )
        region = region_of(forcing, self.cells.latitude[cells])
        result: dict[str, np.ndarray] = {"cells": cells, "region": region}
        for experiment, projected in zip(self.experiments, projections, strict=True):
            arrays = self._summary(projected, known)
            fine = arrays.pop("fine")
            arrays |= _by_region(projected, fine, region, self.cells.land_area[cells])
            result |= {f"{experiment.name}|{name}": array for name, array in arrays.items()}
        return result

    def _summary(self, projected: Projected, known: np.ndarray) -> dict[str, np.ndarray]:
        state, change, steady, parts = _variables(projected)
        reason = _judged(np.where(known, projected.reason, NO_PARAMETERS), state | parts)
        new = _judged(np.where(reason == 0, projected.steady_reason, reason), steady)
        fine = reason == 0
        result: dict[str, np.ndarray] = {
            "reason": most_common(reason),
            f"reason{NEW}": most_common(new),
            "answered": fine.sum(axis=0).astype(np.int32),
            f"answered{NEW}": (new == 0).sum(axis=0).astype(np.int32),
            "retried": np.array([projected.retried]),
        }
        for name, values in (state | parts | {MEAN_AGE: projected.age}).items():
            result[name] = _mean(values, fine)
        for name, values in change.items():
            self._add(result, name, values, fine)
        result[GAINING] = _mean((change[CHANGE + STOCK] > 0.0).astype(float), fine)
        for name, values in (steady | {MEAN_AGE + NEW: projected.steady[MEAN_AGE]}).items():
            self._add(result, name, values, new == 0)
        return result | {"fine": fine}

    def _add(
        self, result: dict[str, np.ndarray], name: str, values: np.ndarray, counts: np.ndarray
    ) -> None:
        for end, array in summarise_below(values, counts, LIMIT, self.quantiles).items():
            result[name + end] = array.astype(np.float32)


def _judged(reason: np.ndarray, variables: dict[str, np.ndarray]) -> np.ndarray:
    """Return the reasons, with a separate one for members whose numbers the file cannot store."""
    large = np.zeros(reason.shape, dtype=bool)
    for values in variables.values():
        large |= (np.abs(values) >= LIMIT).reshape(*reason.shape, -1).any(axis=-1)
    return np.where((reason == 0) & large, TOO_LARGE, reason)


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return summarise_below(values, counts, LIMIT, ())[""].astype(np.float32)


def _variables(projected: Projected) -> tuple[dict[str, np.ndarray], ...]:
    """Return states, changes, changes to the new steady state, and the split of the change."""
    kept, steady = projected.kept, projected.steady
    state: dict[str, np.ndarray] = {
        name: values for name, values in kept.items() if name not in SINCE_START
    }
    carbon = kept["cSoil"] + kept[LITTER_CARBON]
    state[RESIDENCE] = turnover_time(carbon, losses_of(kept))
    # Without losses there is no carbon either, and no residence to speak of.
    state[RESIDENCE] = np.nan_to_num(state[RESIDENCE], nan=0.0)
    change = {CHANGE + n: kept[n] - kept[n][..., :1] for n in CARBON}
    change[CHANGE + ALL_CARBON] = carbon - carbon[..., :1]
    ends = {CHANGE + n + NEW: steady[n] - kept[n][..., 0] for n in CARBON}
    ends[CHANGE + ALL_CARBON + NEW] = steady["cSoil"] + steady[LITTER_CARBON] - carbon[..., 0]
    parts = split_change(
        carbon,
        losses_of(kept),
        kept[CARBON_INPUT],
        (carbon[..., :1], kept[CARBON_INPUT][..., :1]),
    )
    return state, change, ends, parts


def region_of(forcing: Forcing, latitude: np.ndarray) -> np.ndarray:
    """Return the position in :data:`REGIONS` of each column."""
    active = np.maximum(forcing.altmax, forcing.altmax_lastyear).max(axis=1)
    result = np.zeros(len(forcing), dtype=int)
    for i, (zone, frozen) in enumerate(REGIONS):
        result[in_zone(latitude, zone) & ((active < PERMAFROST_DEPTH) == frozen)] = i
    return result


def _by_region(
    projected: Projected, fine: np.ndarray, region: np.ndarray, land: np.ndarray
) -> dict[str, np.ndarray]:
    """Sum the carbon of each member at the end of each step over the land of each region, Pg."""
    which = np.arange(len(REGIONS))[:, None] == region
    area = which[None] * (land * fine)[:, None, :]  # (member, region, cell), km2
    series = np.where(fine[..., None, None], projected.series, 0.0)
    n_members, _, n_steps, n_stocks = series.shape
    flat = series.reshape(n_members, len(region), -1)
    return {
        "series": PG * (area @ flat).reshape(n_members, len(REGIONS), n_steps, n_stocks),
        "land": area.sum(axis=2),
    }


def identity(plan: ProjectionPlan) -> dict[str, Any]:
    """Return values that identify a projection, in addition to those of maps."""
    chosen = plan.settings.model_dump(
        mode="json", exclude={"chunk", "default", "warming", "pattern", "anomalies", "experiments"}
    )
    return chosen | {"experiments": {e.name: e.identity() for e in plan.experiments}}
