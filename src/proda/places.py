"""Places on Earth: checks of their names and coordinates, and distances between them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from proda.errors import ProdaError

EARTH_RADIUS_KM = 6371.0072
"""Radius of the sphere that has the area of the Earth."""

HALF_DEGREE = 0.5
"""Width of the cells that places are gathered in, degrees."""

LONGEST_TURN = 540.0
"""Longitudes beyond this (degrees) are those of no convention."""


def check_sites(
    names: np.ndarray | Sequence[str],
    where: str | os.PathLike[str],
    kind: type[ProdaError],
    latitude: np.ndarray | None = None,
    longitude: np.ndarray | None = None,
) -> None:
    """Refuse sites that have no name, or the same one, or lie nowhere.

    Parameters
    ----------
    names
        (site,).
    where
        The file, for the message.
    kind
        The error to raise.
    latitude, longitude
        (site,), degrees; None: not looked at.

    Raises
    ------
    kind
        Naming the site.
    """
    names = np.asarray(names).astype(str)
    if (empty := np.char.strip(names) == "").any():
        raise kind(
            f"{where}: site number {int(np.argmax(empty)) + 1} has no name "
            f"({int(empty.sum()):,} such sites)."
        )
    unique, count = np.unique(names, return_counts=True)
    if (count > 1).any():
        first = unique[count > 1][0]
        raise kind(
            f"{where}: site {first} appears {int(count[unique == first][0])} times "
            f"({int((count > 1).sum()):,} sites more than once); each must appear once."
        )
    for what, values, limit in (
        ("latitude", latitude, 90.0),
        ("longitude", longitude, LONGEST_TURN),
    ):
        if values is None:
            continue
        wrong = ~(np.abs(np.asarray(values, dtype=float)) <= limit)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise kind(
                f"{where}: site {names[i]} has the {what} {float(values[i]):g} "
                f"({int(wrong.sum()):,} such sites); expected degrees, {-limit:g} to {limit:g}."
            )


def check_dataset_sites(
    dataset: xr.Dataset, where: str | os.PathLike[str], kind: type[ProdaError]
) -> None:
    """Refuse a Dataset without sites, or with some that :func:`check_sites` refuses.

    Raises
    ------
    kind
        Naming the site.
    """
    if "site" not in dataset.variables or dataset["site"].dims != ("site",):
        raise kind(f"{where}: has no coordinate site that names its sites.")
    place = {
        n: dataset[n].to_numpy()
        for n in ("latitude", "longitude")
        if n in dataset.variables
        and dataset[n].dims == ("site",)
        and dataset[n].dtype.kind in "fiu"
    }
    check_sites(dataset["site"].to_numpy(), where, kind, **place)


def half_degree_cell(
    latitude: Float[np.ndarray, " n"], longitude: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Return a number for the half-degree cell in which each place lies."""
    row, column = (np.floor(axis / HALF_DEGREE).astype(int) for axis in (latitude, longitude))
    return np.asarray(row * 10_000 + column)


def unit_vectors(
    latitude: Float[np.ndarray, " n"], longitude: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """Return points on the unit sphere; chords between them order as great circles do."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def great_circle_km(
    here: Float[np.ndarray, "n 3"], there: Float[np.ndarray, "*m 3"]
) -> Float[np.ndarray, "n *m"]:
    """Return the distance of each point from every other (:func:`unit_vectors`), km."""
    return EARTH_RADIUS_KM * np.arccos(np.clip(here @ there.T, -1.0, 1.0))


def chord_km(chord: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the great-circle distance (km) of points that far apart through the unit sphere."""
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1.0))
