"""Time of the loss of end-to-end training and its derivatives, by how many columns are together.

    python -m benchmarks.training_gradients PROFILES SITES.nc

PROFILES is a folder of `proda profiles build`, SITES.nc the forcing at its sites. 64 real sites of
at most 8 layers, parameters from the prior, and as many columns as 30 networks have in batches of
256. All chunks take turns in this one process, which should have one thread (NPROC=1
XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"); times are of its
processor, without compilation.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import proda
from benchmarks.report import machine
from benchmarks.samplers import chosen
from proda.column import chunks
from proda.learning.carbon_loss import DEPTH_CLASSES, CarbonProblem, judge

SITES = 64
COLUMNS = 30 * 256
CHUNKS = (COLUMNS, 512, 256, 128)
TURNS = 7


def problem_of(profiles_folder: str, forcing_file: str, model: str) -> CarbonProblem:
    _, sites = chosen(profiles_folder, forcing_file, 0, SITES, 8)
    weight = jnp.ones(SITES)
    return CarbonProblem(proda.load_model(model), sites, weight, 100.0, 10.0, 10.0, 0.1)


def measure(problem: CarbonProblem, slopes: bool) -> dict[int, list[float]]:
    """Return seconds per column of each turn, by the size of chunks."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(COLUMNS, len(problem.model.rows))))
    own = jnp.zeros((COLUMNS, len(DEPTH_CLASSES)))
    rows = jnp.asarray(rng.integers(0, SITES, COLUMNS))
    programs = {}
    for size in CHUNKS:
        chunks.CACHED = size
        program = jax.jit(lambda a, b, c: judge(a, b, 0.0 * a, c, problem, slopes))
        programs[size] = program.lower(logits, own, rows).compile()
    seconds: dict[int, list[float]] = {size: [] for size in CHUNKS}
    for _ in range(TURNS):
        for size, program in programs.items():
            begun = time.process_time()
            jax.block_until_ready(program(logits, own, rows))
            seconds[size].append((time.process_time() - begun) / COLUMNS)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("profiles")
    parser.add_argument("forcing")
    parser.add_argument("--models", nargs="+", default=["clm5", "compas"])
    asked = parser.parse_args()
    print(machine() + "\n")
    heads = " | ".join(f"{size:,} at a time" for size in CHUNKS)
    print(f"| us per column: least of {TURNS} (median) | {heads} |\n|---|" + "---|" * len(CHUNKS))
    for model in asked.models:
        problem = problem_of(asked.profiles, asked.forcing, model)
        for slopes in (True, False):
            seconds = measure(problem, slopes)
            cells = [f"{1e6 * min(t):.1f} ({1e6 * np.median(t):.1f})" for t in seconds.values()]
            what = "with derivatives" if slopes else "values"
            print(f"| {model}, {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
