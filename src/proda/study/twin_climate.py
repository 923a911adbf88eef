"""The climate, soils and covariates of a synthetic planet, smooth at any resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import expit

from proda.drivers.grids import cell_area
from proda.places import unit_vectors

LAND_SHARE = 0.25
NORTH, SOUTH = 72.0, -55.0
"""No land beyond these latitudes."""

BIOMES = (
    "tundra",
    "boreal_forest",
    "temperate_forest",
    "steppe",
    "desert",
    "savanna",
    "rain_forest",
)
ROCKS = ("sedimentary", "volcanic", "crystalline", "alluvial")
SURVEYS = ("north_office", "south_office", "east_office")
"""Classes of an irrelevant covariate."""


class SmoothFields:
    """Smooth random fields on the sphere: sums of plane waves, about standard normal."""

    def __init__(self, seed: int, points: Float[np.ndarray, "*n 3"]) -> None:
        self._rng = np.random.default_rng([seed, 11])
        self._points = points

    def __call__(self, scale: float, waves: int = 40) -> Float[np.ndarray, "*n"]:
        """Return another field; `scale` is about the number of waves around the globe."""
        k = self._rng.normal(0.0, scale, (3, waves))
        phase = self._rng.uniform(0.0, 2.0 * np.pi, waves)
        return np.sqrt(2.0 / waves) * np.cos(self._points @ k + phase).sum(axis=-1)


def twin_climate(seed: int, resolution: float) -> tuple[xr.Dataset, xr.Dataset]:
    """Generate the climate for estimating forcing, and the covariates of the network.

    Parameters
    ----------
    seed
        Seed of the continents and all fields.
    resolution
        Size of a cell, degrees; the same planet at any.

    Returns
    -------
    climate, covariates
        As `proda forcing from-climate` and `proda covariates build` read them. The covariates
        `magnetic_anomaly` and `survey_office` are not related to soil.
    """
    lat = np.arange(-90.0 + resolution / 2, 90.0, resolution)[::-1]
    lon = np.arange(-180.0 + resolution / 2, 180.0, resolution)
    phi, lam = np.meshgrid(lat, lon, indexing="ij")
    field = SmoothFields(seed, unit_vectors(phi, lam))
    land_fraction = _land(field, phi)
    sine = np.sin(np.radians(phi)) ** 2
    elevation = 1000.0 * np.exp(0.8 * field(4.0) - 1.1)
    air = 28.0 - 38.0 * sine + 2.0 * field(3.0) - 0.0055 * elevation
    half_range = 2.0 + 22.0 * sine * (0.6 + 0.4 * expit(1.5 * field(2.0)))
    rain = 400.0 + 1700.0 * np.exp(-((phi / 12.0) ** 2))
    rain = (rain + 600.0 * np.exp(-(((np.abs(phi) - 48.0) / 14.0) ** 2))) * np.exp(0.5 * field(3.5))
    wet = rain / (rain + np.maximum(300.0, 30.0 * (air + 10.0)))
    frozen = 0.8 * expit(-(air + 2.0) / 3.0)
    saturation = 0.2 + 0.6 * wet
    npp = _production(air, rain)
    sand = 0.1 + 0.75 * expit(0.9 * field(5.0))
    clay = (1.0 - sand) * (0.25 + 0.45 * expit(field(5.0)))
    ph = 7.8 - 2.6 * wet + 0.4 * field(5.0)
    rock = np.digitize(field(4.0), (-0.7, 0.0, 0.7)) + 1
    anomaly, office = field(4.0), np.digitize(field(4.0), (-0.4, 0.4)) + 1
    land = land_fraction > 0.2
    cells: dict[str, Any] = {
        "land_mask": _on(land.astype(np.int8), "1", "1: land"),
        "land_fraction": _on(np.where(land, land_fraction, 0.0), "1", "share of land"),
        "cell_area": _on(cell_area(lat, lon), "km2", "area of the cell"),
    }
    climate = {
        "soil_temperature_mean": _on(air + 2.0, "degC", "mean annual soil temperature"),
        "tmax_warmest_month": _on(air + half_range + 5.0, "degC", "warmest month, maximum"),
        "tmin_coldest_month": _on(air - half_range - 5.0, "degC", "coldest month, minimum"),
        "liquid_saturation": _on(saturation * (1.0 - frozen), "1", "liquid water in pore space"),
        "frozen_saturation": _on(saturation * frozen, "1", "ice in pore space"),
        "sand_fraction_testbed": _on(sand, "1", "sand, share of mass"),
        "clay_fraction_testbed": _on(clay, "1", "clay, share of mass"),
        "npp": _on(npp, "g m-2 yr-1", "net primary production"),
        "metabolic_litter_input": _on(0.42 * npp, "g m-2 yr-1", "to metabolic litter"),
        "structural_litter_input": _on(0.5 * npp, "g m-2 yr-1", "to structural litter"),
    }
    predictors = {
        "air_temperature_mean": _on(air, "degC", "mean annual air temperature"),
        "temperature_annual_range": _on(2.0 * half_range, "K", "annual range of temperature"),
        "precipitation_annual": _on(rain, "mm yr-1", "annual precipitation"),
        "npp": climate["npp"],
        "sand": _on(100.0 * sand, "%", "sand"),
        "clay": _on(100.0 * clay, "%", "clay"),
        "ph": _on(ph, "1", "soil pH"),
        "elevation": _on(elevation, "m", "elevation"),
        "magnetic_anomaly": _on(anomaly, "nT", "magnetic anomaly (irrelevant)"),
        "biome": _classes(_biome(air, wet), BIOMES, "biome"),
        "parent_material": _classes(rock, ROCKS, "parent material"),
        "survey_office": _classes(office, SURVEYS, "office that keeps the map (irrelevant)"),
    }
    return (
        _on_land(climate, cells, land, lat, lon, seed),
        _on_land(predictors, cells, land, lat, lon, seed),
    )


def _on_land(
    data: dict[str, Any],
    cells: dict[str, Any],
    land: np.ndarray,
    lat: np.ndarray,
    lon: np.ndarray,
    seed: int,
) -> xr.Dataset:
    """Return variables, missing at sea, with what describes the cells."""
    coords = {
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    attrs = {
        "Conventions": "CF-1.11",
        "title": f"SYNTHETIC: climate of a synthetic planet, seed {seed}",
        "comment": "Generated; not a place on Earth.",
    }
    there = {
        name: (dims, np.where(land, values, np.nan).astype(np.float32), given)
        for name, (dims, values, given) in data.items()
    }
    return xr.Dataset({**cells, **there}, coords, attrs)


def _land(field: SmoothFields, phi: Float[np.ndarray, "lat lon"]) -> Float[np.ndarray, "lat lon"]:
    """Share of land: continents where a field is high, so that they take up LAND_SHARE."""
    height = field(2.2) + 0.4 * field(6.0)
    height = np.where((phi < NORTH) & (phi > SOUTH), height, -np.inf)
    weight = np.cos(np.radians(phi)).ravel()
    order = np.argsort(-height.ravel())
    reached = np.cumsum(weight[order]) / weight.sum()
    shore = height.ravel()[order][np.searchsorted(reached, LAND_SHARE)]
    return np.clip(0.5 + (height - shore) / 0.4, 0.0, 1.0)


def _production(air: np.ndarray, rain: np.ndarray) -> np.ndarray:
    """Net primary production, g m-2 yr-1: the smaller of two responses, to warmth and to rain."""
    warmth = 1.0 / (1.0 + np.exp(1.315 - 0.119 * air))
    return 1300.0 * np.minimum(warmth, 1.0 - np.exp(-0.000664 * rain)) + 30.0


def _biome(air: np.ndarray, wet: np.ndarray) -> np.ndarray:
    cold = np.select([air < -4.0, air < 4.0], [1, 2], 0)
    mild = np.select([wet > 0.55, wet > 0.3], [3, 4], 5)
    warm = np.select([wet > 0.6, wet > 0.3], [7, 6], 5)
    return np.where(cold > 0, cold, np.where(air < 19.0, mild, warm))


def _on(values: np.ndarray, unit: str, meaning: str) -> tuple[tuple[str, str], np.ndarray, dict]:
    return ("lat", "lon"), values, {"units": unit, "long_name": meaning, "licence": "synthetic"}


def _classes(
    values: np.ndarray, names: tuple[str, ...], meaning: str
) -> tuple[tuple[str, str], np.ndarray, dict]:
    dims, data, attrs = _on(values.astype(np.float64), "1", meaning)
    codes = np.arange(1, len(names) + 1, dtype=np.int8)
    return dims, data, {**attrs, "flag_values": codes, "flag_meanings": " ".join(names)}
