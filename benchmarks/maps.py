"""Maps of both models at full size: cells per second with components, peak memory, disk.

    python -m benchmarks.maps FORCING.zarr [--members 10] [--step 1]
    python -m benchmarks.maps FORCING.zarr --reference reference_halfdeg.nc

FORCING.zarr is what `proda forcing from-climate` writes. Every figure comes from a process of its
own. Parameters of a member are smooth over the grid and differ between members, all inside the
prior; they cost next to nothing, so predicting them by a network comes on top. `--step 10` (the
most) takes every tenth row of land only. With --reference: maps by default parameters instead
(CLM5 with b = 0.966 everywhere), their totals and how they compare with other maps.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import xarray as xr

import proda
from proda import files
from proda.maps.map_comparison import compare
from proda.maps.map_cost import MeasuredRun, predict_cost
from proda.maps.parameter_sources import Default, Predict
from proda.maps.run_map import write_map
from proda.maps.totals import land_area, open_map, totals

MODELS = ("clm5", "compas")


def parameters(model: proda.SoilModel, members: int) -> Predict:
    """Return a function of cells: values from the middle half of the prior."""
    low = np.array([0.75 * row.lower + 0.25 * row.upper for row in model.rows])
    span = np.array([0.5 * (row.upper - row.lower) for row in model.rows])
    phase = np.random.default_rng(1).uniform(0, 6.28, (members, 1, len(model.rows)))

    def predict(cells: np.ndarray) -> np.ndarray:
        return low + span * (0.5 + 0.5 * np.sin(cells[None, :, None] / 9000.0 + phase))

    return predict


def one(store: str, name: str, members: int, step: int) -> None:
    """Make one map and print what it cost as JSON; called in a process of its own."""
    forcing = files.open_dataset(store)
    status = forcing["status"].load()
    rows = np.arange(status.sizes["lat"])
    forcing["status"] = status.where((rows % step == 0)[:, None] | (status != 0), 1)
    model = proda.load_model(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.nc"
        start = time.perf_counter()
        result = write_map(model, forcing, parameters(model, members), path, keep_chunks=True)
        seconds = time.perf_counter() - start
        table = totals(open_map(path)).loc["globe", ["mean", "sd"]].round(1)
        chunks = sum(f.stat().st_size for f in Path(f"{path}.chunks").iterdir())
        print(
            json.dumps(
                {
                    "seconds": seconds,
                    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                    "chunk_bytes": chunks,
                    "file_bytes": path.stat().st_size,
                    "land_cells": int((forcing["status"] == 0).sum()),
                    "grid_cells": int(forcing["status"].size),
                    "members": members,
                    "without": {
                        k: v for k, v in result.members_by_reason.items() if k != "feasible"
                    },
                    "totals": table.to_dict("index"),
                }
            )
        )


def run(store: str, name: str, members: int, step: int) -> dict:
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            store,
            "--one",
            name,
            "--members",
            str(members),
            "--step",
            str(step),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    columns = found["land_cells"] * members
    print(
        f"{name:7} {found['land_cells']:>7,} cells x {members:>2} = {columns:>9,} columns: "
        f"{found['seconds']:6.1f} s, {found['land_cells'] / found['seconds']:7,.0f} cells/s, "
        f"{columns / found['seconds']:8,.0f} columns/s, peak {found['peak_bytes'] / 1e9:.2f} GB, "
        f"chunks {found['chunk_bytes'] / 1e6:.0f} MB, file {found['file_bytes'] / 1e6:.0f} MB"
        + (f"; without answer {found['without']}" if found["without"] else ""),
        flush=True,
    )
    return found


STOCKS = {"soc_0_30": "0_30", "cSoilAbove1m": "0_100", "soc_0_200": "0_200"}
SOURCES = ("whrc_2010", "hwsd2")


def against_reference(store: str, reference: str) -> None:
    forcing = files.open_dataset(store)
    with xr.open_dataset(reference) as opened:
        references = opened.load()
    maps = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            path = Path(folder) / f"{name}.nc"
            write_map(proda.load_model(name), forcing, Default(), path)
            with open_map(path) as opened:
                maps[name] = opened.load()
    for name, dataset in maps.items():
        table = totals(dataset)["mean"].round(0)
        each = {stock: table.xs(stock, level="stock") for stock in (*STOCKS, "cSoil")}
        print(f"\n{name}: Pg C\n{pd.DataFrame(each).to_string()}")
        rows = {}
        for stock, depth in STOCKS.items():
            for source in SOURCES:
                theirs = references[f"soc_{depth}_{source}"]
                found = compare(dataset[stock], theirs, land_area(dataset))
                for zone, row in found.iterrows():
                    rows[depth, source, zone] = row
        columns = ["total", "reference_total", "relative_bias", "rmse", "r_log", "cells"]
        print(pd.DataFrame(rows).T[columns].round(2).to_string())
    one, two = (maps[name]["cSoilAbove1m"] for name in MODELS)
    between = compare(one, two, land_area(maps[MODELS[0]]))
    print(
        f"\n0-100 cm, {MODELS[0]} against {MODELS[1]}: correlation of logarithms\n"
        f"{between['r_log'].round(3).to_string()}"
    )


def measured(found: dict, forcing_bytes: float) -> MeasuredRun:
    names = ("land_cells", "grid_cells", "members", "seconds", "peak_bytes")
    disk = found["chunk_bytes"] + found["file_bytes"] + forcing_bytes
    return MeasuredRun(**{n: found[n] for n in names}, disk_bytes=disk)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--one", default="")
    parser.add_argument("--reference", default="")
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.store, arguments.one, arguments.members, arguments.step)
        return
    if arguments.reference:
        against_reference(arguments.store, arguments.reference)
        return
    print(
        f"{date.today()}; {platform.machine()}; {jax.devices()[0].device_kind}; "
        f"jax {jax.__version__}, float64"
    )
    store = sum(f.stat().st_size for f in Path(arguments.store).rglob("*") if f.is_file())
    for name in MODELS:
        full = run(arguments.store, name, arguments.members, arguments.step)
        few = run(arguments.store, name, 2, arguments.step)
        part = run(arguments.store, name, arguments.members, 10 * arguments.step)
        runs = [measured(full, store), measured(few, store), measured(part, store / 10)]
        # 0.05 degree: a hundred cells for each of half a degree.
        fine = predict_cost(
            runs, 100 * full["land_cells"], 100 * full["grid_cells"], arguments.members
        )
        print(
            f"        at 0.05 degree, {100 * full['land_cells']:,} cells: "
            f"{fine.seconds / 3600:.1f} h, {fine.peak_bytes / 1e9:.1f} GB of memory, "
            f"{fine.disk_bytes / 1e9:.0f} GB of disk (forcing included)",
            flush=True,
        )


if __name__ == "__main__":
    main()
