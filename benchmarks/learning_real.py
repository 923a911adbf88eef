"""Held-out carbon of real sites: networks of several settings against the baselines.

    python -m benchmarks.learning_real KEPT.nc COVARIATES.parquet PROFILES FORCING RUN [JSON ...]

KEPT.nc is of `proda diagnose RUN --output`, the others are what RUN was made from. Each JSON holds
settings that differ from the defaults; {} are the defaults. Blocked cross-validation, 5 folds of 4
networks. Prints aggregates only, as tables for benchmarks/results.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
import xarray as xr

from proda.inference.assimilation_run import open_posterior
from proda.learning.carbon import (
    Modelled,
    assimilated_carbon,
    carbon_skill,
    groups_of,
    held_out_carbon,
)
from proda.learning.from_posteriors import BASELINES, modelled_by_method
from proda.learning.layers import SiteLayers, assimilation_settings, read_layers
from proda.learning.learn import learn
from proda.learning.learning_settings import LearningSettings
from proda.learning.residuals import joint_residuals
from proda.learning.spread import EACH, JOINT, spread_of_carbon

COLUMNS = (
    "lost",
    "log_r2",
    "rmse_log",
    "bias_log",
    "nse",
    "rmse",
    "bias",
    "site_nse",
    "site_nse_positive",
    "site_rmse_log",
)


def show(name: str, table: pd.DataFrame) -> None:
    for row in table[table["by"] == "all"].itertuples():
        text = " | ".join(
            f"{getattr(row, c):d}" if c == "lost" else f"{getattr(row, c):.2f}" for c in COLUMNS
        )
        print(f"| {name}{row.method} | {text} |", flush=True)


def main(kept: str, covariates: str, profiles: str, forcing: str, run: str, *chosen: str) -> None:
    posterior, table = xr.load_dataset(kept), pd.read_parquet(covariates)

    def read(sites: np.ndarray) -> SiteLayers:
        return read_layers(sites, profiles, forcing, assimilation_settings(posterior))

    print("| method | " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---|" * len(COLUMNS))
    for i, text in enumerate(chosen or ("{}",)):
        settings = LearningSettings(**{"members": 1, **json.loads(text)})
        begun = time.perf_counter()
        learned = learn(
            table,
            posterior,
            settings,
            folds=5,
            fold_members=4,
            layers=read,
            methods=() if i else BASELINES,
        )
        taken = time.perf_counter() - begun
        layers = learned.layers
        modelled: dict[str, Modelled] = modelled_by_method(learned.validation, layers)
        groups = groups_of(layers, learned.sites.table)
        if i:
            modelled = {k: v for k, v in modelled.items() if k.startswith("network")}
        else:
            goal = learned.sites.targets
            modelled["own mean parameters"] = held_out_carbon(layers, goal.physical(goal.posterior))
            modelled["own mean profile"] = assimilated_carbon(layers, run)
        result = carbon_skill(layers, modelled, groups)
        show(f"`{text}` " if chosen else "", result)
        residuals = joint_residuals(
            learned.sites.targets,
            learned.validation.predicted["network"],
            open_posterior(run)[0]["posterior"],
        )
        spread = spread_of_carbon(
            learned.validation,
            layers,
            learned.ensemble.calibration,
            residuals["residual"].to_numpy(),
        )
        skill = learned.validation.skill().query("method == 'network'")
        print(
            f"<!-- {text}: {len(layers)} sites, {taken:.0f} s; median correlation of parameters "
            f"{skill['correlation'].median():.2f}; 90 % intervals of draws cover "
            f"{spread[EACH].coverage:.3f} (each parameter by itself; median width "
            f"{spread[EACH].width:.2f} in ln) and {spread[JOINT].coverage:.3f} (joint; "
            f"{spread[JOINT].width:.2f}) of held-out layers -->",
            flush=True,
        )
        if not i:
            parts = result[result["by"] != "all"]
            wide = parts.pivot_table(
                index="method", columns="group", values="site_rmse_log", sort=False
            )
            print(
                "\nMedian over sites of the RMSE in ln:\n\n| method | "
                + " | ".join(map(str, wide.columns))
                + " |"
            )
            print("|---|" + "---|" * len(wide.columns))
            for name, row in zip(wide.index, wide.to_numpy(), strict=True):
                print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in row) + " |")
            print(flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
