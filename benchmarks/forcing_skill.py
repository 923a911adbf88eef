"""What a rule of the estimated forcing changes at places left out, with today's trainer.

    python -m benchmarks.forcing_skill FOLDER COVARIATES.parquet PROFILES NAME=SITES.nc ...
        [--sites 4000] [--model clm5] [--seed 0]

Each SITES.nc is forcing at the same sites by other rules. One fifth of the sites, in blocks of 5
degrees, is set aside and never used here, so that what is chosen by these numbers can still be
judged. Of the others a random sample is divided into five inner folds of such blocks; one network
is trained without each. The first file is the reference: the difference of every other is that of
the mean squared error of ln carbon per site, with the standard error between blocks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import machine, write_report
from proda.layout import HELD_OUT_PARAMETERS
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.splits import blocks, spatial_folds
from proda.learning.through_model import train_end_to_end

LEAST = 0.01
"""kg m-3: less than this counts as this, as in the tables of skill."""


def inner_sites(covariates: Path, profiles: Path, n: int, seed: int) -> pd.DataFrame:
    """Return the covariates of n sites that lie in four of five outer folds."""
    table = pd.read_parquet(covariates)
    places = pd.read_parquet(profiles / "profiles.parquet").set_index("profile_id")
    where = places.loc[table["site"], ["lat", "lon"]].to_numpy()
    outer = spatial_folds(where[:, 0], where[:, 1], 5, 5.0, seed)
    inside = np.flatnonzero(outer > 0)
    chosen = np.random.default_rng([seed, 7]).permutation(inside)[:n]
    return table.iloc[np.sort(chosen)].reset_index(drop=True)


def squared_errors(network: Path) -> pd.DataFrame:
    """Return each site's mean squared error of ln carbon, and its place."""
    rows = pd.read_parquet(network / HELD_OUT_PARAMETERS)
    rows = rows[rows["used"]]
    modelled = np.maximum(rows["network"], LEAST)
    rows = rows.assign(error=(np.log(modelled) - np.log(rows["observed"])) ** 2)
    return rows.groupby("site")[["error", "latitude", "longitude"]].mean()


def difference(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Mean over sites of other minus one, and its standard error between blocks of 5 degrees."""
    both = one.join(other["error"].rename("other"), how="inner").dropna()
    by = blocks(both["latitude"].to_numpy(), both["longitude"].to_numpy(), 5.0)
    d = (both["other"] - both["error"]).to_numpy()
    mean, n = d.mean(), by.max() + 1
    sums = np.bincount(by, d - mean)
    return float(mean), float(np.sqrt((sums**2).sum() * n / (n - 1)) / len(d))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("covariates", type=Path)
    parser.add_argument("profiles", type=Path)
    parser.add_argument("forcing", nargs="+", help="NAME=SITES.nc")
    parser.add_argument("--sites", type=int, default=4000)
    parser.add_argument("--model", default="clm5")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    table = inner_sites(given.covariates, given.profiles, given.sites, given.seed)
    sample = given.folder / "covariates.parquet"
    table.to_parquet(sample)
    settings = EndToEndSettings(members=1, seed=given.seed)
    lines, reference = [], None
    for text in given.forcing:
        name, _, path = text.partition("=")
        network = given.folder / name
        if not (network / HELD_OUT_PARAMETERS).is_file():
            train_end_to_end(
                sample,
                network,
                profiles=given.profiles,
                forcing=path,
                model=given.model,
                settings=settings,
                fold_members=1,
                baselines=(),
            )
        skill = pd.read_csv(network / "skill_carbon.csv")
        row = {
            group: skill[(skill["method"] == "network") & (skill["group"] == group)].iloc[0]
            for group in ("all", "soil above 281.6 K", "soil below 281.6 K", "> 100 cm")
        }
        whole = row["all"]
        errors = squared_errors(network)
        results = (
            "reference"
            if reference is None
            else "{:+.4f} +- {:.4f}".format(*difference(reference, errors))
        )
        reference = errors if reference is None else reference
        lines.append(
            f"| {name} | {whole.log_r2:.3f} / {whole.rmse_log:.3f} / {whole.site_rmse_log:.3f} | "
            f"{row['soil above 281.6 K'].log_r2:.3f} | {row['soil below 281.6 K'].log_r2:.3f} | "
            f"{row['> 100 cm'].rmse_log:.3f} | {results} |"
        )
        print(lines[-1], flush=True)
    write_report(
        given.folder / "forcing_skill.md",
        [
            machine(),
            "",
            f"{given.model}, {len(table):,} sites, one network in each of five inner "
            f"folds, seed {given.seed}.",
            "",
            "| forcing | log R2 / RMSE of ln / site median | above 281.6 K (R2) | "
            "below 281.6 K (R2) | below 1 m (RMSE) | squared error per site |",
            "|---|---|---|---|---|---|",
            *lines,
        ],
    )


if __name__ == "__main__":
    main()
