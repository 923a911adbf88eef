"""Zones and bands of latitude: every division of the Earth by latitude that results are given for.

The divisions differ in purpose and in which zone a limit belongs to; results name them, so they
stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

TROPIC = 23.5
"""Latitude of the tropics, degrees."""

GLOBE = "globe"
ZONES: dict[str, tuple[float, float]] = {
    "boreal": (50.0, 90.0),
    "northern temperate": (TROPIC, 50.0),
    "tropics": (-TROPIC, TROPIC),
    "southern temperate": (-90.0, -TROPIC),
}
"""Zones of maps by latitude (degrees north): lower limit inside, upper outside (90 inside).

The paper names boreal and tropical regions without giving limits; these are ours.
"""

BOTH_HEMISPHERES = (("boreal", 50.0, 90.1), ("temperate", TROPIC, 50.0), ("tropics", -0.1, TROPIC))
"""Zones of profiles left out by absolute latitude, degrees; the lower limit is inside."""

BANDS = (
    ("60-90N", 60.0),
    ("45-60N", 45.0),
    ("23.5-45N", TROPIC),
    ("0-23.5N", 0.0),
    ("23.5S-0", -TROPIC),
    ("60-23.5S", -60.0),
    ("90-60S", -90.0),
)
"""Bands of assimilated sites with their southern end, which belongs to them (degrees north)."""

BELTS = (
    (TROPIC, "within 23.5°"),
    (45.0, "23.5° to 45°"),
    (60.0, "45° to 60°"),
    (90.0, "beyond 60°"),
)
"""Belts of measured profiles by the absolute latitude, degrees; the upper limit is inside."""


def between(lat: Any, south: float, north: float) -> Any:
    """Return whether latitudes lie between two others: southern end inside, northern outside.

    The north pole belongs to the zone that ends there.
    """
    return (lat >= south) & ((lat < north) | ((north == 90.0) & (lat <= 90.0)))


def in_zone(
    lat: Float[np.ndarray, "*n"], zone: str, zones: Mapping[str, tuple[float, float]] = ZONES
) -> np.ndarray:
    """Return whether latitudes lie in a zone; everything lies on the globe."""
    if zone == GLOBE:
        return np.ones(np.shape(lat), dtype=bool)
    return np.asarray(between(lat, *zones[zone]))


def bands(lat: Float[np.ndarray, " n"]) -> list[str]:
    """Return the band of :data:`BANDS` of each latitude."""
    return [next(name for name, south in BANDS if value >= south) for value in lat]


def belts(lat: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return the belt of :data:`BELTS` of each latitude (degrees), both hemispheres together."""
    limits = [limit for limit, _ in BELTS]
    names = np.array([name for _, name in BELTS])
    return names[np.searchsorted(limits, np.abs(lat), side="left")]


def row_of(lat: Float[np.ndarray, "*n"], width: float) -> np.ndarray:
    """Return the number of each latitude's row of `width` degrees, counted from the south pole."""
    return np.floor((lat + 90.0) / width).astype(int)


def centre_of(row: Any, width: float) -> Any:
    """Return the latitude of the middle of rows of `width` degrees."""
    return -90.0 + (row + 0.5) * width
