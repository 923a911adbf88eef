"""The values of a coalition: carbon, the variance of its map, and its skill at profiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from proda.attribution.shapley import shapley_values
from proda.inference.diagnostics.fit import log_r2, nash_sutcliffe
from proda.learning.conformal import LEAST
from proda.learning.layers import SiteLayers

DEPTH = 1.0
"""Depth of the stock that is attributed, m."""
PG = 1e-6
"""kg m-2 times km2 in Pg."""

STOCK, VARIANCE, LOG_R2, MOVED, NSE = "stock", "variance", "log_r2", "moved", "nse"
UNITS = {STOCK: "Pg", VARIANCE: "1", LOG_R2: "1", MOVED: "Pg", NSE: "1"}


@dataclass(frozen=True, eq=False)
class CoalitionMaps:
    """The stock of every coalition at the cells where all of them have a steady state."""

    stock: Float[np.ndarray, "coalition cell"]
    """kg m-2."""
    area: Float[np.ndarray, " cell"]
    """Land, km2."""
    common: Bool[np.ndarray, " cell"]
    """Positions of these cells among those that were run."""

    @property
    def share_common(self) -> float:
        """Share of the cells that were run in which every coalition has a steady state."""
        return float(self.common.mean())

    def worth(self) -> dict[str, Float[np.ndarray, " coalition"]]:
        """Return the carbon (Pg) and the variance of ln carbon over land of every coalition."""
        return {STOCK: (self.stock @ self.area) * PG, VARIANCE: log_variance(self.stock, self.area)}

    def parts(self) -> Float[np.ndarray, "player cell"]:
        """Return the Shapley values of the stock of each cell, kg m-2."""
        return shapley_values(self.stock)

    def log_parts(self) -> Float[np.ndarray, "player cell"]:
        """Return the Shapley values of ln stock of each cell."""
        return shapley_values(np.log(self.stock))

    def importance(self) -> dict[str, Float[np.ndarray, " player"]]:
        """Return each player's Shapley value by measure, and the carbon that it redistributes (Pg).

        The latter is the sum over land of the absolute values of its parts: a component that adds
        carbon in some cells and removes as much in others redistributes much but changes the total
        little.
        """
        shapley = {name: shapley_values(worth) for name, worth in self.worth().items()}
        return shapley | {MOVED: (np.abs(self.parts()) @ self.area) * PG}


def maps_of(
    stock: Float[np.ndarray, "coalition cell"],
    fine: Bool[np.ndarray, "coalition cell"],
    area: Float[np.ndarray, " cell"],
) -> CoalitionMaps:
    """Keep the cells in which every coalition has a steady state with carbon."""
    common = fine.all(axis=0) & (stock > 0.0).all(axis=0) & (area > 0)
    return CoalitionMaps(stock[:, common], area[common], common)


def log_variance(
    stock: Float[np.ndarray, "coalition cell"], area: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " coalition"]:
    """Return the variance of ln stock over land."""
    share = area / area.sum()
    logs = np.log(stock)
    return np.asarray(((logs - (logs @ share)[:, None]) ** 2) @ share)


def pattern_parts(
    parts: Float[np.ndarray, "player cell"],
    whole: Float[np.ndarray, " cell"],
    area: Float[np.ndarray, " cell"],
) -> Float[np.ndarray, " player"]:
    """Return each player's share of the variance of the whole over land; they add up to 1."""
    share = area / area.sum()
    centred = whole - whole @ share
    variance = float((centred**2) @ share)
    if variance == 0.0:
        return np.full(len(parts), np.nan)
    return np.asarray(((parts - (parts @ share)[:, None]) * centred) @ share / variance)


def skill_of_coalitions(
    layers: SiteLayers,
    carbon: Float[np.ndarray, "coalition site layer"],
    fine: Bool[np.ndarray, "coalition site"],
) -> tuple[dict[str, Float[np.ndarray, " coalition"]], int]:
    """Return log R2 and NSE of every coalition over the measured layers, and how many sites.

    Only sites at which every coalition has a steady state are used. Layers modelled below `LEAST`
    are set to it before taking logarithms.
    """
    common = np.asarray(fine.all(axis=0))
    here = layers.used & common[layers.row_site]
    observed = layers.profiles.carbon / 1000.0
    logs, squares = [], []
    for one in carbon:
        modelled = layers.observe(one)
        logs.append(log_r2(np.maximum(modelled, LEAST), observed, here))
        squares.append(float(nash_sutcliffe(modelled, observed, here)))
    return {LOG_R2: np.array(logs), NSE: np.array(squares)}, int(common.sum())
