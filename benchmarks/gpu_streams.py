"""What radiocarbon adds at all sites: carbon alone, both, and 14C alone, on one GPU.

    python -m benchmarks.gpu_streams pack PROFILES SITES.nc TABLE PACK
    python -m benchmarks.gpu_streams sample PACK OUT clm5 compas --steps 2000 4000 --until 210
    python -m benchmarks.more_data judge OUT clm5 compas

`pack` keeps what the GPU's machine needs, about 4 MB: the profiles, the forcing of the sites with
radiocarbon, and their table. Sites with more than 32 layers of carbon or values of 14C are left
out, so that one program serves all. `sample` starts a process for every model and kind of run; all
share the GPU, which a few hundred sites alone do not fill. When the time is over, a run that has
warmed up keeps the draws that it has. Each writes OUT/MODEL_KIND.nc: the summary of `proda
assimilate`, and `KEPT` draws of each chain. The kind `twin` is a simulation-based calibration with
both kinds of data at the same sites and depths: parameters drawn from the prior make the data, and
OUT/MODEL_twin.json says how often intervals hold them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from benchmarks.calibration import judged, row_of, simulate
from benchmarks.gpu_posteriors import programs
from benchmarks.more_data import KINDS, settings_of
from proda import files
from proda.inference.assimilation_run import create
from proda.inference.batch import calls
from proda.inference.padded_sites import PADDED, assemble, with_streams
from proda.inference.profiles import read_profiles
from proda.inference.sampling import chain_keys
from proda.inference.site_summary import summarise
from proda.streams.table import read

KEPT = 20
"""Draws of each chain that are written."""
LEAST = 100
"""Draws of each chain without which a run that ran out of time is worth nothing."""
MOST = PADDED[1]
"""Layers of carbon, and values of 14C, of a site."""
TWIN = "twin"
PROFILES, SITES, TABLE = "profiles", "sites.nc", "radiocarbon"


def pack(given: argparse.Namespace) -> None:
    """Write what the other machine needs."""
    table, profiles = read(given.table), read_profiles(given.profiles)
    count = table.rows.groupby("site").size()
    few = set(count.index[count <= MOST]) & set(profiles.site[profiles.n_layers <= MOST])
    with files.open_dataset(given.forcing) as opened:
        chosen = np.isin(opened["site"].to_numpy().astype(str), sorted(few))
        forcing = opened.isel(site=chosen).load()
    given.pack.mkdir(parents=True)
    files.write_netcdf(forcing, given.pack / SITES)
    shutil.copytree(given.table, given.pack / TABLE, ignore=shutil.ignore_patterns("rejected*"))
    shutil.copytree(given.profiles, given.pack / PROFILES)
    size = sum(path.stat().st_size for path in given.pack.rglob("*") if path.is_file())
    print(f"{forcing.sizes['site']} sites of {len(count)} with 14C; {size / 1e6:.1f} MB")


def sampled(problem: Any, sites: Any, keys: Any, until: float) -> tuple[list[np.ndarray], dict]:
    """Return position, log-likelihood, acceptance and evidence of all draws, and what it took."""
    begun = time.time()
    begin, go_further = programs(problem, sites, keys)
    compiled = time.time()
    per_call, n_warm, n_kept = calls(problem)
    state = begin(problem, sites, keys)
    draws: list[Any] = []
    for call in range(n_warm + n_kept):
        adapting = call < n_warm
        state, new = go_further(problem, sites, keys, state, per_call, jnp.asarray(adapting))
        jax.block_until_ready(state)
        if not adapting:
            draws.append(jax.tree.map(np.asarray, (new.u, new.log_likelihood, new.acceptance)))
        if time.time() > until:
            break
    if len(draws) * per_call < LEAST:
        raise SystemExit(f"the time is over after {call + 1} of {n_warm + n_kept} calls")
    u, value, acceptance = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    evidence = np.asarray(jax.vmap(jax.vmap(problem.sampler.log_evidence))(state))
    found = [np.moveaxis(u, 0, 2), np.moveaxis(value, 0, 2), acceptance.mean(axis=0), evidence]
    steps = (call + 1) * per_call * problem.segment
    told = {"compile": compiled - begun, "sampling": time.time() - compiled, "steps": steps}
    return found, told | {"draws": u.shape[0], "device": str(jax.devices()[0])}


def sample_one(given: argparse.Namespace, model: str, kind: str) -> None:
    """Sample all sites of a pack for one model and kind of run."""
    begun = time.time()
    whole = read(given.pack / TABLE)
    with files.open_dataset(given.pack / SITES) as opened:
        forced = opened.load()
    names = forced["site"].to_numpy().astype(str)[: given.sites]
    steps = dict(zip(("warm_up", "kept"), given.steps, strict=True))
    settings = settings_of(
        model, "both" if kind == TWIN else kind, TABLE, given.pack / TABLE, steps
    )
    with tempfile.TemporaryDirectory() as folder:
        where = (Path(folder) / "run", settings, given.pack / PROFILES, given.pack / SITES)
        run = create(*where, sites=names.tolist())
        profiles, problem = run.profiles, run.problem
        forcing = run.forcing_of(np.arange(len(profiles)))
        tables = [replace(whole, rows=whole.rows[whole.rows["site"].isin(names)])]
        plain = assemble(profiles, forcing, settings.operator)
        sites = with_streams(plain, profiles.site, forcing, tables)
        keys = chain_keys(settings.seed, profiles.site, settings.chains)
        if kind == TWIN:
            truth, sites = simulate(problem, sites, profiles.site)
        found, told = sampled(problem, sites, keys, given.began + given.until)
        if kind == TWIN:
            n, d = truth.shape
            draws = np.moveaxis(found[0].reshape(n, -1, d), 1, 0)
            rows = [row.name for row in problem.target(sites).rows]
            told["calibration"] = row_of(*judged(truth, draws, np.random.default_rng(0)), rows)
            finish(given, told, model, kind, begun)
            return
        summary = summarise(problem, profiles, sites, *found, tables)
        told["summarised"] = time.time() - begun
        files.write_netcdf(thinned(run._described(summary)), given.out / f"{model}_{kind}.nc")
    finish(given, told, model, kind, begun)


def finish(given: argparse.Namespace, told: dict, model: str, kind: str, begun: float) -> None:
    """Write and print what a run took."""
    told |= {
        "model": model,
        "kind": kind,
        "all": time.time() - begun,
        "sites": given.sites or "all",
    }
    (given.out / f"{model}_{kind}.json").write_text(json.dumps(told) + "\n")
    print(json.dumps(told), flush=True)


def thinned(summary: xr.Dataset) -> xr.Dataset:
    """Return a summary in single precision with some draws."""
    every = summary.sizes["draw"] // KEPT
    some = summary.isel(draw=slice(every - 1, every * KEPT, every))
    single = {
        name: value.astype(np.float32)
        for name, value in some.data_vars.items()
        if value.dtype == np.float64
    }
    return some.assign(single)


def sample(given: argparse.Namespace) -> None:
    """Sample every model and kind, each in a process of its own."""
    given.out.mkdir(parents=True, exist_ok=True)
    if given.one:
        sample_one(given, *given.one)
        return
    own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    tasks = []
    for model in given.models:
        for kind in given.kinds:
            one = [sys.executable, "-m", "benchmarks.gpu_streams", *sys.argv[1:], "--one"]
            one += [model, kind, "--began", str(given.began)]
            tasks.append(subprocess.Popen(one, env=os.environ | own))
            if given.in_turn:
                tasks[-1].wait()
    failed = sum(task.wait() != 0 for task in tasks)
    size = sum(path.stat().st_size for path in given.out.iterdir())
    took = time.time() - given.began
    print(f"{failed} of {len(tasks)} failed; {size / 1e6:.1f} MB; {took:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    made = verbs.add_parser("pack")
    for name in ("profiles", "forcing", "table", "pack"):
        made.add_argument(name, type=Path)
    made.set_defaults(do=pack)
    done = verbs.add_parser("sample")
    done.add_argument("pack", type=Path)
    done.add_argument("out", type=Path)
    done.add_argument("models", nargs="+")
    kinds = (*KINDS, TWIN)
    done.add_argument("--kinds", nargs="+", default=list(kinds), choices=kinds)
    done.add_argument("--steps", type=int, nargs=2, default=(2000, 4000), help="warm-up, kept")
    done.add_argument("--until", type=float, default=1e9, help="s after the start: no more steps")
    done.add_argument("--sites", type=int, default=None, help="the first sites alone")
    done.add_argument("--in-turn", action="store_true", help="one process after the other")
    done.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    done.add_argument("--began", type=float, default=time.time(), help=argparse.SUPPRESS)
    done.set_defaults(do=sample)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
