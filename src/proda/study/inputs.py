"""The stages that serve all models: profiles, forcing and covariates."""

from __future__ import annotations

import numpy as np

from proda import files
from proda.drivers import climate as climate_driver
from proda.drivers import covariates as covariate_driver
from proda.drivers import sampling
from proda.drivers.climate_input import open_climate
from proda.drivers.sites import read_sites
from proda.observations.build import build
from proda.study.stage import Context


def profiles(context: Context) -> str:
    """Read, judge and pool the measured profiles (`proda profiles build`)."""
    folder = context.folder
    steps = context.reporter.progress
    summary = build(
        folder.settings.profiles, folder.profiles,
        lambda what, done, total: steps(done, total, what),
    )  # fmt: skip
    kept, read = summary.total("profile", "kept"), summary.total("profile")
    return f"{kept:,} of {read:,} profiles"


def forcing(context: Context) -> str:
    """Estimate the forcing from climate where it is not there, and take that of the sites."""
    folder = context.folder
    chosen = folder.settings.forcing
    if chosen.climate is not None:
        dataset = open_climate(chosen.climate, chosen.names)
        source = f"{chosen.climate.name}: {dataset.attrs.get('title', 'no title')}"
        estimated = climate_driver.from_climate(dataset, chosen.w_floor, source)
        files.write_zarr(estimated, folder.forcing, context.reporter.steps("tasks"))
    table = read_sites(folder.profiles / "profiles.parquet")
    grid = files.open_dataset(folder.forcing)
    dataset, nearest = sampling.forcing_at_sites(grid, table, chosen.limit_km)
    files.write_dataset(dataset, folder.sites)
    sampling.write_left_out(nearest, folder.sites.with_name(f"{folder.sites.name}.left_out.csv"))
    return f"{dataset.sizes['site']:,} of {len(table):,} sites"


def covariates(context: Context) -> str:
    """Take the covariates of the sites."""
    folder = context.folder
    chosen = folder.settings.covariates
    grid = covariate_driver.open_covariates(chosen.grid)
    rows = read_sites(folder.profiles / "profiles.parquet")
    table, nearest = covariate_driver.at_sites(grid, rows, chosen.limit_km)
    covariate_driver.write_table(table, folder.covariates)
    left_out = folder.covariates.with_name(f"{folder.covariates.name}.left_out.csv")
    sampling.write_left_out(nearest, left_out)
    shares = covariate_driver.missing_shares(table, grid)
    lacking = int(np.count_nonzero(np.asarray(shares) > 0.0))
    return f"{len(table):,} sites x {len(shares)} covariates, {lacking} with gaps"
