"""Posteriors of many sites on one GPU, in a limited time, in files small enough to be carried.

    python -m benchmarks.gpu_posteriors PROFILES SITES.nc OUT --until 500 clm5 compas:6500
    python -m benchmarks.gpu_posteriors PROFILES SITES.nc OUT --until 480 --workers 12 \\
        --sampler smc --width 512 --option descents=3 clm5 compas

Sites are taken in a random order that is the same for every model, so that whatever is done when
the time is over is a random subset. `MODEL:N` samples N of them, `MODEL` all. Of `smc`, 512 sites
are 307,200 columns at once, more than a GPU needs to be busy; sites that one round at the posterior
and one way down do not finish are gathered into programs of an eighth of the width. Batches follow
one another; programs of the next batch are compiled meanwhile, and draws are summarised by
other processes on the CPU. `benchmarks.gpu_pack` joins the files, and `benchmarks.gpu_run`, with
the same `--sampler` and `--option`, makes run folders of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.forcing import Forcing
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.batch import calls, pad
from proda.inference.padded_sites import PADDED, assemble, padded_layers
from proda.inference.problem import build_problem
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.samplers.smc import SMC
from proda.inference.sampling import advance, begin_walkers, chain_keys, go_back, go_on, start
from proda.inference.site_summary import summarise
from proda.inference.walking import sample_walkers
from proda.machine import one_thread_environment

TOGETHER = 64
"""Sites that one process summarises at once."""
KEPT = 5
"""Draws of each chain that are kept, of 400."""
BY_PRIOR = ("posterior_mean", "posterior_sd", "posterior_quantile")
"""In units of the parameter; kept as shares of the prior range, in 16 bits."""
SMALL = (
    "gelman_rubin",
    "rank_rhat",
    "ess_bulk",
    "ess_tail",
    "spread_reduction",
    "information_gain",
    "acceptance",
    "pareto_k",
    "p_loo",
    "p_waic",
)
"""Kept in half precision (0.05 %)."""
CARBON = ("row_modelled", "row_quantile")
"""Kept as logarithms in 16 bits; 0 is missing."""
LOG_STEPS = 2000.0
AHEAD = 4
"""Batches of which the programs are made ready."""
BESIDE = 2
"""Batches of `smc` sampled at once: while one is judged on a processor, another samples."""
OF_WALKERS = ("log_evidence_error", "converged", "evaluations")
"""What sequential Monte Carlo says of a site beside."""
OF_PROFILE = ("row_site", "row_upper", "row_lower", "row_observed")
"""What the profiles themselves say."""


@dataclass
class Data:
    """Profiles with forcing, in the random order."""

    profiles: Profiles
    forcing: xr.Dataset

    def sites(self, index: np.ndarray) -> tuple[Profiles, Forcing]:
        return self.profiles.select(index), Forcing.from_dataset(self.forcing.isel(site=index))


def read(folder: str, forcing: str, seed: int) -> Data:
    profiles = read_profiles(folder)
    with files.open_dataset(forcing) as opened:
        drivers = opened.load()
    names = drivers["site"].to_numpy().astype(str)
    index = np.flatnonzero(pd.Index(profiles.site).isin(names))
    index = np.random.default_rng(seed).permutation(index)
    profiles = profiles.select(index)
    place = {name: i for i, name in enumerate(names)}
    return Data(profiles, drivers.isel(site=[place[name] for name in profiles.site]))


@dataclass
class Batch:
    """Sites that one program samples side by side."""

    model: str
    settings: AssimilationSettings
    number: int
    index: np.ndarray
    width: int
    """Of the program, which may be larger than the number of sites."""
    programs: Future | None = None


def batches(model: str, data: Data, n: int | None, width: int, settings: Any) -> list[Batch]:
    """Return batches in the random order, sites with many layers apart.

    A batch of few sites takes nearly as long as one of many, so the few that have more layers than
    the first program holds are sampled together, after the first batch.
    """
    size = np.array([padded_layers(int(k)) for k in data.profiles.n_layers])
    some = np.arange(len(size))[:n]
    parts: list[np.ndarray] = []
    if n is not None and n <= width:
        # One program for all of them; the tallest profiles, two of a thousand, are left out.
        parts.append(some[size[some] <= PADDED[1]])
    else:
        few = some[size[some] == PADDED[0]]
        parts += np.array_split(few, -(-len(few) // width))
        tall = some[size[some] == PADDED[1]]
        parts[1:1] = np.array_split(tall, max(1, -(-len(tall) // width)))
        parts.append(some[size[some] > PADDED[1]])
    parts = [part for part in parts if len(part)]
    if settings.sampler != SMC.name:
        return [Batch(model, settings, i, part, len(part)) for i, part in enumerate(parts)]
    of = [int(size[part].max()) for part in parts]
    longest = {k: max(len(p) for p, j in zip(parts, of, strict=True) if j == k) for k in set(of)}
    return [Batch(model, settings, i, part, longest[of[i]]) for i, part in enumerate(parts)]


def compile_(batch: Batch, data: Data) -> tuple:
    """Return the programs of a batch, compiled side by side, and what they are called with."""
    begun = time.time()
    problem = build_problem(batch.settings)
    profiles, forcing = data.sites(batch.index)
    sites = assemble(profiles, forcing, batch.settings.operator)
    keys = chain_keys(batch.settings.seed, profiles.site, batch.settings.chains)
    if isinstance(problem.sampler, SMC):
        sites = pad(sites, batch.width)
        names = np.concatenate(
            [profiles.site, np.repeat(profiles.site[-1:], batch.width - len(profiles))]
        )
        keys = chain_keys(batch.settings.seed, names, batch.settings.chains)
        kind = (batch.model, *sites.measured.mask.shape)
        if kind not in _compiled:
            compile_walkers(problem, sites, keys)
            _compiled.add(kind)
        return problem, sites, keys, (), time.time() - begun
    return problem, sites, keys, programs(problem, sites, keys), time.time() - begun


def blank(function: Any, *given: Any) -> Any:
    """Return zeros in the form of what a compiled function returns.

    Of the function itself: a program with compiler options may not be part of another.
    """
    found = eqx.filter_eval_shape(function.__wrapped__, *given)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), found)


def programs(problem: Any, sites: Any, keys: Any) -> list[Any]:
    """Return the programs that start and go further, compiled side by side."""
    state = blank(start, problem, sites, keys)
    per_call = calls(problem)[0]
    adapting = jnp.asarray(True)
    tasks = [
        lambda: start.lower(problem, sites, keys).compile(),
        lambda: advance.lower(problem, sites, keys, state, per_call, adapting).compile(),
    ]
    with ThreadPoolExecutor(2) as pool:
        return [task.result() for task in [pool.submit(one) for one in tasks]]


_compiled: set[tuple] = set()
"""Model, width and layers of the programs of sequential Monte Carlo."""


def few(width: int) -> int:
    """Return how many of the sites that are not done make up one program."""
    return max(1, width // 8)


def compile_walkers(problem: Any, sites: Any, keys: Any) -> None:
    """Compile the programs of sequential Monte Carlo side by side, into the persistent cache."""
    n = few(len(keys))
    number = jnp.asarray(0, jnp.int32)
    state, ladder = blank(begin_walkers, problem, sites, keys, number)
    _, made = blank(go_on, problem, sites, keys, state)
    whole = (sites, keys, state, ladder, made.u, made.log_likelihood)
    part = jax.tree.map(lambda leaf: leaf[:n], whole)
    tasks: list[Any] = []
    for s, k, state, ladder, u, value in (whole, part):
        tasks += [
            lambda s=s, k=k: begin_walkers.lower(problem, s, k, number).compile(),
            lambda s=s, k=k, state=state: go_on.lower(problem, s, k, state).compile(),
            lambda s=s, k=k, ladder=ladder, u=u, value=value: go_back.lower(
                problem, s, k, ladder, u, value, number
            ).compile(),
        ]
    with ThreadPoolExecutor(len(tasks)) as pool:
        for task in [pool.submit(one) for one in tasks]:
            task.result()


def sample_islands(batch: Batch, ready: tuple) -> tuple[dict[str, np.ndarray], dict]:
    """Return what sequential Monte Carlo found at the sites of a batch."""
    problem, sites, keys, _, compiled = ready
    begun, n = time.time(), len(batch.index)
    found = sample_walkers(problem, keys, sites, n, few(batch.width))
    ended = time.time()
    evaluations = int(found.evaluations.sum())
    measured = {
        "model": batch.model,
        "batch": batch.number,
        "sites": n,
        "layers": int(sites.measured.mask.shape[1]),
        "compile": compiled,
        "sampling": ended - begun,
        "converged": float(found.converged.mean()),
        "evaluations": evaluations,
        "evaluations_per_second": evaluations / (ended - begun),
        "sites_per_second": n / (ended - begun),
        "ended": ended,
    }
    every = found.u.shape[2] // batch.settings.draws
    draws = {
        "u": found.u[:, :, every - 1 :: every],
        "log_likelihood": found.log_likelihood[:, :, every - 1 :: every],
        "acceptance": found.acceptance,
        "log_evidence": found.log_evidence,
        "log_evidence_error": found.evidence_error,
        "converged": found.converged,
        "evaluations": found.evaluations,
    }
    return draws, measured


def sample(batch: Batch, ready: tuple, until: float) -> tuple[dict[str, np.ndarray], dict] | None:
    """Return all draws of a batch, None where the time is over before."""
    if batch.settings.sampler == SMC.name:
        return sample_islands(batch, ready)
    problem, sites, keys, (begin, go_further), compiled = ready
    per_call, n_warm, n_kept = calls(problem)
    begun = time.time()
    state = begin(problem, sites, keys)
    jax.block_until_ready(state)
    started = time.time()
    draws = []
    for done in range(n_warm + n_kept):
        adapting = done < n_warm
        state, new = go_further(problem, sites, keys, state, per_call, jnp.asarray(adapting))
        if not adapting:
            draws.append(jax.tree.map(np.asarray, (new.u, new.log_likelihood, new.acceptance)))
        jax.block_until_ready(state)
        if done == 1:
            second = time.time()
        if time.time() > until:
            return None
    ended = time.time()
    u, value, acceptance = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    evidence = np.asarray(jax.vmap(jax.vmap(problem.sampler.log_evidence))(state))
    steps = (n_warm + n_kept) * per_call * problem.segment
    evaluations = len(batch.index) * batch.settings.chains * problem.sampler.n_replicas * steps
    measured = {
        "model": batch.model,
        "batch": batch.number,
        "sites": len(batch.index),
        "layers": int(sites.measured.mask.shape[1]),
        "compile": compiled,
        "start": started - begun,
        "sampling": ended - started,
        "later_calls": (ended - second) / (n_warm + n_kept - 2),
        "evaluations": evaluations,
        "evaluations_per_second": evaluations / (ended - started),
        "sites_per_second": len(batch.index) / (ended - begun),
        "ended": ended,
    }
    return {
        "u": np.moveaxis(u, 0, 2),
        "log_likelihood": np.moveaxis(value, 0, 2),
        "acceptance": acceptance.mean(axis=0),
        "log_evidence": evidence,
    }, measured


# Summaries, in other processes

_child: dict[str, Any] = {}


def begin_child(folder: str, forcing: str, seed: int) -> None:
    _child["data"] = read(folder, forcing, seed)


def summarise_some(settings: dict, index: np.ndarray, draws: str, rows: slice, out: str) -> str:
    """Summarise some sites of a batch and write what is kept of them."""
    data: Data = _child["data"]
    settings_ = AssimilationSettings(**settings)
    problem = build_problem(settings_)
    profiles, forcing = data.sites(index)
    sites = pad(assemble(profiles, forcing, settings_.operator), TOGETHER)
    names = ("u", "log_likelihood", "acceptance", "log_evidence")
    found = [np.asarray(np.load(f"{draws}.{n}.npy", mmap_mode="r")[rows]) for n in names]
    summary = summarise(problem, profiles, sites, *found)
    if settings_.sampler == SMC.name:
        of_sites = {n: ("site", np.load(f"{draws}.{n}.npy")[rows]) for n in OF_WALKERS}
        summary = summary.assign(of_sites)
    np.savez(out, **small(summary, problem.model.rows))
    return out


def small(summary: xr.Dataset, rows: Any) -> dict[str, np.ndarray]:
    """Return a summary in few bytes, with some of the draws."""
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper - row.lower for row in rows])
    every = summary.sizes["draw"] // KEPT
    thin = summary[["posterior", "log_likelihood"]].isel(draw=slice(every - 1, None, every))
    share = (thin["posterior"].to_numpy() - lower) / width
    kept = {"draws": sixteen(share), "draw_log_likelihood": thin["log_likelihood"].to_numpy()}
    for name, value in summary.data_vars.items():
        array = value.to_numpy()
        if name in ("posterior", "log_likelihood", *OF_PROFILE):
            continue
        if name in BY_PRIOR:
            array = sixteen((array - (lower if name != "posterior_sd" else 0.0)) / width)
        elif name in SMALL:
            array = array.astype(np.float16)
        elif name in CARBON:
            array = np.round(LOG_STEPS * np.log(np.clip(array, 1e-3, 1e6)) + 32768)
            array = np.where(np.isnan(array), 0, array).astype(np.uint16)
        elif array.dtype == np.float64:
            array = array.astype(np.float32)
        kept[str(name)] = array
    return kept | {"site": summary["site"].to_numpy().astype(str)}


def sixteen(share: np.ndarray) -> np.ndarray:
    """Return shares of a range in 16 bits; NaN is the largest number."""
    known = np.clip(np.nan_to_num(share), 0.0, 1.0)
    return np.where(np.isnan(share), 65535, np.round(known * 65534)).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles")
    parser.add_argument("forcing")
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--width", type=int, default=6500)
    parser.add_argument("--until", type=float, default=500.0, help="s after the start")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--steps", type=int, nargs=2, default=None, help="warm-up and kept steps")
    parser.add_argument("--sampler", choices=("tempered", "smc"), default="tempered")
    parser.add_argument("--option", nargs="*", default=[], help="of the sampler, NAME=NUMBER")
    given = parser.parse_args()
    begun = time.time()
    given.out.mkdir(parents=True, exist_ok=True)
    print(jax.devices(), jax.__version__, flush=True)
    jax.config.update("jax_compilation_cache_dir", str(given.out / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # What the other processes inherit; this one has its devices and flags already.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.update(one_thread_environment())
    data = read(given.profiles, given.forcing, given.seed)
    options = dict(zip(("warm_up", "kept"), given.steps or (), strict=False))
    options |= {name: int(value) for name, value in (o.split("=") for o in given.option)}
    work: list[Batch] = []
    for text in given.models:
        name, _, n = text.partition(":")
        settings = AssimilationSettings(model=name, sampler=given.sampler, options=options)
        work += batches(name, data, int(n) if n else None, given.width, settings)
    work.sort(key=lambda batch: batch.number)  # every model gets its first batch first
    until = begun + given.until
    beside = BESIDE if given.sampler == SMC.name else 1
    context = multiprocessing.get_context("spawn")
    log = (given.out / "log.jsonl").open("a", encoding="utf-8")
    tasks: list[Future] = []
    with (
        ThreadPoolExecutor(1) as compilers,
        ThreadPoolExecutor(beside) as samplers,
        ProcessPoolExecutor(
            given.workers, context, begin_child, (given.profiles, given.forcing, given.seed)
        ) as pool,
    ):
        running: list[tuple[Batch, Future]] = []
        for i, batch in enumerate(work):
            for later in work[i : i + AHEAD]:
                if later.programs is None:
                    later.programs = compilers.submit(compile_, later, data)
            running.append((batch, samplers.submit(sampled, batch, until)))
            while running and (len(running) == beside or i == len(work) - 1):
                first, task = running.pop(0)
                tasks += finish(first, task, pool, log, given.out, begun)
        tell(log, {"sampled_all_after": time.time() - begun})
        for task in tasks:
            try:
                task.result()
            except Exception as error:
                tell(log, {"failed": f"summary: {error!r}"[:500]})
    tell(log, {"summarised_all_after": time.time() - begun})


def sampled(batch: Batch, until: float) -> tuple[dict[str, np.ndarray], dict] | None:
    """Wait for the programs of a batch and sample it, None where the time is over."""
    ready = batch.programs.result()  # type: ignore[union-attr]
    batch.programs = None
    return sample(batch, ready, until) if time.time() < until else None


def finish(
    batch: Batch, task: Future, pool: ProcessPoolExecutor, log: Any, out: Path, begun: float
) -> list[Future]:
    """Wait for the draws of a batch, and have them summarised; a failure is measured."""
    try:
        found = task.result()
    except Exception as error:  # the other models go on
        tell(log, {"model": batch.model, "failed": repr(error)[:500]})
        return []
    if found is None:
        tell(log, {"model": batch.model, "batch": batch.number, "stopped": True})
        return []
    draws, measured = found
    tell(log, measured | {"at": time.time() - begun})
    stem = f"{out}/{batch.model}.{batch.number}"
    for name, array in draws.items():
        np.save(f"{stem}.{name}.npy", array)
    tasks = []
    for first in range(0, len(batch.index), TOGETHER):
        rows = slice(first, min(first + TOGETHER, len(batch.index)))
        about = (batch.settings.model_dump(), batch.index[rows], stem, rows)
        tasks.append(pool.submit(summarise_some, *about, f"{stem}.{first:06d}.npz"))
    return tasks


def tell(log: Any, row: dict) -> None:
    """Print a row and keep it."""
    text = json.dumps(row)
    print(text, flush=True)
    log.write(text + "\n")
    log.flush()


if __name__ == "__main__":
    main()
