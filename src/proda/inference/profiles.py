"""The measured profiles that a run fits, read from a build of `proda profiles`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda.errors import ObservationError
from proda.observations.build_summary import read_build

_LAYERS = ("profile_id", "upper_depth", "lower_depth", "soc_stock")


@dataclass(frozen=True, eq=False)
class Profiles:
    """Measured layers of many sites, one row per layer, the rows of a site together."""

    site: np.ndarray
    latitude: Float[np.ndarray, " site"]
    longitude: Float[np.ndarray, " site"]
    first: Int[np.ndarray, " site_plus_one"]
    """The rows of site i are first[i] to first[i + 1]."""
    upper: Float[np.ndarray, " row"]
    """m"""
    lower: Float[np.ndarray, " row"]
    """m"""
    carbon: Float[np.ndarray, " row"]
    """g m-3"""
    collection: np.ndarray | None = None
    """Collection, otherwise source, of each site; None where only the names of sites are known."""

    def __len__(self) -> int:
        return len(self.site)

    @property
    def n_layers(self) -> Int[np.ndarray, " site"]:
        """Measured layers of each site."""
        return np.diff(self.first)

    @property
    def collections(self) -> np.ndarray:
        """Return the collection of each site, otherwise the part of its name before the colon."""
        return _before_colon(self.site) if self.collection is None else self.collection

    def select(self, index: np.ndarray | Sequence[int]) -> Profiles:
        """Return some of the sites, by position."""
        index = np.asarray(index, dtype=int)
        rows = [np.arange(self.first[i], self.first[i + 1]) for i in index]
        flat = np.concatenate(rows) if rows else np.zeros(0, int)
        return Profiles(
            self.site[index],
            self.latitude[index],
            self.longitude[index],
            np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(int),
            self.upper[flat],
            self.lower[flat],
            self.carbon[flat],
            None if self.collection is None else self.collection[index],
        )

    def spread(self, n: int, seed: int = 0) -> Profiles:
        """Return about `n` sites, spread evenly over latitude: as many from each 10-degree band.

        All sites of bands with fewer are used, and the others share the remaining number.
        """
        if n >= len(self):
            return self
        rng = np.random.default_rng(seed)
        band = np.floor(self.latitude / 10.0).astype(int)
        shuffled = rng.permutation(len(self))
        # The k-th profile of each band, in random order, comes before any band's (k+1)-th.
        turn = pd.Series(band[shuffled]).groupby(band[shuffled]).cumcount().to_numpy()
        chosen = shuffled[np.lexsort((np.arange(len(self)), turn))[:n]]
        return self.select(np.sort(chosen))


def read_profiles(folder: str | os.PathLike[str]) -> Profiles:
    """Read the tables of `proda profiles build`.

    Raises
    ------
    FileError
        If a table is missing, or belongs to another build.
    ObservationError
        If no profile was kept, or a layer contains no carbon, which is impossible with a log-normal
        error.
    """
    _, sites, layers = read_build(folder, _LAYERS)
    return from_tables(sites, layers, str(folder))


def from_tables(sites: pd.DataFrame, layers: pd.DataFrame, where: str = "profiles") -> Profiles:
    """Return Profiles from a table of sites (profile_id, lat, lon) and one of their layers."""
    if len(sites) == 0:
        raise ObservationError(f"{where}: no profile was kept, so there is nothing to assimilate.")
    order = pd.Series(np.arange(len(sites)), index=sites["profile_id"].to_numpy())
    if order.index.has_duplicates:
        twice = order.index[order.index.duplicated()][0]
        raise ObservationError(f"{where}: profile {twice} appears more than once.")
    position = order.reindex(layers["profile_id"]).to_numpy()
    if np.isnan(position).any():
        lost = layers["profile_id"].to_numpy()[np.isnan(position)][0]
        raise ObservationError(f"{where}: layers of {lost}, which are not among the profiles.")
    layers = layers.assign(position=position.astype(int)).sort_values(
        ["position", "upper_depth"], kind="stable"
    )
    carbon = layers["soc_stock"].to_numpy(float)
    if not ((carbon > 0.0) & np.isfinite(carbon)).all():
        first = int(np.argmin((carbon > 0.0) & np.isfinite(carbon)))
        raise ObservationError(
            f"{where}: layer {layers['upper_depth'].iloc[first]:g}-"
            f"{layers['lower_depth'].iloc[first]:g} m of {layers['profile_id'].iloc[first]} has a "
            f"stock of {carbon[first]:g} g m-3; expected more than 0. Leave such layers out."
        )
    counts = np.bincount(layers["position"], minlength=len(sites))
    if (counts == 0).any():
        empty = sites["profile_id"].to_numpy()[int(np.argmin(counts))]
        raise ObservationError(f"{where}: profile {empty} has no layer.")
    return Profiles(
        site=sites["profile_id"].to_numpy().astype(str),
        latitude=sites["lat"].to_numpy(float),
        longitude=sites["lon"].to_numpy(float),
        first=np.concatenate([[0], np.cumsum(counts)]),
        upper=layers["upper_depth"].to_numpy(float),
        lower=layers["lower_depth"].to_numpy(float),
        carbon=carbon,
        collection=_collections(sites),
    )


def _collections(sites: pd.DataFrame) -> np.ndarray:
    """Return the collection of each site, or its source, or the beginning of its name."""
    named = pd.Series(pd.NA, index=sites.index, dtype="string")
    for column in ("collection", "source"):
        if column in sites:
            own = sites[column].astype("string").str.strip()
            named = named.fillna(own.where(own != ""))
    rest = pd.Series(_before_colon(sites["profile_id"].to_numpy()), index=sites.index)
    return named.fillna(rest.astype("string")).to_numpy(str)


def _before_colon(names: np.ndarray) -> np.ndarray:
    return np.array([str(name).partition(":")[0] for name in names], dtype=str)
