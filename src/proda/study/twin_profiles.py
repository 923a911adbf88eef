"""Synthetic soil profiles: sites, layers and noise, some of which rules reject."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda.grid import CLM5_GRID
from proda.inference.operator import observe, weights
from proda.maps.cells import LandCells

MOST_OFFSET = 0.3
"""Maximum distance of a site from the centre of its cell along either axis, degrees."""
REFUSED = 0.08
"""Share of further profiles that violate a rule: too shallow, or a treated plot."""


def draw_sites(cells: LandCells, n: int, seed: int) -> tuple[pd.DataFrame, Int[np.ndarray, " n"]]:
    """Draw sites by land area; a cell is used again only when all others are used.

    Returns
    -------
    sites, cell
        Columns profile_id, lat, lon; and the position of each site's cell in the list.
    """
    rng = np.random.default_rng([seed, 13])
    share = cells.land_area / cells.land_area.sum()
    rounds = [
        rng.choice(len(cells), min(len(cells), n - start), replace=False, p=share)
        for start in range(0, n, len(cells))
    ]
    cell = np.concatenate(rounds)
    offset = rng.uniform(-MOST_OFFSET, MOST_OFFSET, (2, n))
    sites = pd.DataFrame(
        {
            "profile_id": [f"twin_{i:05d}" for i in range(n)],
            "lat": np.clip(cells.latitude[cell] + offset[0], -90.0, 90.0),
            "lon": cells.longitude[cell] + offset[1],
        }
    )
    return sites, cell


def measure(
    soc: Float[np.ndarray, "site layer"], names: list[str], noise: float, seed: int
) -> pd.DataFrame:
    """Measure carbon in four to eight layers of every site, with log-normal error.

    Parameters
    ----------
    soc
        True carbon of the model's layers, g m-3.
    names
        Names of the sites.
    noise
        Standard deviation of a layer's error in natural logarithms.
    seed
        Seed of depths and errors.

    Returns
    -------
    pandas.DataFrame
        The tidy table of layers; content times density is the measured stock.
    """
    rows = []
    everything = jnp.asarray(len(CLM5_GRID))  # no bedrock on this planet
    for i, name in enumerate(names):
        rng = np.random.default_rng([seed, 14, i])
        n = int(rng.integers(4, 9))
        bottom = rng.uniform(0.8, 2.0)
        bounds = np.round(bottom * np.linspace(0.0, 1.0, n + 1) ** 1.5, 2)
        value, slope = map(jnp.asarray, weights(bounds[:-1], bounds[1:], "layer_mean", CLM5_GRID))
        true = np.asarray(observe(jnp.asarray(soc[i]), value, slope, everything, CLM5_GRID))
        stock = true * np.exp(noise * rng.standard_normal(n))
        for k in range(n):
            rows.append(_layer(name, bounds[k], bounds[k + 1], stock[k]))
    return pd.DataFrame(rows)


def _layer(name: str, top: float, bottom: float, stock: float) -> dict[str, object]:
    """Split a stock (g m-3) into content and density: density = 1500 / (1 + content/150)."""
    content = stock / (1500.0 - stock / 150.0)
    return {
        "profile_id": name,
        "upper_depth_cm": 100.0 * top,
        "lower_depth_cm": 100.0 * bottom,
        "soc_g_kg": content,
        "bulk_density_kg_m3": 1500.0 / (1.0 + content / 150.0),
        "soc_basis": "organic C as reported by the source",
    }


def tidy_tables(
    sites: pd.DataFrame, layers: pd.DataFrame, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables for `--source tidy:FOLDER`, with profiles that rules reject."""
    rng = np.random.default_rng([seed, 15])
    extra = rng.choice(len(sites), max(2, round(REFUSED * len(sites))), replace=False)
    profiles, measured = [_described(sites)], [layers]
    for j, i in enumerate(extra):
        name = f"twin_refused_{j:04d}"
        row = _described(sites.iloc[[i]].assign(profile_id=name))
        part = layers[layers["profile_id"] == sites["profile_id"].iloc[i]].assign(profile_id=name)
        if j % 2:
            row["treated"] = True
        else:
            part = part[part["lower_depth_cm"] < 40.0]
        profiles.append(row)
        measured.append(part)
    columns = ("coarse_fragments_pct", "clay_pct", "silt_pct", "sand_pct", "ph_h2o", "cec_cmol_kg")
    table = pd.concat(measured, ignore_index=True)
    table = table.assign(**{name: np.full(len(table), np.nan, np.float32) for name in columns})
    table["soc_basis"] = table["soc_basis"].astype("category")
    return pd.concat(profiles, ignore_index=True), table


def _described(sites: pd.DataFrame) -> pd.DataFrame:
    return sites.assign(
        source="twin",
        location_error_deg=np.float32(0.01),
        year=np.int16(2000),
        country="synthetic",
        licence="synthetic",
        treated=False,
        depth_bounds="as given",
    )
