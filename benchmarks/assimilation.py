"""Speed of data assimilation: steps per second and what takes the time; effective draws per second.

    python -m benchmarks.assimilation PROFILES SITES.nc [--sites 32]

PROFILES is a folder of `proda profiles build`, SITES.nc the forcing at its sites. Every program
runs in this one process; on a CPU set NPROC=1 and
XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" for the speed of one
worker process, and start one process per core at once for that of the machine.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import proda
from benchmarks.report import machine, write_report
from proda.files import open_dataset
from proda.inference.assimilation_run import default_width
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.batch import calls
from proda.inference.diagnostics.convergence import ess_bulk
from proda.inference.padded_sites import assemble
from proda.inference.problem import build_problem, build_sampler
from proda.inference.profiles import read_profiles
from proda.inference.sampling import SamplingProblem, advance, chain_keys, start
from proda.inference.target import Target

CHAINS = 3
STUDY = (72_377, 3, 70_000)
"""Profiles, chains and steps of the study."""

SAMPLERS: dict[str, tuple[dict[str, int | bool], int]] = {
    "tempered": ({}, 400),
    "adaptive-metropolis": ({}, 500),
    "adaptive-metropolis, periodic": ({"periodic": True}, 500),
    "nuts": ({}, 500),
}


class Nothing(Target):
    """A target that costs nothing: what is left is the sampler itself."""

    n: int = eqx.field(static=True)

    @property
    def n_parameters(self) -> int:
        return self.n

    def log_likelihood(self, u: Any) -> Any:
        return -0.5 * ((u - 0.5) ** 2).sum()


class Empty(SamplingProblem):
    def target(self, site: Any) -> Target:
        return Nothing(len(self.model.rows))


def seconds(function: Callable[[], Any]) -> float:
    """Return the least of three times, after one that compiles."""
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def steps_per_second(
    kind: type[SamplingProblem], settings: AssimilationSettings, sites: Any, names: Any
) -> float:
    """Return model evaluations per second of the kept phase."""
    full = build_problem(settings)
    problem = kind(full.model, full.likelihood, full.sampler, full.segment)
    keys = chain_keys(0, names, CHAINS)
    state = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), start(problem, sites, keys))
    n = max(1, 400 // full.segment)
    took = seconds(lambda: advance(problem, sites, keys, state, n, jnp.asarray(False)))
    return n * full.segment * len(names) * CHAINS * full.sampler.n_replicas / took


def bytes_per_column(settings: AssimilationSettings, sites: Any, names: Any) -> float:
    """Return memory of the compiled program for each column that it solves side by side."""
    problem = build_problem(settings)
    keys = chain_keys(0, names, CHAINS)
    state = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), start(problem, sites, keys))
    kept = jnp.asarray(False)
    compiled: Any = advance.lower(problem, sites, keys, state, 10, kept).compile()
    needed = compiled.compiled.memory_analysis()
    total = needed.temp_size_in_bytes + needed.argument_size_in_bytes + needed.output_size_in_bytes
    return float(total) / (len(names) * CHAINS * problem.sampler.n_replicas)


def effective(settings: AssimilationSettings, sites: Any, names: Any) -> tuple[float, np.ndarray]:
    """Return seconds and the smallest effective size of each site, from start to end."""
    problem = build_problem(settings)
    keys = chain_keys(0, names, CHAINS)
    per_call, n_warm_up, n_kept = calls(problem)

    def run(n_warm_up: int, n_kept: int) -> np.ndarray:
        state = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), start(problem, sites, keys))
        draws = []
        for call in range(n_warm_up + n_kept):
            adapting = jnp.asarray(call < n_warm_up)
            state, new = advance(problem, sites, keys, state, per_call, adapting)
            if call >= n_warm_up:
                draws.append(np.asarray(new.u))
        return np.moveaxis(np.concatenate(draws), 0, 2)

    run(1, 1)  # compiles
    begun = time.perf_counter()
    u = run(n_warm_up, n_kept)
    return time.perf_counter() - begun, ess_bulk(u).min(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("profiles")
    parser.add_argument("forcing")
    parser.add_argument("--sites", type=int, default=32)
    parser.add_argument("--skip-nuts", action="store_true")
    asked = parser.parse_args()
    profiles = read_profiles(asked.profiles)
    dataset = open_dataset(asked.forcing)
    place = {str(s): i for i, s in enumerate(dataset["site"].to_numpy())}
    frozen = (dataset["altmax_lastyear"].to_numpy() == 0).any(axis=1)
    fitting = [
        i
        for i, s in enumerate(profiles.site)
        if s in place and profiles.n_layers[i] <= 8 and not frozen[place[s]]
    ]
    profiles = profiles.select(fitting)

    def sites_of(n: int) -> tuple[Any, np.ndarray]:
        some = profiles.spread(n)
        forcing = proda.Forcing.from_dataset(
            dataset.isel(site=[place[s] for s in some.site]).load()
        )
        return assemble(some, forcing, "layer_mean"), some.site

    speed, gain, memory = [], [], []
    for model in ("clm5", "compas"):
        for name, (options, draws) in SAMPLERS.items():
            if asked.skip_nuts and name == "nuts":
                continue
            settings = AssimilationSettings(
                model=model, sampler=name.split(",")[0], options=options, draws=draws
            )
            if name in ("tempered", "adaptive-metropolis"):
                sites, names = sites_of(default_width(build_problem(settings), CHAINS))
                rate = steps_per_second(SamplingProblem, settings, sites, names)
                alone = steps_per_second(Empty, settings, sites, names)
                speed.append(
                    f"| {model} | {name} | {rate / 1e6:.3f} | {1e6 / rate:.2f} | "
                    f"{1e6 / alone:.2f} | "
                    f"{np.prod(STUDY) / rate / 86400:.1f} |"
                )
                print(speed[-1], flush=True)
                column = bytes_per_column(settings, sites, names)
                lanes = STUDY[0] * STUDY[1] * build_sampler(settings).n_replicas
                memory.append(
                    f"| {model} | {name} | {column / 1e3:.0f} | {lanes / 1e6:.2f} | "
                    f"{column * lanes / 1e9:.0f} |"
                )
                print(memory[-1], flush=True)
            sites, names = sites_of(asked.sites)
            took, smallest = effective(settings, sites, names)
            gain.append(
                f"| {model} | {name} | {took:.0f} | {np.nansum(smallest) / took:.0f} | "
                f"{np.nanmedian(smallest):.0f} | {np.nanmin(smallest):.0f} |"
            )
            print(gain[-1], flush=True)
    write_report(
        Path(__file__).parent / "results" / "assimilation.md",
        [
            "# Speed of data assimilation",
            "",
            "`python -m benchmarks.assimilation PROFILES SITES.nc "
            f'--sites {asked.sites}`, XLA_FLAGS="{os.environ.get("XLA_FLAGS", "")}".',
            machine(),
            "",
            "A step of `tempered` solves the model once per replica (six times); rates count model "
            "evaluations. The sampler alone runs on a target that costs nothing: random numbers, "
            "proposals and acceptance. Days for the study: the evaluations of "
            f"{STUDY[0]:,} profiles x {STUDY[1]} chains x {STUDY[2]:,} steps, one model, this "
            "process.",
            "",
            "| model | sampler | million per s | us | of it the sampler, us | days for study |",
            "|---|---|---|---|---|---|",
            *speed,
            "",
            f"Smallest effective size over parameters, {asked.sites} real sites spread over "
            "latitudes, default lengths, warm-up included in the time.",
            "",
            "| model | sampler | s | smallest ESS per second, summed | median site | worst site |",
            "|---|---|---|---|---|---|",
            *gain,
            "",
            "Memory of the compiled program (arguments, results, temporaries) per column solved "
            "side by side, and what the study would need with all chains of all profiles resident "
            "at once, as on one GPU; a CPU process holds some thousand columns at a time, whatever "
            "the number of sites.",
            "",
            "| model | sampler | kB per column | million columns | GB all resident |",
            "|---|---|---|---|---|",
            *memory,
        ],
    )


if __name__ == "__main__":
    main()
