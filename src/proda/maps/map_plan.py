"""What one chunk of a map is computed from, how, and what tells one run from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from proda.checksums import digest
from proda.forcing import FORCING_VARIABLES
from proda.maps.cells import LandCells
from proda.maps.intervals import Extras
from proda.maps.map_variables import (
    CARBON,
    LIMIT,
    NO_PARAMETERS,
    PARAMETER_PREFIX,
    STOCKS,
    TOO_LARGE,
    age_variables,
    reasons_of,
)
from proda.maps.member_statistics import summarise_below
from proda.maps.parameter_sources import ParameterSource
from proda.maps.run_members import run_members
from proda.models.model import SoilModel
from proda.models.outside import provenance
from proda.parameters import Bounds

FORMAT = 1
"""Rises when chunks of older versions can no longer be read."""


@dataclass(frozen=True, eq=False)
class MapPlan:
    """All that one chunk's numbers depend on; sent to workers as it is."""

    model: SoilModel
    cells: LandCells
    source: ParameterSource
    bounds: Bounds
    quantiles: tuple[float, ...]
    extras: Extras | None = None
    ages: bool = False

    def compute(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of one chunk, (cell, ...) in float32, and its totals by latitude."""
        forcing = self.cells.forcing(cells)
        members, known = self.source.at(self.model, cells, forcing, self.bounds)
        out = run_members(self.model, members, forcing, self.ages)
        reason = np.where(known, out.pop("reason"), NO_PARAMETERS)
        large = np.zeros(reason.shape, dtype=bool)
        ages = {row.name for row in age_variables(self.model)}
        for values in (out[name] for name in out if name not in ages):
            large |= (values >= LIMIT).reshape(*reason.shape, -1).any(axis=-1)
        reason = np.where((reason == 0) & large, TOO_LARGE, reason)
        feasible = reason == 0
        result = {"cells": cells, "reason": most_common(reason)}
        for code, name in reasons_of(self.model).items():
            if (count := (reason == code).sum(axis=0)).any():
                result[f"n:{name}"] = count.astype(np.int32)
        for name in list(out):
            self._add(result, name, out[name], feasible)
        if self.extras is not None:
            further = self.extras.at(cells, forcing, out[CARBON.name], feasible)
            result |= {name: array.astype(np.float32) for name, array in further.items()}
        for name in list(members[0]):
            values = np.stack([member[name] for member in members])
            self._add(result, PARAMETER_PREFIX + name, values, known)
        # Per member, because a total's spread is not the sum of the cells' spreads.
        row, area = self.cells.row[cells], self.cells.land_area[cells]
        rows = np.unique(row)
        within = np.searchsorted(rows, row)
        result["rows"] = rows
        result["member_area"] = by_row(area * feasible, within, len(rows))
        result["member_carbon"] = np.stack(
            [
                by_row(np.where(feasible, out[s.name], 0.0) * area * 1e-6, within, len(rows))
                for s in STOCKS
            ],
            axis=-1,
        )
        return result

    def _add(
        self, result: dict[str, np.ndarray], name: str, values: np.ndarray, counts: np.ndarray
    ) -> None:
        for end, array in summarise_below(values, counts, LIMIT, self.quantiles).items():
            result[name + end] = array.astype(np.float32)


def by_row(values: np.ndarray, row: np.ndarray, n_rows: int) -> np.ndarray:
    """Sum (member, cell) over the cells of each row of the grid: (member, row)."""
    return np.stack([np.bincount(row, weights=v, minlength=n_rows) for v in values])


def most_common(reason: np.ndarray) -> np.ndarray:
    """Return 0 for cells where any member has an answer, else the most frequent reason (cell,).

    Of reasons equally frequent, the lowest code.
    """
    codes = np.union1d(0, reason)
    counts = np.stack([(reason == code).sum(axis=0) for code in codes])
    return np.where(counts[0] > 0, 0, codes[np.argmax(counts, axis=0)]).astype(np.int8)


class Planned(Protocol):
    """What the numbers of a map, or of a projection, depend on."""

    @property
    def model(self) -> SoilModel:
        """The soil model."""

    @property
    def cells(self) -> LandCells:
        """Where it runs."""

    @property
    def source(self) -> ParameterSource:
        """Where its parameters come from."""

    @property
    def bounds(self) -> Bounds:
        """Limits that parameters are held to."""

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of the ensemble."""


def run_settings(
    plan: Planned, parts: list[np.ndarray], chunk: int, outside: np.ndarray | None
) -> dict[str, Any]:
    """Return what tells this run from others.

    A function cannot be compared, and hashing all forcing would cost as much as reading it: so
    parameters and forcing of a few cells (first, middle and last of the run) stand for the rest.
    """
    cells = plan.cells
    ordered = np.concatenate(parts)
    middle = len(ordered) // 2
    probe = np.unique(np.concatenate([ordered[:8], ordered[middle : middle + 8], ordered[-8:]]))
    drivers = cells.forcing(probe)
    members, known = plan.source.at(plan.model, probe, drivers, plan.bounds)
    values = [member[name] for member in members for name in sorted(member)]
    return {
        "format": FORMAT,
        "model": plan.model.name,
        "variant": plan.model.variant,
        **provenance(plan.model),
        "bounds": plan.bounds,
        "quantiles": list(plan.quantiles),
        "chunk": chunk,
        "members": len(members),
        "backend": jax.default_backend(),
        "grid": digest(cells.lat, cells.lon, cells.status, cells.land_area),
        "forcing": digest(
            *(getattr(drivers, v.name) for v in FORCING_VARIABLES), *drivers.properties.values()
        ),
        "parameters": digest(known, *values),
        "outside_training": "" if outside is None else digest(outside),
    }
