"""Do two models agree more on maps when 14C joins carbon? Maps of networks trained end to end.

    python -m benchmarks.more_data train ... RUN clm5 compas    (once for each RUN, other seeds)
    python -m benchmarks.radiocarbon_maps FORCING.zarr GRID_COVARIATES.nc clm5 compas RUN ...

Each network of `benchmarks.more_data train` (RUN/MODEL_carbon and RUN/MODEL_both) is mapped with
ages unless its map RUN/MODEL_KIND.nc is there. Printed are, on the cells that all four maps of a
run have, weighted by land: the correlation of the models without and with 14C and its change; the
correlation of each model with itself, without and with 14C; carbon; and mean ages of the carbon of
the first metre, also with default parameters. With several runs, the range over runs.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import files, weighted
from proda.comparison.correlations import cells, tested
from proda.comparison.spatial import difference_of_correlations
from proda.latitude import GLOBE, ZONES, between
from proda.maps.map_from_files import map_default, map_network
from proda.maps.totals import PG, land_area, open_map

KINDS = ("carbon", "both")
DEFAULT = "default"
STOCK, AGE = "cSoilAbove1m", "mean_age_0_100"
VARIABLES = {
    "ln carbon, 0-100 cm": STOCK,
    "CTE": "CTE",
    "K": "K",
    "ln K": "K",
    "ln V": "V",
    "XI": "XI",
    "B": "B",
    "ln residence time": "residence_time",
    "ln mean age, 0-100 cm": AGE,
}
"""Compared variables; those that begin with ln as logarithms."""
DEAD = 50_000.0
"""Age (yr) beyond which carbon has no 14C that is measured."""
Maps = dict[tuple[str, str], xr.Dataset]


def maps_of(given: argparse.Namespace, run: Path) -> Maps:
    """Return the maps of a run by model and kind, which are made where they are not there."""
    found = {}
    for model, kind in product(given.models, (*KINDS, DEFAULT)):
        path, begun = run / f"{model}_{kind}.nc", time.process_time()
        if not path.is_file():
            if kind == DEFAULT:
                map_default(given.forcing, path, model=model, ages=True)
            else:
                network = run / path.stem
                map_network(given.forcing, path, network=network, covariates=given.grid, ages=True)
            print(f"{path.stem}: {time.process_time() - begun:.0f} s", flush=True)
        wanted = sorted({*VARIABLES.values(), "cell_area", "land_fraction", "reason"})
        with open_map(path) as opened:
            found[model, kind] = files.load(opened[wanted], path)
    return found


def common_land(maps: Maps) -> xr.DataArray:
    """Return the land (km2) of the cells in which every map has carbon and an age."""
    land = land_area(next(iter(maps.values())))
    for one in maps.values():
        land = land.where((one[STOCK] > 0) & np.isfinite(one[AGE]), 0.0)
    return land


def correlate(x: xr.Dataset, y: xr.Dataset, name: str, land: xr.DataArray) -> dict[str, float]:
    """Return the correlation of a variable of two maps with its test."""
    variable = VARIABLES[name]
    sample, _ = cells(x[variable], y[variable], land, log=name.startswith("ln "))
    return tested(*sample)


def between_models(maps: Maps, models: list[str], land: xr.DataArray) -> pd.DataFrame:
    """Return the correlation of the models without and with 14C, and the change."""
    rows = []
    for name in VARIABLES:
        r = {k: correlate(*(maps[m, k] for m in models), name, land) for k in KINDS}
        ends = [(r[k]["r"], r[k]["n_effective"]) for k in KINDS]
        gain, low, high = difference_of_correlations(*ends)
        row: dict[str, object] = {"variable": name}
        for k in KINDS:
            row |= {f"{k}_{n}": r[k][n] for n in ("r", "low", "high", "n_effective")}
        rows.append(row | {"gain": gain, "gain_low": low, "gain_high": high})
    return pd.DataFrame(rows)


def within_models(maps: Maps, models: list[str], land: xr.DataArray) -> pd.DataFrame:
    """Return how the map of each model with 14C differs from the one without."""
    rows = []
    for model, name in product(models, VARIABLES):
        before, after = (maps[model, k] for k in KINDS)
        sample, _ = cells(
            *(m[VARIABLES[name]] for m in (before, after)), land, name.startswith("ln ")
        )
        shift = weighted.quantile(sample[1] - sample[0], sample[4], 0.5)
        r = tested(*sample)["r"]
        rows.append({"model": model, "variable": name, "r": r, "median_change": shift})
    return pd.DataFrame(rows)


def age_table(maps: Maps, land: xr.DataArray) -> pd.DataFrame:
    """Return carbon and mean ages of the first metre by model, kind and zone."""
    rows = []
    for (model, kind), one in maps.items():
        for zone, limits in {GLOBE: (-90.0, 90.0), **ZONES}.items():
            here = land.where(between(land["lat"], *limits), 0.0).to_numpy()
            stock, age = (one[n].transpose("lat", "lon").to_numpy() for n in (STOCK, AGE))
            use = here > 0
            carbon, age, area = (here * stock)[use], age[use], here[use]
            quantiles = {
                f"age_q{100 * q:02.0f}": weighted.quantile(age, carbon, q)
                for q in (0.05, 0.5, 0.95)
            }
            rows.append(
                {
                    "model": model,
                    "kind": kind,
                    "zone": zone,
                    "land_million_km2": area.sum() / 1e6,
                    "carbon_pg": carbon.sum() * PG,
                    "age_mean": np.average(age, weights=carbon),
                    **quantiles,
                    "age_median_of_land": weighted.quantile(age, area, 0.5),
                    "share_dead": carbon[age > DEAD].sum() / carbon.sum(),
                }
            )
    return pd.DataFrame(rows)


def over_runs(tables: list[pd.DataFrame], by: list[str]) -> str:
    """Return the mean and the range over runs of every number."""
    joined = pd.concat(tables).groupby(by, sort=False)
    if len(tables) == 1:
        return str(tables[0].set_index(by).round(3).to_string())
    parts = {"mean": joined.mean(), "lowest": joined.min(), "highest": joined.max()}
    return str(pd.concat(parts, axis=1).swaplevel(axis=1).sort_index(axis=1).round(3).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("forcing", type=Path)
    parser.add_argument("grid", type=Path)
    parser.add_argument("models", nargs=2)
    parser.add_argument("runs", nargs="+", type=Path)
    given = parser.parse_args()
    found: dict[str, list[pd.DataFrame]] = {"between": [], "within": [], "ages": []}
    for run in given.runs:
        maps = maps_of(given, run)
        land = common_land(maps)
        print(f"{run}: {int((land > 0).sum())} cells, {float(land.sum()) / 1e6:.1f} million km2")
        found["between"].append(between_models(maps, given.models, land))
        found["within"].append(within_models(maps, given.models, land))
        found["ages"].append(age_table(maps, land))
        for name, tables in found.items():
            tables[-1].to_csv(run / f"{name}.csv", index=False)
    keys = {"between": ["variable"], "within": ["model", "variable"]}
    keys["ages"] = ["model", "kind", "zone"]
    with pd.option_context("display.width", 250):
        for name, tables in found.items():
            print(f"\n{name}\n{over_runs(tables, keys[name])}", flush=True)


if __name__ == "__main__":
    main()
