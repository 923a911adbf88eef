"""What a map will cost on another grid or with another ensemble, from measured runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from proda.errors import MapError
from proda.maps.map_settings import CHUNK
from proda.maps.write_map import BUDGET

COLUMN_BYTES = 8 * (4 * 240 + 20 + 4 + 24 + 1)
"""Float64 drivers of one column."""
OUTPUTS = 60
"""Numbers per column that are kept for the statistics: layers, stocks, components, parameters."""
GRID_BYTES = 8 + 8 + 4 * 4 + 4
"""Per cell of the whole grid: area, land fraction, the variable being written, codes."""
LAND_BYTES = 8 * 4
"""Per land cell: positions and flags."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run that was made.

    Parameters
    ----------
    land_cells, grid_cells
        Cells with forcing, and all cells of the grid.
    members, chunk
        Members of the ensemble, cells per chunk.
    seconds
        From start to the finished file.
    peak_bytes
        Largest memory of the process.
    disk_bytes
        Chunks and file together, and the forcing store if it is to count.
    """

    land_cells: int
    grid_cells: int
    members: int
    seconds: float
    peak_bytes: float
    disk_bytes: float
    chunk: int = CHUNK


@dataclass(frozen=True)
class MapCost:
    """A prediction: seconds, bytes of memory, bytes on disk."""

    seconds: float
    peak_bytes: float
    disk_bytes: float


def array_bytes(land_cells: int, grid_cells: int, members: int, chunk: int = CHUNK) -> float:
    """Return the memory of a run that depends on its size.

    A chunk's drivers are in memory about four times (as read, as forcing, as a block of columns,
    in transit), its results about three times (as computed, sorted, summarised); while the file is
    written, a group of variables and some grids.
    """
    chunk = min(chunk, land_cells)
    computing = chunk * (4 * COLUMN_BYTES + 3 * 8 * OUTPUTS * members)
    writing = min(BUDGET, land_cells * 4.0 * 4 * OUTPUTS)
    return GRID_BYTES * grid_cells + LAND_BYTES * land_cells + max(computing, writing)


def predict_cost(
    runs: Sequence[MeasuredRun], land_cells: int, grid_cells: int, members: int, chunk: int = CHUNK
) -> MapCost:
    """Predict a run on the machine of measured ones.

    Time is taken to be a + land_cells x (b + c members), fitted to the runs: a loads and compiles,
    b reads forcing and writes, c predicts parameters, runs the model and makes statistics (with
    fewer than three different runs a is 0, which errs on the slow side). Memory is
    :func:`array_bytes` plus what the measured runs took beyond it (libraries, compiled programs).
    Disk grows with the land cells.

    Parameters
    ----------
    runs
        Of the same model; with different numbers of members, unless that number stays the same.

    Raises
    ------
    MapError
        If the runs cannot tell what members cost, or there are none.
    """
    if not runs:
        raise MapError("No measured run to predict from.")
    counts = {run.members for run in runs}
    if len(counts) == 1 and counts != {members}:
        raise MapError(
            f"All measured runs have {counts.pop()} members; the cost with {members} needs a "
            "second run with another number of members."
        )
    if len(runs) == 1:
        seconds = runs[0].seconds * land_cells / runs[0].land_cells
    else:
        seconds = float(_terms(land_cells, members) @ _fit(runs))
    base = max(
        run.peak_bytes - array_bytes(run.land_cells, run.grid_cells, run.members, run.chunk)
        for run in runs
    )
    nearest = min(runs, key=lambda run: abs(run.members - members))
    return MapCost(
        seconds=seconds,
        peak_bytes=max(base, 0.0) + array_bytes(land_cells, grid_cells, members, chunk),
        disk_bytes=nearest.disk_bytes / nearest.land_cells * land_cells,
    )


def _terms(land_cells: int, members: int) -> np.ndarray:
    return np.array([1.0, land_cells, float(land_cells) * members])


def _fit(runs: Sequence[MeasuredRun]) -> np.ndarray:
    """Return non-negative seconds per run, per cell and per column, by relative least squares."""
    matrix = np.array([_terms(run.land_cells, run.members) / run.seconds for run in runs])
    if len({(run.land_cells, run.members) for run in runs}) < 3:
        matrix[:, 0] = 0.0
    if len({run.members for run in runs}) == 1:
        matrix[:, 2] = 0.0
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-300)
    costs, _ = nnls(matrix / scale, np.ones(len(runs)))
    return np.asarray(costs / scale)
