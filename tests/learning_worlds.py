"""Made-up twin worlds: parameters as known functions of covariates, and site posteriors of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import truncnorm

NAMES = ("tau", "cue", "depth", "silent")
LOWER, UPPER = np.array([2.0, 0.1, -5.0, 0.0]), np.array([40.0, 0.7, 5.0, 3.0])
BIOMES = ("forest", "grass", "tundra")


def covariates(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    latitude, longitude = rng.uniform(-50, 70, n), rng.uniform(-180, 180, n)
    biome = rng.integers(0, len(BIOMES), n)
    return pd.DataFrame(
        {
            "site": [f"s{i:04d}" for i in range(n)],
            "latitude": latitude,
            "longitude": longitude,
            "cell_latitude": np.round(latitude),
            "temperature": (25 - 0.5 * np.abs(latitude) + rng.normal(0, 3, n)).astype(np.float32),
            "rain": rng.gamma(2.0, 400.0, n).astype(np.float32),
            "clay": rng.uniform(5, 60, n).astype(np.float32),
            "biome": pd.Categorical.from_codes(biome, categories=list(BIOMES)),
        }
    )


def truth(table: pd.DataFrame) -> np.ndarray:
    """Shares of the prior range; smooth in the covariates."""
    t = (table["temperature"].to_numpy(float) - 10) / 12
    r = np.tanh((table["rain"].to_numpy(float) - 800) / 500)
    c = (table["clay"].to_numpy(float) - 32) / 28
    g = (table["biome"] == "grass").to_numpy(float)
    tau = 1 / (1 + np.exp(1.5 * t - 0.8 * g))
    cue = 0.5 + 0.3 * r * np.tanh(1.5 * t)
    depth = 0.5 + 0.25 * c - 0.2 * g
    return np.stack([tau, cue, depth, 0.5 + 0.4 * np.sin(3 * t)], axis=1)


def posterior(table: pd.DataFrame, seed: int, noise: float = 0.15) -> xr.Dataset:
    """Exact posteriors under uniform priors of one noisy observation; `silent` has none."""
    rng = np.random.default_rng(seed)
    y = truth(table) + noise * rng.standard_normal((len(table), len(NAMES)))
    a, b = -y / noise, (1 - y) / noise
    mean, sd = truncnorm.mean(a, b, y, noise), truncnorm.std(a, b, y, noise)
    mean[:, 3] = 0.5 + 0.01 * rng.standard_normal(len(table))
    sd[:, 3] = np.sqrt(1 / 12)
    return summary(table, mean, sd)


def summary(table: pd.DataFrame, mean: np.ndarray, sd: np.ndarray) -> xr.Dataset:
    width = UPPER - LOWER
    return xr.Dataset(
        {
            "posterior_mean": (("site", "parameter"), LOWER + mean * width),
            "posterior_sd": (("site", "parameter"), sd * width),
        },
        coords={
            "site": table["site"].to_numpy(object),
            "parameter": list(NAMES),
            "latitude": ("site", table["latitude"].to_numpy()),
            "longitude": ("site", table["longitude"].to_numpy()),
            "lower": ("parameter", LOWER),
            "upper": ("parameter", UPPER),
        },
        attrs={"model": "clm5", "variant": "default"},
    )
