"""Columns per second: proda against dense linear algebra, batched and one by one, in one run.

    python -m benchmarks.columns [--columns 2048] [--repeats 60] [--only-models]

Float64 on every core this process may use. The columns are made up (rough forcing, parameters from
the whole prior); all three ways solve the same ones and must agree where dense algebra can.

- proda: environment, allocation, transport and the steady state, compiled, in blocks on threads;
  all pools, respiration and reason, or (as a sampler needs) soil carbon and reason only.
  Site-only work (exchange coefficients) is done before, and the columns stay in memory, as in a
  sampler.
- dense, batched: the same environment and transport, then the 140 x 140 (COMPAS: 80 x 80, its
  litter) systems assembled and solved by batched LAPACK, compiled too.
- dense, one by one: numpy, a Python loop over columns, as the published method does.

Then all models on one thread: soil carbon, and soil carbon with its gradient by all parameters; the
general steady state of the two models of the study beside their closed forms. Models take turns, so
that a busy moment of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import proda
from proda.column.column import prepare
from proda.learning.contract_columns import with_properties
from proda.models.general import general_steady_state
from proda.models.model import SoilModel
from proda.models.registry import MODELS
from proda.simulate import CPU_BLOCK, GPU_BLOCK

REFERENCE_US = {"clm5": 1.8, "compas": 1.0}
"""What each model was asked to stay under, microseconds per column."""


def sample(model: SoilModel, n: int) -> tuple[dict, Any]:
    """Return parameters from the whole prior and columns around the six examples."""
    rng = np.random.default_rng(0)
    dataset = proda.example_columns().isel(site=rng.integers(0, 6, n)).drop_vars("site")
    shape = dataset["w_scalar"].shape
    dataset["soil_temperature"] += rng.normal(0.0, 3.0, shape)
    dataset["w_scalar"] = dataset["w_scalar"] * rng.uniform(0.5, 1.0, shape)
    dataset["nbedrock"] = ("site", rng.integers(5, 21, n))
    forcing = with_properties(proda.Forcing.from_dataset(dataset.assign_coords(site=np.arange(n))))
    span = {row.name: (row.at(0.02), row.upper) for row in model.rows}
    values = {name: jnp.asarray(rng.uniform(*limits, n)) for name, limits in span.items()}
    return values, prepare(forcing)


def dense_system(model: SoilModel, p: dict, column: Any) -> tuple:
    """Return matrix and right side of the linear pools: all of CLM5, the litter of COMPAS."""
    n_pools = 7 if model.name == "clm5" else 4
    t = model.transfers(jnp.zeros((len(model.pools), 20)), p, column)
    rate = (t.modifier * t.decay)[:n_pools]
    matrix = jnp.zeros((n_pools, 20, n_pools, 20))
    layer = jnp.arange(20)
    up, down = t.transport.up, t.transport.down
    dz = jnp.asarray(column.grid.thickness)
    for j, name in enumerate(model.pools[:n_pools]):
        leaving = rate[j] + (up + down) * (name in model.transported)
        matrix = matrix.at[j, layer, j, layer].add(-leaving)
        if name in model.transported:
            matrix = matrix.at[j, layer[:-1], j, layer[1:]].add(up[1:] * dz[1:] / dz[:-1])
            matrix = matrix.at[j, layer[1:], j, layer[:-1]].add(down[:-1] * dz[:-1] / dz[1:])
    for (receiver, donor), share in t.fraction.items():
        i, j = model.pools.index(receiver), model.pools.index(donor)
        if i < n_pools and j < n_pools:
            matrix = matrix.at[i, layer, j, layer].add(share * rate[j])
    size = n_pools * 20
    return matrix.reshape(size, size), -t.input[:n_pools].reshape(size)


def best_of(call: Callable[[], Any], repeats: int) -> list[float]:
    """Return wall seconds of repeated calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def line(name: str, seconds: list[float], n: int, baseline: float | None) -> str:
    us = [s / n * 1e6 for s in seconds]
    middle = statistics.median(us)
    ratio = "" if baseline is None else f"{middle / baseline:10.2f}"
    return (
        f"{name:28s} {middle:10.2f} {min(us):10.2f} {max(us):10.2f} {1e6 / middle:12,.0f} {ratio}"
    )


def run(name: str, n: int, repeats: int) -> None:
    model = proda.load_model(name)
    values, columns = sample(model, n)
    on_cpu = jax.default_backend() == "cpu"
    size = min(CPU_BLOCK if on_cpu else GPU_BLOCK, n)
    cut = lambda start, stop: jax.tree.map(lambda leaf: leaf[start:stop], (values, columns))  # noqa: E731
    blocks = [cut(i, i + size) for i in range(0, n - size + 1, size)]
    n = size * len(blocks)

    start = time.perf_counter()
    solve = jax.jit(jax.vmap(model.steady_state)).lower(*blocks[0]).compile()
    compile_seconds = time.perf_counter() - start

    def carbon(p: dict, column: Any) -> tuple:
        state = model.steady_state(p, column)
        return state.soil_carbon, state.reason

    in_sampler = jax.jit(jax.vmap(carbon)).lower(*blocks[0]).compile()
    workers = len(os.sched_getaffinity(0)) if on_cpu else 1

    with ThreadPoolExecutor(workers) as pool:
        ours = best_of(
            lambda: list(pool.map(lambda b: jax.block_until_ready(solve(*b)), blocks)), repeats
        )
        sampler = best_of(
            lambda: list(pool.map(lambda b: jax.block_until_ready(in_sampler(*b)), blocks)), repeats
        )
    one_thread = best_of(lambda: [jax.block_until_ready(solve(*b)) for b in blocks], repeats)

    def by_dense(p: dict, column: Any) -> Any:
        matrix, right = dense_system(model, p, column)
        return jnp.linalg.solve(matrix, right)

    few = [jax.tree.map(lambda leaf: leaf[:64], block) for block in blocks[:4]]
    batched = jax.jit(jax.vmap(by_dense))
    dense = best_of(lambda: [jax.block_until_ready(batched(*b)) for b in few], 5)
    n_dense = 64 * len(few)

    assemble = jax.jit(jax.vmap(lambda p, c: dense_system(model, p, c)))
    matrices, rights = (np.asarray(a) for a in assemble(*few[0]))
    single = best_of(
        lambda: [np.linalg.solve(m, r) for m, r in zip(matrices, rights, strict=True)], 5
    )

    state = solve(*blocks[0])
    found = np.asarray(batched(*few[0]))
    n_pools = found.shape[1] // 20
    ok = np.asarray(state.reason[:64]) == 0
    mine = np.asarray(state.pools[:64, :n_pools]).reshape(64, -1)
    scale = np.abs(mine).max(axis=1, keepdims=True)
    apart = np.abs(found - mine)[ok].max(axis=1) / scale[ok, 0]
    above = statistics.median(ours) / n * 1e6
    print(f"\n{model.title}; {n} columns in blocks of {size}")
    print(
        f"{'':28s} {'median us':>10s} {'min':>10s} {'max':>10s} {'columns/s':>12s} {'ratio':>10s}"
    )
    print(line(f"all pools, {workers} threads", ours, n, None))
    print(line("soil carbon only", sampler, n, above))
    print(line("all pools, 1 call at a time", one_thread, n, above))
    print(line("dense, batched", dense, n_dense, above))
    print(line("dense, one by one (solve)", single, 64, above))
    print(
        f"compile {compile_seconds:.1f} s; asked: {REFERENCE_US[name]} us per column; dense is off "
        f"by {np.median(apart):.0e} (median), {apart.max():.0e} (largest) of the column's largest "
        f"pool; {ok.mean():.0%} of the columns have a steady state"
    )


def compiled(model: SoilModel, steady_state: Callable, block: tuple) -> tuple[list, float]:
    """Return carbon, carbon with gradient, and the seconds that the first took to compile."""

    def carbon(p: dict, column: Any) -> Any:
        return steady_state(model, p, column).soil_carbon.sum()

    start = time.perf_counter()
    value = jax.jit(jax.vmap(carbon)).lower(*block).compile()
    seconds = time.perf_counter() - start
    return [value, jax.jit(jax.vmap(jax.value_and_grad(carbon))).lower(*block).compile()], seconds


def by_model(repeats: int) -> None:
    """Print the cost of every model, alone on one thread, and over that of CLM5."""
    cases = {name: (name, type(proda.load_model(name)).steady_state) for name in MODELS}
    cases |= {f"{name}, general": (name, general_steady_state) for name in ("clm5", "compas")}
    calls, blocks, feasible, compile_seconds = {}, {}, {}, {}
    for case, (name, steady_state) in cases.items():
        model = proda.load_model(name)
        blocks[case] = sample(model, CPU_BLOCK)
        calls[case], compile_seconds[case] = compiled(model, steady_state, blocks[case])
        state = jax.jit(jax.vmap(lambda p, c, s=steady_state, m=model: s(m, p, c).reason))
        feasible[case] = float((np.asarray(state(*blocks[case])) == 0).mean())
    times: dict[str, list[list[float]]] = {case: [[], []] for case in cases}
    for _ in range(repeats):
        for case, pair in calls.items():
            for call, seconds in zip(pair, times[case], strict=True):
                start = time.perf_counter()
                jax.block_until_ready(call(*blocks[case]))
                seconds.append((time.perf_counter() - start) / CPU_BLOCK * 1e6)
    first = [statistics.median(t) for t in times["clm5"]]
    print(f"\nAll models, blocks of {CPU_BLOCK}, one thread; us per column: median (10-90 %)")
    print("| model | value | over CLM5 | with gradient | over CLM5 | compile, s | feasible |")
    print("|---|---|---|---|---|---|---|")
    for case, pair in times.items():
        cells = [case]
        for seconds, baseline in zip(pair, first, strict=True):
            low, middle, high = np.percentile(seconds, [10, 50, 90])
            cells += [f"{middle:.2f} ({low:.2f}-{high:.2f})", f"{middle / baseline:.1f}"]
        cells += [f"{compile_seconds[case]:.1f}", f"{feasible[case]:.0%}"]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--only-models", action="store_true", help="leave dense algebra out")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(
        f"{date.today()}; {platform.machine()}, {cores} cores; {jax.devices()[0].device_kind}; "
        f"jax {jax.__version__}, float64"
    )
    for name in () if arguments.only_models else ("clm5", "compas"):
        run(name, arguments.columns, arguments.repeats)
    by_model(arguments.repeats)


if __name__ == "__main__":
    main()
