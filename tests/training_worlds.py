"""A synthetic world with a soil model in it: truth known, posteriors that mislead about carbon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import proda
from proda.inference.likelihood import LogNormal
from proda.inference.profiles import Profiles, read_profiles
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.layers import SiteLayers
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping
from tests.assimilation_worlds import _COLUMNS, _HEADER

N = 120
TOPS = np.array([0.0, 10.0, 30.0, 60.0])
BOTTOMS = np.array([10.0, 30.0, 60.0, 100.0])
NOISE = 0.1
MISLED = {"tau4s3": 0.25, "tau4s2": 0.2}
"""By how much, in shares of the prior range, posterior means lie above the truth."""


QUICK = EndToEndSettings(
    hidden=(16,),
    epochs=20,
    members=2,
    batch_size=32,
    learning_rate=0.02,
    constant_epochs=5,
    dropout=0.0,
    input_noise=0.0,
)
"""Settings with which the world below is learnt in seconds."""


@dataclass
class World:
    """Files of a study up to the network, and the truth."""

    folder: Path
    covariates: pd.DataFrame
    truth: np.ndarray

    def path(self, name: str) -> Path:
        return self.folder / name

    def arguments(self) -> list[str]:
        """Return what `proda train` needs beside the folder to write."""
        return [str(self.path(n)) for n in ("kept.nc", "sites.parquet")]

    def data(self) -> dict[str, Path]:
        return {"profiles": self.path("profiles"), "forcing": self.path("sites.nc")}


def names(n: int = N) -> list[str]:
    return [f"survey:{i}" for i in range(n)]


def make_forcing(n: int, rng: np.random.Generator) -> tuple[xr.Dataset, np.ndarray]:
    """Columns like the built-in ones that thaw, each a little warmer or wetter than its like."""
    kind = rng.integers(2, 6, n)
    columns = proda.example_columns().isel(site=kind)
    warmer = xr.DataArray(rng.uniform(-2.0, 2.0, n), dims="site")
    columns["soil_temperature"] = (columns["soil_temperature"] + warmer).assign_attrs(units="K")
    columns = columns.assign_coords(
        site=names(n),
        latitude=("site", rng.uniform(-50.0, 65.0, n)),
        longitude=("site", rng.uniform(-180.0, 180.0, n)),
    )
    return columns, kind


def make_world(folder: Path, n: int = N, seed: int = 3) -> World:
    """Write kept.nc, sites.parquet, sites.nc and profiles/."""
    rng = np.random.default_rng(seed)
    forcing, kind = make_forcing(n, rng)
    wet, clay = rng.uniform(-1.0, 1.0, (2, n))
    table = pd.DataFrame(
        {
            "site": names(n),
            "latitude": forcing["latitude"].to_numpy(),
            "longitude": forcing["longitude"].to_numpy(),
            "wetness": wet,
            "clay": clay,
            "temperature": forcing["soil_temperature"].mean(("layer", "month")).to_numpy(),
            "koppen_class": pd.Categorical.from_codes(kind - 2, ["Dfb", "BSk", "Aw", "Af"]),
        }
    )
    model = proda.load_model("clm5")
    rows = model.rows
    place = {row.name: i for i, row in enumerate(rows)}
    share = np.full((n, len(rows)), 0.5)
    share[:, place["tau4s3"]] = 0.35 + 0.25 * np.tanh(1.5 * wet)
    share[:, place["tau4s2"]] = 0.35 + 0.25 * clay
    lower, upper = np.array([r.lower for r in rows]), np.array([r.upper for r in rows])
    truth = lower + share * (upper - lower)
    layers = SiteLayers(
        model, LogNormal(), "layer_mean", _empty(table), proda.Forcing.from_dataset(forcing)
    )
    values = {row.name: truth[:, i] for i, row in enumerate(rows)}
    state = proda.steady_state(model, values, layers.forcing)
    assert (state["reason"] == 0).all()
    carbon = layers.observe(state["soil_carbon"].to_numpy())
    carbon = carbon * np.exp(NOISE * rng.standard_normal(carbon.shape))
    folder.mkdir(exist_ok=True)
    forcing.to_netcdf(folder / "sites.nc")
    table.to_parquet(folder / "sites.parquet", index=False)
    _write_profiles(folder, table, carbon.reshape(n, -1))
    _write_posterior(folder, table, share, rows, rng)
    _write_places(folder, table)
    return World(folder, table, truth)


def _empty(table: pd.DataFrame) -> Profiles:
    n = len(table)
    return Profiles(
        table["site"].to_numpy(str),
        table["latitude"].to_numpy(),
        table["longitude"].to_numpy(),
        np.arange(n + 1) * len(TOPS),
        np.tile(TOPS / 100, n),
        np.tile(BOTTOMS / 100, n),
        np.ones(n * len(TOPS)),
    )


def _write_profiles(folder: Path, table: pd.DataFrame, carbon: np.ndarray) -> None:
    lines = [_HEADER]
    for i, row in table.iterrows():
        for k, (top, bottom) in enumerate(zip(TOPS, BOTTOMS, strict=True)):
            soc = carbon[i, k] / 1000.0 / 1.2
            lines.append(
                f"{i},{row.latitude:.6f},{row.longitude:.6f},{i}-{k},{top},{bottom},{soc:.5f},1.2"
            )
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    source = {
        "reader": "csv",
        "name": "survey",
        "layers_file": str(folder / "table.csv"),
        "columns": _COLUMNS,
    }
    build(from_mapping({"source": [source], "pedotransfer": "paper"}, "test"), folder / "profiles")
    assert set(read_profiles(folder / "profiles").site) == set(table["site"])


def _write_posterior(
    folder: Path, table: pd.DataFrame, share: np.ndarray, rows: tuple, rng: np.random.Generator
) -> None:
    mean = share + 0.02 * rng.standard_normal(share.shape)
    for name, off in MISLED.items():
        mean[:, [r.name for r in rows].index(name)] += off
    lower, upper = np.array([r.lower for r in rows]), np.array([r.upper for r in rows])
    width = upper - lower
    dims = ("site", "parameter")
    xr.Dataset(
        {
            "posterior_mean": (dims, lower + np.clip(mean, 0.02, 0.98) * width),
            "posterior_sd": (dims, np.tile(0.2 * width, (len(table), 1))),
        },
        coords={
            "site": table["site"].to_numpy(object),
            "parameter": [r.name for r in rows],
            "latitude": ("site", table["latitude"].to_numpy()),
            "longitude": ("site", table["longitude"].to_numpy()),
            "lower": ("parameter", lower),
            "upper": ("parameter", upper),
        },
        attrs={"model": "clm5", "variant": "default"},
    ).to_netcdf(folder / "kept.nc")


def _write_places(folder: Path, table: pd.DataFrame) -> None:
    """Five cells, of which one is hot and one lacks a covariate; and a grid with four of land."""
    rows = table.drop(columns="site").head(5).copy()
    rows.loc[0, "temperature"] = 390.0
    rows.loc[1, "wetness"] = np.nan
    rows.to_parquet(folder / "cells.parquet", index=False)
    lat, lon = [40.0, 50.0], [0.0, 10.0, 20.0]
    shape = (len(lat), len(lon))
    grid = xr.Dataset(
        {
            name: (("lat", "lon"), np.full(shape, value, np.float32))
            for name, value in (("wetness", 0.1), ("clay", 0.2), ("temperature", 285.0))
        },
        {"lat": lat, "lon": lon},
    )
    zone = {"flag_values": np.array([1], np.int8), "flag_meanings": "Dfb"}
    grid["koppen_class"] = (("lat", "lon"), np.full(shape, 1.0), zone)
    grid["land_mask"] = (("lat", "lon"), np.array([[1, 0, 1], [1, 1, 0]]))
    grid.to_netcdf(folder / "covariates_halfdeg.nc")
