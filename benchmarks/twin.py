"""The twin experiment: truth known everywhere -> profiles -> assimilate -> train -> map -> truth?

    python -m benchmarks.twin FOLDER [--model clm5] [--sites 300] [--resolution 5]

All files lie in FOLDER; what is there already is not made again. The chain runs through the same
commands that a user has; the world is `proda.study.twin.make_twin_world`. Profiles measure the
model that is assimilated, with log-normal errors of 0.25, the likelihood's own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import machine, write_report
from proda.inference.assimilation_run import open_posterior
from proda.learning.learn import learn
from proda.learning.learning_settings import LearningSettings
from proda.learning.network_folder import save_ensemble
from proda.learning.residuals import joint_residuals, write_residuals
from proda.maps.map_from_files import map_network
from proda.maps.totals import open_map, totals
from proda.models.registry import load_model
from proda.study.twin import make_twin_world, open_twin_world
from proda.weighted import correlation

STOCKS = ("soc_0_30", "cSoilAbove1m", "soc_0_200", "cSoil")
COMPONENTS = ("CTE", "K", "V", "XI", "B", "litter_to_soil", "residence_time")
CHAINS = (
    "--chains",
    "2",
    "--draws",
    "200",
    "--sampler",
    "tempered",
    "--option",
    "warm_up=1000",
    "--option",
    "kept=2000",
)


def proda(*words: str) -> None:
    code = "from proda.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)


def chain(folder: Path, model: str, sites: int, resolution: float, seed: int) -> Path:
    """Make the world and everything up to the kept sites; return their file."""
    where = folder / "world"
    if not (where / "world.json").is_file():
        make_twin_world(
            where, n_sites=sites, resolution=resolution, seed=seed, measured_model=model
        )
    world = open_twin_world(where)
    profiles, forcing = folder / "profiles", folder / "forcing.zarr"
    table = f"{profiles}/profiles.parquet"
    if not (folder / "cov.parquet").is_file():
        proda("profiles", "build", str(profiles), "--source", f"tidy:{world.profiles}")
        proda("forcing", "from-climate", str(world.climate), str(forcing))
        proda("forcing", "at-sites", str(forcing), table, f"{folder}/sites.nc")
        proda(
            "covariates", "build", str(world.covariates), f"{folder}/cov.parquet", "--sites", table
        )
    run, kept = folder / model, folder / f"kept_{model}.nc"
    if not (run / "summary.nc").is_file():
        words = (
            ["--resume", str(run)]
            if run.is_dir()
            else [str(profiles), f"{folder}/sites.nc", str(run), "--model", model, *CHAINS]
        )
        proda("assimilate", *words)
    if not kept.is_file():
        proda("diagnose", str(run), "--output", str(kept))
    return kept


def against_truth(found: xr.Dataset, truth: xr.Dataset, names: list[str]) -> pd.DataFrame:
    """Score maps at land cells: R2 and bias of logarithms, coverage of the 90 % interval."""
    rows = {}
    for name in names:
        x, y = found[name].to_numpy(), truth[name].to_numpy()
        low, high = found[f"{name}_q05"].to_numpy(), found[f"{name}_q95"].to_numpy()
        use = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
        a, b = np.log(x[use]), np.log(y[use])
        inside = (low[use] <= y[use]) & (y[use] <= high[use])
        rows[name] = {
            "r": correlation(a, b, np.ones_like(a)),
            "R2": 1.0 - ((a - b) ** 2).sum() / ((b - b.mean()) ** 2).sum(),
            "bias": (a - b).mean(),
            "coverage": inside.mean(),
            "width": np.median(np.log(high[use] / np.maximum(low[use], 1e-300))),
        }
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="clm5")
    parser.add_argument("--sites", type=int, default=300)
    parser.add_argument("--resolution", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", default="")
    parser.add_argument("--draws", choices=("joint", "marginal"), default="joint")
    parser.add_argument("--only-chain", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    kept = chain(given.folder, given.model, given.sites, given.resolution, given.seed)
    if given.only_chain:
        return
    world = open_twin_world(given.folder / "world")
    model = load_model(given.model)
    posterior = xr.load_dataset(kept)
    settings = LearningSettings(**({"target": given.target} if given.target else {}))
    start = time.perf_counter()
    learned = learn(pd.read_parquet(given.folder / "cov.parquet"), posterior, settings)
    trained = time.perf_counter() - start
    network, path = given.folder / "network", given.folder / f"{given.model}.nc"
    save_ensemble(learned.ensemble, network)
    if given.draws == "joint":
        assert learned.validation is not None
        posterior_draws, _ = open_posterior(given.folder / given.model)
        write_residuals(
            joint_residuals(
                learned.sites.targets,
                learned.validation.predicted["network"],
                posterior_draws["posterior"],
            ),
            network,
        )
    path.unlink(missing_ok=True)
    map_network(given.folder / "forcing.zarr", path, network=network, covariates=world.covariates)
    truth, found = open_map(world.truth(given.model)).load(), open_map(path).load()
    stocks = against_truth(found, truth, [*STOCKS, *(c for c in COMPONENTS if c in found)])
    each = against_truth(found, truth, [f"param_{row.name}" for row in model.rows])
    reduced = (
        1.0
        - np.sqrt(12.0)
        * (posterior["posterior_sd"] / (posterior["upper"] - posterior["lower"]))
        .mean("site")
        .to_series()
    )
    each["constrained"] = [reduced[row.name] for row in model.rows]
    sums = pd.DataFrame(
        {
            "truth": totals(truth)["mean"].xs("globe"),
            **{n: totals(found)[n].xs("globe") for n in ("mean", "q05", "q95")},
        }
    )
    write_report(
        given.folder / f"twin_{given.draws}.md",
        [
            f"## {given.model}",
            "",
            f"    python -m benchmarks.twin FOLDER --model {given.model} "
            f"--sites {given.sites} --resolution {given.resolution:g} "
            f"--draws {given.draws}",
            "",
            machine(),
            "",
            f"{posterior.sizes['site']} sites kept, {world.land_cells} land cells, target "
            f"`{settings.target}`, training {trained:.0f} s, {found.sizes['realization']} members.",
            "",
            *_block(stocks),
            f"mean coverage of the {len(each)} parameters: {each['coverage'].mean():.3f}",
            "",
            *_block(each),
            *_block(sums),
        ],
    )


def _block(table: pd.DataFrame) -> list[str]:
    return [*("    " + line for line in table.round(3).to_string().splitlines()), ""]


if __name__ == "__main__":
    main()
