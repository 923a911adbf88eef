"""A tiny synthetic world to assimilate: six columns, and a profile in each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import proda
from proda.inference.problem import checked_settings
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping

OPTIONS = {"warm_up": 15, "kept": 20, "replicas": 3}
SETTINGS = checked_settings(sampler="tempered", options=OPTIONS, draws=4, chains=2, seed=7)
"""Seven calls of the compiled program: three that warm up and four that keep a draw each."""
WALKERS = checked_settings(
    sampler="smc",
    options={"walkers": 8, "steps": 2, "rounds": 2, "descents": 2},
    draws=8,
    chains=2,
    seed=7,
    min_ess=4.0,
    max_rhat=1.5,
    max_evidence_error=0.15,
)
"""A few walkers by sequential Monte Carlo: some sites need one round and some two, and half of them
begin again."""
WIDTH = 4
N_SITES = 6
N_CALLS = 7

_HEADER = "profile,lat,lon,layer,top,bottom,soc,bd"
_COLUMNS = {
    "profile_id": {"column": "profile"},
    "lat": {"column": "lat"},
    "lon": {"column": "lon"},
    "layer_id": {"column": "layer"},
    "upper_depth": {"column": "top", "unit": "cm"},
    "lower_depth": {"column": "bottom", "unit": "cm"},
    "soc": {"column": "soc", "unit": "g kg-1"},
    "bulk_density": {"column": "bd", "unit": "g cm-3"},
}


def names() -> list[str]:
    """Return the profiles' names as `proda profiles` writes them."""
    return [f"survey:{i}" for i in range(N_SITES)]


def write_profiles(folder: Path, *, factor: float = 1.0) -> Path:
    """Build profiles: three to seven layers each, so that one program serves all."""
    folder.mkdir()
    columns = proda.example_columns()
    latitude, longitude = (columns[name].to_numpy() for name in ("latitude", "longitude"))
    lines = []
    for i in range(N_SITES):
        n = (3, 5, 4, 7, 3, 6)[i]
        top = np.linspace(0.0, 100.0, n + 1)
        for k in range(n):
            soc = factor * (12.0 + 5.0 * i) * np.exp(-top[k] / 40.0)
            lines.append(
                f"{i},{latitude[i]},{longitude[i]},"
                f"{i}-{k},{top[k]:.3f},{top[k + 1]:.3f},{soc:.4f},{1.2 + 0.02 * k:.3f}"
            )
    table = folder / "table.csv"
    table.write_text("\n".join([_HEADER, *lines]) + "\n")
    source = {"reader": "csv", "name": "survey", "layers_file": str(table), "columns": _COLUMNS}
    rules = from_mapping({"source": [source], "pedotransfer": "paper"}, "test")
    build(rules, folder / "build")
    return folder / "build"


def write_forcing(path: Path, sites: list[str] | None = None) -> Path:
    """Write the six example columns under the profiles' names."""
    columns = proda.example_columns().assign_coords(site=sites or names())
    columns.to_netcdf(path)
    return path


def draws_of(folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Return draws and summary of a finished run, sites in the order of their names."""
    from proda.inference.assimilation_run import open_posterior

    draws, summary = open_posterior(folder)
    rows = np.argsort(summary["row_site"].to_numpy().astype(str), kind="stable")
    return draws.load().sortby("site"), summary.sortby("site").isel(row=rows)


def write_atmosphere(path: Path) -> str:
    """Write a record of the atmosphere with a peak of 700 permil in 1964."""
    year = np.arange(1800.0, 2021.0)
    delta = np.where(year < 1955, -5.0, np.where(year < 1964, 78.0 * (year - 1955), 0.0))
    delta = np.where(year >= 1964, 700.0 * np.exp(-(year - 1964) / 16.0), delta)
    table = pd.DataFrame({"year": year} | {f"D14C_{z}": delta for z in ("NH", "tropics", "SH")})
    table.to_csv(path, index=False)
    return str(path)
