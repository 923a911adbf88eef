"""The 90 % interval of one profile in each cell, and the residual product: what maps add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.forcing import Forcing
from proda.learning.boosted_residual import BoostedResidual
from proda.learning.conformal import LEAST, STOCK_DEPTHS, Intervals, cold_soil
from proda.learning.stock_intervals import mean_error
from proda.maps.map_variables import CARBON, LIMIT, LOWER, RESIDUAL, STOCKS, UPPER
from proda.maps.network_parameters import NetworkParameters


@dataclass(frozen=True, eq=False)
class Extras:
    """Predictions of carbon by a network trained end to end, beside its members' mean and spread.

    `intervals` are those of the network's carbon; `residual`, if wanted, is added to its mean ln
    carbon, with intervals of its own.
    """

    intervals: Intervals | None = None
    residual: BoostedResidual | None = None
    residual_intervals: Intervals | None = None
    parameters: NetworkParameters | None = None
    """Gives the inputs of the cells, which the residual takes as well."""

    def at(
        self,
        cells: Int[np.ndarray, " cell"],
        forcing: Forcing,
        carbon: Float[np.ndarray, "member cell layer"],
        counts: Bool[np.ndarray, "member cell"],
    ) -> dict[str, np.ndarray]:
        """Return the further arrays of some cells, (cell, ...), NaN where there is no answer.

        Parameters
        ----------
        cells
            Positions in the list of land cells.
        forcing
            Of these cells.
        carbon
            Of the members, kg m-3.
        counts
            Which member has an answer at which cell.
        """
        mean, spread = _log_spread(carbon, counts)
        result = {}
        if self.intervals is not None:
            result |= interval_arrays("", self.intervals, forcing, mean, spread)
        if self.residual is not None:
            assert self.parameters is not None
            corrected = self._with_residual(cells, forcing, mean)
            result[CARBON.name + RESIDUAL] = corrected
            for stock in STOCKS:
                if stock.lower in STOCK_DEPTHS:
                    result[stock.name + RESIDUAL] = _stock(corrected, forcing, stock.lower).sum(1)
            if self.residual_intervals is not None:
                result |= interval_arrays(
                    RESIDUAL, self.residual_intervals, forcing, corrected, spread
                )
        return result

    def _with_residual(
        self, cells: np.ndarray, forcing: Forcing, mean: np.ndarray
    ) -> Float[np.ndarray, "cell layer"]:
        assert self.parameters is not None
        assert self.residual is not None
        inputs, usable = self.parameters.inputs(cells)
        node = forcing.grid.node
        soil = np.arange(len(node)) < forcing.nbedrock[:, None]
        here = np.flatnonzero(usable & np.isfinite(mean[:, 0]))
        place = np.cumsum(usable) - 1
        row, layer = np.nonzero(soil[here])
        known = np.log(np.maximum(mean[here[row], layer], LEAST))
        added = self.residual.predict(inputs, place[here[row]], node[layer], known)
        out = np.full(mean.shape, np.nan)
        out[here] = 0.0  # below bedrock there is no soil
        out[here[row], layer] = _exp(known + added)
        return out


def interval_arrays(
    ending: str,
    intervals: Intervals,
    forcing: Forcing,
    carbon: Float[np.ndarray, "cell layer"],
    spread: Float[np.ndarray, "cell layer"],
) -> dict[str, np.ndarray]:
    """Return the ends of the interval of carbon, and of the stocks that have one.

    NaN in layers with less carbon than :data:`~proda.learning.conformal.LEAST`, and of stocks
    that have no interval.
    """
    node = np.broadcast_to(forcing.grid.node, carbon.shape)
    cold = cold_soil(forcing)
    some = carbon >= LEAST
    known = np.where(some, np.log(np.where(some, carbon, 1.0)), np.nan)
    low, high = intervals.bounds(known, spread, node, np.broadcast_to(cold[:, None], carbon.shape))
    if not (np.isfinite(intervals.low).all() and np.isfinite(intervals.high).all()):
        return {}  # fitted to no layer at all: there is no interval
    result = {CARBON.name + ending + LOWER: _exp(low), CARBON.name + ending + UPPER: _exp(high)}
    error = intervals.error(spread, node)
    for stock in STOCKS:
        if stock.lower not in STOCK_DEPTHS:
            continue
        parts = _stock(carbon, forcing, stock.lower)
        place, total = STOCK_DEPTHS.index(stock.lower), parts.sum(axis=1)
        if not np.isfinite(intervals.stock_low[place]).all():
            continue
        logs = np.where(total > 0, np.log(np.where(total > 0, total, 1.0)), np.nan)
        low, high = intervals.stock_bounds(place, logs, mean_error(parts, error), cold)
        result[stock.name + ending + LOWER] = _exp(low)
        result[stock.name + ending + UPPER] = _exp(high)
    return result


def _exp(log_carbon: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return carbon; NaN from `LIMIT` on, which the file could not tell from a missing value."""
    fits = log_carbon < np.log(LIMIT)
    return np.where(fits, np.exp(np.where(fits, log_carbon, 0.0)), np.nan)


def _stock(
    carbon: Float[np.ndarray, "cell layer"], forcing: Forcing, bottom: float
) -> Float[np.ndarray, "cell layer"]:
    """Return each layer's part of the stock down to a depth, kg m-2."""
    return np.asarray(carbon * np.asarray(forcing.grid.thickness_within(0.0, bottom)))


def _log_spread(
    carbon: Float[np.ndarray, "member cell layer"], counts: Bool[np.ndarray, "member cell"]
) -> tuple[Float[np.ndarray, "cell layer"], Float[np.ndarray, "cell layer"]]:
    """Return the mean over members with an answer (NaN: none), and the sd of ln carbon (0: one).

    As `proda.learning.unseen.answer_of_members` has it, by which the intervals are calibrated.
    """
    wide = counts[:, :, None]
    n = wide.sum(axis=0)
    values = np.where(wide, carbon, 0.0)
    mean = np.where(n > 0, values.sum(axis=0) / np.maximum(n, 1), np.nan)
    fine = wide & (values > 0)
    logs = np.where(fine, np.log(np.where(fine, values, 1.0)), 0.0)
    k = fine.sum(axis=0)
    middle = logs.sum(axis=0) / np.maximum(k, 1)
    square = np.where(fine, (logs - middle) ** 2, 0.0).sum(axis=0)
    return mean, np.sqrt(square / np.maximum(k - 1, 1))
