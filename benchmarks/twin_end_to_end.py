"""Learning end to end in worlds whose truth is known: carbon, components, parameters.

    python -m benchmarks.twin_end_to_end FOLDER [--measured clm5] [--sites 120] [--resolution 7.5]
        [--model clm5 --model compas] [--set epochs=100 ...]
        [--posterior clm5=MAP.nc[,SPREAD.nc] ...]

The world is `proda.study.twin.make_twin_world` (by default that of `proda demo`); everything from
profiles to forcing runs through the commands that a user has. Both models are trained end to end
on the profiles, which measure one of them; the other is wrong by construction. Maps of the
ensembles are compared with the truth on all land and on the cells without a profile. With
`--posterior` maps of the posterior route of the same world (a study's `MODEL/maps.nc` and
`MODEL/spread.nc`) stand beside. What is in FOLDER already is not made again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.identification import parsed
from benchmarks.report import machine, write_report
from benchmarks.twin import proda
from proda import files
from proda.comparison.truth import Recovered, recovered_table
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.through_model import train_end_to_end
from proda.maps.map_from_files import map_network
from proda.maps.totals import open_map
from proda.models.components import COMPONENTS
from proda.plots.style import save
from proda.plots.truth import truth_figure
from proda.study.twin import TwinWorld, make_twin_world, open_twin_world

MODELS = ("clm5", "compas")
ROUTE, POSTERIOR = "end-to-end", "posterior"


def inputs(folder: Path, given: argparse.Namespace) -> TwinWorld:
    """Make the world, its profiles, forcing and covariates."""
    where = folder / "world"
    if not (where / "world.json").is_file():
        make_twin_world(
            where,
            n_sites=given.sites,
            resolution=given.resolution,
            seed=given.seed,
            measured_model=given.measured,
        )
    world = open_twin_world(where)
    table = f"{folder}/profiles/profiles.parquet"
    if not (folder / "cov.parquet").is_file():
        proda("profiles", "build", f"{folder}/profiles", "--source", f"tidy:{world.profiles}")
        proda("forcing", "from-climate", str(world.climate), f"{folder}/forcing.zarr")
        proda("forcing", "at-sites", f"{folder}/forcing.zarr", table, f"{folder}/sites.nc")
        proda(
            "covariates", "build", str(world.covariates), f"{folder}/cov.parquet", "--sites", table
        )
    return world


def loaded(path: Path) -> xr.Dataset:
    with open_map(path) as opened:
        return files.load(opened, path)


def trained(
    folder: Path, world: TwinWorld, model: str, settings: EndToEndSettings
) -> tuple[Recovered, float]:
    """Train a model end to end and map it; seconds of the training (NaN: was there)."""
    network, path, seconds = folder / f"network_{model}", folder / f"{model}.nc", np.nan
    if not path.is_file():
        begun = time.perf_counter()
        train_end_to_end(
            folder / "cov.parquet",
            network,
            profiles=folder / "profiles",
            forcing=folder / "sites.nc",
            model=model,
            settings=settings,
            folds=0,
            baselines=(),
        )
        seconds = time.perf_counter() - begun
        map_network(
            folder / "forcing.zarr", path, network=network, covariates=world.covariates, model=model
        )
    return Recovered(model, ROUTE, loaded(path)), seconds


def posteriors(words: list[str]) -> list[Recovered]:
    """Read maps of the posterior route: MODEL=MAP.nc[,SPREAD.nc]."""
    out = []
    for text in words:
        model, equals, rest = text.partition("=")
        if not equals:
            raise SystemExit(f"--posterior {text}: write MODEL=MAP.nc or MODEL=MAP.nc,SPREAD.nc.")
        found, _, spread = rest.partition(",")
        out.append(
            Recovered(
                model, POSTERIOR, loaded(Path(found)), loaded(Path(spread)) if spread else None
            )
        )
    return out


def _block(table: pd.DataFrame) -> list[str]:
    return [*("    " + line for line in table.to_string(index=False).splitlines()), ""]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measured", default="clm5")
    parser.add_argument("--model", action="append")
    parser.add_argument("--sites", type=int, default=120)
    parser.add_argument("--resolution", type=float, default=7.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--posterior", action="append", default=[])
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    world = inputs(given.folder, given)
    truth = loaded(world.truth(world.measured_model))
    maps, seconds = [], []
    for model in given.model or MODELS:
        one, took = trained(given.folder, world, model, parsed(given.set))
        maps.append(one)
        seconds.append(f"{model} {took:.0f} s")
    maps += posteriors(given.posterior)
    places = pd.read_parquet(given.folder / "profiles" / "profiles.parquet")
    site = (places["lat"].to_numpy(), places["lon"].to_numpy())
    table = recovered_table(maps, truth, world.measured_model, site)
    table.to_csv(given.folder / "truth.csv", index=False)
    drawn = {m.model: (m.estimate, truth, m.estimate) for m in maps if m.route == ROUTE}
    save(truth_figure(drawn, world.measured_model, ROUTE), given.folder / "truth.png")
    carbon = table["variable"].isin(
        ["soc_0_30", "cSoilAbove1m", "soc_0_200", "cSoil", *(row.name for row in COMPONENTS)]
    )
    shown = table[
        [
            "model",
            "route",
            "cells",
            "variable",
            "n_cells",
            "truth",
            "recovered",
            "r",
            "r2",
            "rmse",
            "coverage_90",
        ]
    ].round(3)
    words = " ".join(
        [
            "python -m benchmarks.twin_end_to_end FOLDER",
            f"--measured {given.measured}",
            *(f"--model {m}" for m in given.model or ()),
            f"--sites {given.sites}",
            f"--resolution {given.resolution:g}",
            *(f"--set {s}" for s in given.set),
        ]
    )
    write_report(
        given.folder / "twin_end_to_end.md",
        [
            f"## Profiles of {world.measured_model.upper()}'s world",
            "",
            f"    {words}",
            "",
            machine(),
            "",
            f"{len(places)} profiles, {world.land_cells} land cells; training with compilation and "
            f"calibrated constant: {', '.join(seconds)}.",
            "",
            *_block(shown[carbon]),
            *_block(shown[~carbon & (shown["cells"] == "all")]),
        ],
    )


if __name__ == "__main__":
    main()
