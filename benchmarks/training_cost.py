"""Cost of training an ensemble, tuned through the soil model: time and memory against sites.

    python -m benchmarks.training_cost KEPT.nc COVARIATES.parquet PROFILES SITES.nc

KEPT names model and likelihood; the sites are any that have a profile, forcing and all covariates,
with synthetic posteriors (means drawn from the prior, sd a quarter of it), so that there are enough
of them: what the numbers are does not change how long it takes. 10 networks, no cross-validation.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import machine, write_report
from proda.files import open_dataset
from proda.inference.profiles import read_profiles
from proda.learning.layers import assimilation_settings, read_layers
from proda.learning.learn import learn

SIZES = (1_250, 2_500, 5_000)
STUDY = 60_000


def main() -> None:
    kept, covariates, profiles, forcing = sys.argv[1:5]
    known = open_dataset(kept).load()
    settings = assimilation_settings(known)
    table = pd.read_parquet(covariates).dropna()
    both = np.intersect1d(read_profiles(profiles).site, open_dataset(forcing)["site"].to_numpy())
    rng = np.random.default_rng(0)
    sites = rng.permutation(np.intersect1d(table["site"].to_numpy().astype(str), both))
    rows, seconds = [], []
    for n in SIZES:
        chosen = np.sort(sites[:n])
        some = table.set_index(table["site"].astype(str)).loc[chosen].reset_index(drop=True)
        low, high = known["lower"].to_numpy(), known["upper"].to_numpy()
        share = rng.uniform(0.1, 0.9, (n, low.size))
        dims = ("site", "parameter")
        posterior = xr.Dataset(
            {
                "posterior_mean": (dims, low + (high - low) * share),
                "posterior_sd": (dims, np.broadcast_to(0.25 * (high - low), share.shape)),
            },
            {
                "site": chosen,
                "parameter": known["parameter"].to_numpy(),
                "lower": ("parameter", low),
                "upper": ("parameter", high),
                "latitude": ("site", some["latitude"].to_numpy()),
                "longitude": ("site", some["longitude"].to_numpy()),
            },
            known.attrs,
        )
        begun = time.perf_counter()
        learned = learn(
            some,
            posterior,
            folds=0,
            methods=(),
            layers=lambda which: read_layers(which, profiles, forcing, settings),
        )
        seconds.append(time.perf_counter() - begun)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rows.append(f"| {learned.ensemble.n_sites:,} | {seconds[-1]:.0f} | {memory:.1f} |")
        print(rows[-1], flush=True)
    slope, start = np.polyfit(SIZES, seconds, 1)
    write_report(
        Path(__file__).parent / "results" / "training_cost.md",
        [
            "# Cost of training",
            "",
            "`python -m benchmarks.training_cost KEPT.nc COVARIATES.parquet PROFILES SITES.nc`, "
            f"model {known.attrs['model']}; one run of each size, compilation included; all epochs "
            "of early stopping count.",
            machine(),
            "",
            "| sites | s | GB at most |",
            "|---|---|---|",
            *rows,
            "",
            f"A straight line through these: {start:.0f} s + {1000 * slope:.1f} s per thousand "
            f"sites; {STUDY:,} sites (predicted): {(start + slope * STUDY) / 60:.0f} minutes.",
        ],
    )


if __name__ == "__main__":
    main()
