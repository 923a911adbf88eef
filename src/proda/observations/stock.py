"""Carbon stock of a soil layer from content, density and stones (docs/theory.md#observation).

stock = content x density of the fine earth x (1 - volume share of coarse fragments), in g m-3.
Sources differ in the basis of their values: stones by volume or by mass, density of the fine earth
or of the whole soil. Both are first converted to fine earth and volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from proda.observations.pedotransfer import Pedotransfer

ROCK_DENSITY = 2650.0
"""Density of coarse fragments, kg m-3 (quartz); turns mass shares into volume shares."""


def fine_earth(
    density: np.ndarray, whole_soil: np.ndarray, coarse: np.ndarray, by_mass: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the density of the fine earth and the volume share of coarse fragments.

    With v and m the volume and mass share of stones, r their density, f the density of the fine
    earth and w that of the whole soil: w = r v + f (1 - v) and m w = r v.

    Parameters
    ----------
    density
        Bulk density, kg m-3.
    whole_soil
        True where the density is that of the whole soil, stones included.
    coarse
        Coarse fragments, %; NaN counts as none.
    by_mass
        True where they are mass %.

    Returns
    -------
    tuple of arrays
        Density, kg m-3 (not positive where the numbers contradict each other), and share, 0-1.
    """
    share = np.nan_to_num(coarse, nan=0.0) / 100.0
    with np.errstate(divide="ignore", invalid="ignore"):
        stones = share / ROCK_DENSITY
        from_mass = stones / (stones + (1.0 - share) / density)
        from_mass = np.where(whole_soil, stones * density, from_mass)
        volume = np.where(by_mass & (share > 0), from_mass, share)
        fine = (density - ROCK_DENSITY * volume) / (1.0 - volume)
    return np.where(whole_soil, fine, density), volume


def measured(layers: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return `fine_earth` of the layers' measured densities; NaN where there is none."""
    return fine_earth(
        layers["bulk_density"].to_numpy(float),
        (layers["bulk_density_basis"] == "whole soil").to_numpy(bool),
        layers["coarse"].to_numpy(float),
        (layers["coarse_basis"] == "mass").to_numpy(bool),
    )


def add_stock(layers: pd.DataFrame, pedotransfer: Pedotransfer) -> pd.DataFrame:
    """Return the layers with fine-earth density, its origin, stone volume and stock.

    Where a source gives the stock itself, that is taken. Where density is missing, it is estimated
    from the content (`Pedotransfer.density`), and is then that of the fine earth.
    """
    given = layers["stock_given"].to_numpy(float)
    density = layers["bulk_density"].to_numpy(float)
    is_measured = np.isfinite(density)
    soc = layers["soc"].to_numpy(float)
    fine, volume = fine_earth(
        np.where(is_measured, density, pedotransfer.density(soc)),
        is_measured & (layers["bulk_density_basis"] == "whole soil").to_numpy(bool),
        layers["coarse"].to_numpy(float),
        (layers["coarse_basis"] == "mass").to_numpy(bool),
    )
    has_stock = np.isfinite(given)
    origin = np.where(is_measured, "measured", "pedotransfer")
    return layers.assign(
        fine_earth_density=np.where(has_stock, np.nan, fine),
        density_origin=np.where(has_stock, "stock given", origin),
        coarse_volume=np.where(has_stock, np.nan, volume * 100.0),
        soc_stock=np.where(has_stock, given, soc * fine * (1.0 - volume)),
    )
