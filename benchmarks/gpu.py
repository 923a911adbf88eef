"""The same work on a GPU and on a CPU: columns, assimilation, end-to-end training and maps.

    python -m benchmarks.gpu columns
    python -m benchmarks.gpu assimilation PROFILES SITES.nc
    python -m benchmarks.gpu training PROFILES SITES.nc COVARIATES.parquet
    python -m benchmarks.gpu map FORCING.zarr

Each measures on what JAX finds; for the processor's numbers, set JAX_PLATFORMS=cpu. Every line is
printed when it is there, and with `--json FILE` appended to a file as JSON, so that what was
measured before a fault is kept. A part that fails is named, and the rest goes on.

A CPU gets its work as proda gives it: columns in blocks of 512 on threads. Assimilation runs one
process of one thread per core there: start as many at once, with NPROC=1 and
XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", and add their rates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import logit

import proda
from benchmarks.assimilation import Empty
from benchmarks.columns import sample
from benchmarks.gpu_posteriors import blank
from benchmarks.maps import parameters
from benchmarks.report import machine
from proda import files
from proda.column.column import prepare
from proda.inference.assimilation_run import default_width
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.batch import run_batch
from proda.inference.padded_sites import assemble
from proda.inference.problem import build_problem
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.sampling import SamplingProblem, advance, chain_keys, start
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.end_to_end import default_share, problem_of
from proda.learning.end_to_end_inputs import end_to_end_inputs
from proda.learning.end_to_end_loss import end_to_end_loss, initial_learners
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.program import initial_state, run_until, runs_of
from proda.learning.splits import NO_FOLD, TrainingPlan, plan
from proda.machine import cores
from proda.maps.cells import land_cells
from proda.maps.parameter_sources import EnsembleParameters
from proda.maps.run_map import write_map
from proda.maps.run_members import _block, run_members
from proda.models.model import SoilModel
from proda.simulate import CPU_BLOCK

MODELS = ("clm5", "compas")
CHAINS = 3
DRAWN = 4096
"""Different columns; larger batches repeat them, each time with other parameters."""


class Report:
    """Prints each row at once, and appends it to a file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def row(self, **found: Any) -> None:
        words = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()]
        print("; ".join(words), flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"device": device(), **found}) + "\n")

    @contextmanager
    def part(self, **about: Any) -> Iterator[None]:
        """Name what fails, and go on."""
        try:
            yield
        except Exception as error:
            self.row(**about, failed=f"{type(error).__name__}: {str(error)[:300]}")


def device() -> str:
    return str(jax.devices()[0].device_kind)


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def seconds(call: Callable[[], Any], least: float = 0.3, most: int = 30) -> float:
    """Return the median time of a call after two that are not counted."""
    for _ in range(2):
        jax.block_until_ready(call())
    times: list[float] = []
    while len(times) < 3 or (sum(times) < least and len(times) < most):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


# Columns


def carbon(model: SoilModel, p: dict, column: Any) -> Any:
    state = model.steady_state(p, column)
    return state.soil_carbon, state.reason


def slope(model: SoilModel, p: dict, column: Any) -> Any:
    """Soil carbon and its gradient by every parameter."""

    def total(p: dict) -> Any:
        return model.steady_state(p, column).soil_carbon.sum()

    return jax.value_and_grad(total)(p)


WHAT = {"value": carbon, "gradient": slope}


def many(model: SoilModel, columns: Any, n: int) -> tuple[dict, Any]:
    """Return n columns, and parameters of their own, on the device."""
    rng = np.random.default_rng(n)
    span = {row.name: (row.at(0.02), row.upper) for row in model.rows}
    values = {name: jnp.asarray(rng.uniform(*limits, n)) for name, limits in span.items()}
    times = -(-n // DRAWN)
    return values, jax.tree.map(lambda leaf: jnp.concatenate([leaf] * times)[:n], columns)


@contextmanager
def unrolled(layers: int) -> Iterator[None]:
    """Have loops over layers traced with so many layers in one turn."""
    original = jax.lax.scan
    jax.lax.scan = partial(original, unroll=layers)
    try:
        yield
    finally:
        jax.lax.scan = original


def columns(
    report: Report, models: list[str], kinds: list[str], sizes: list[int], layers: list[int]
) -> None:
    programs: dict[tuple, Any] = {}
    drawn = {}
    for name in models:
        model = proda.load_model(name)
        drawn[name] = sample(model, DRAWN)[1]
        shapes_of = partial(many, model, drawn[name])
        wanted = [(kind, n, 1) for n in sizes for kind in kinds]
        wanted += [(kinds[0], n, u) for u in layers for n in sizes if n >= DRAWN]
        for kind, n, u in wanted:
            block = min(n, CPU_BLOCK) if on_cpu() else n
            shapes = jax.eval_shape(partial(shapes_of, block))
            with unrolled(u):
                lowered = jax.jit(jax.vmap(partial(WHAT[kind], model))).lower(*shapes)
            programs[name, kind, n, u] = lowered.compile
    compiled = compile_together(programs)
    for name in models:
        model = proda.load_model(name)
        with report.part(what="difference", model=name):
            difference(report, model)
        with report.part(what="transfer", model=name):
            transfer(report, model)
    for (name, kind, n, u), future in compiled.items():
        with report.part(what="columns", model=name, kind=kind, columns=n, unroll=u):
            solve, took = future.result()
            us = speed(solve, *many(proda.load_model(name), drawn[name], n)) / n * 1e6
            report.row(
                what="columns",
                model=name,
                kind=kind,
                columns=n,
                unroll=u,
                us=us,
                per_second=1e6 / us,
                compile_beside_others=took,
            )


def compile_together(programs: dict[tuple, Callable[[], Any]]) -> dict[tuple, Any]:
    """Compile many programs at once; the first is compiled alone, for its time.

    Returns futures of the program and of the seconds it took.
    """

    def timed(compile_: Callable[[], Any]) -> tuple[Any, float]:
        begun = time.perf_counter()
        return compile_(), time.perf_counter() - begun

    pool = ThreadPoolExecutor(cores())
    futures = {}
    for key, compile_ in programs.items():
        futures[key] = pool.submit(timed, compile_)
        if len(futures) == 1:
            wait([futures[key]])
    wait(futures.values())  # nothing is to be timed beside a compiler
    return futures


def speed(solve: Any, values: dict, columns: Any) -> float:
    """Return seconds of one pass over all columns, which stay on the device."""
    if not on_cpu():
        return seconds(lambda: solve(values, columns))
    n = len(next(iter(values.values())))
    size = min(n, CPU_BLOCK)
    cut = lambda i: jax.tree.map(lambda leaf: leaf[i : i + size], (values, columns))  # noqa: E731
    blocks = [cut(i) for i in range(0, n - size + 1, size)]
    with ThreadPoolExecutor(cores()) as pool:
        return seconds(
            lambda: list(pool.map(lambda block: jax.block_until_ready(solve(*block)), blocks))
        )


def difference(report: Report, model: SoilModel) -> None:
    """Compare pools, reasons and gradients with the processor's."""
    rng = np.random.default_rng(0)
    dataset = proda.example_columns().isel(site=rng.integers(0, 6, DRAWN)).drop_vars("site")
    dataset["soil_temperature"] += rng.normal(0.0, 3.0, dataset["w_scalar"].shape)
    dataset["nbedrock"] = ("site", rng.integers(5, 21, DRAWN))
    forcing = proda.Forcing.from_dataset(dataset.assign_coords(site=np.arange(DRAWN)))
    found = []
    for where in (jax.devices()[0], jax.devices("cpu")[0]):
        with jax.default_device(where):
            values, drawn = many(model, prepare(forcing), DRAWN)
            state = jax.jit(jax.vmap(model.steady_state))(values, drawn)
            _, by = jax.jit(jax.vmap(partial(slope, model)))(values, drawn)
            found.append(jax.tree.map(np.asarray, (state, by)))
    (ours, by_ours), (theirs, by_theirs) = found
    good = (ours.reason == 0) & (theirs.reason == 0)
    pools, reference = ours.pools[good], theirs.pools[good]
    apart = np.abs(pools - reference)
    each = apart / np.where(reference > 0, reference, np.where(apart > 0, 0.0, 1.0))
    width = {row.name: row.upper - row.lower for row in model.rows}
    slopes = [np.stack([by[n][good] * width[n] for n in width], -1) for by in (by_ours, by_theirs)]
    steepest = np.abs(slopes[1]).max(axis=1, keepdims=True)
    off = np.abs(slopes[0] - slopes[1]) / steepest
    report.row(
        what="difference",
        model=model.name,
        columns=DRAWN,
        good=int(good.sum()),
        other_reason=int((ours.reason != theirs.reason).sum()),
        pool_largest=float(each.max()),
        pool_999=float(np.quantile(each, 0.999)),
        of_largest_pool=float((apart.max((1, 2)) / reference.max((1, 2))).max()),
        gradient_largest=float(np.nanmax(off)),
        gradient_not_finite=int((~np.isfinite(off)).sum()),
    )


def transfer(report: Report, model: SoilModel) -> None:
    """Time what `proda.steady_state` does beside solving: reading drivers in, pools out."""
    values, drawn = sample(model, DRAWN)
    host = jax.tree.map(np.asarray, (values, drawn))
    # A sum of everything, so that no copy can be put off.
    touch = jax.jit(lambda tree: sum(leaf.sum() for leaf in jax.tree.leaves(tree)))
    enter = seconds(lambda: touch(jax.tree.map(jnp.asarray, host)))
    inside = seconds(lambda: touch((values, drawn)))
    solve = jax.jit(jax.vmap(model.steady_state))
    leave = seconds(lambda: np.asarray(solve(values, drawn).pools))
    stay = seconds(lambda: solve(values, drawn).pools)
    report.row(
        what="transfer",
        model=model.name,
        columns=DRAWN,
        in_us=(enter - inside) / DRAWN * 1e6,
        out_us=(leave - stay) / DRAWN * 1e6,
    )


# Assimilation


def fitting_sites(folder: str, forcing: str) -> tuple[Profiles, Any, dict[str, int]]:
    """Return profiles of at most 8 layers that have forcing and thaw, and where each lies."""
    found = read_profiles(folder)
    dataset = files.open_dataset(forcing).load()
    place = {str(s): i for i, s in enumerate(dataset["site"].to_numpy())}
    frozen = (dataset["altmax_lastyear"].to_numpy() == 0).any(axis=1)
    keep = [
        i
        for i, s in enumerate(found.site)
        if s in place and found.n_layers[i] <= 8 and not frozen[place[s]]
    ]
    return found.select(keep), dataset, place


def assimilation(
    report: Report,
    models: list[str],
    folder: str,
    forcing: str,
    widths: list[int],
    kinds: list[str],
    least: float,
    full: int,
) -> None:
    profiles, dataset, place = fitting_sites(folder, forcing)

    def sites_of(n: int) -> tuple[Profiles, Any]:
        base = profiles.spread(n)
        some = base.select(np.arange(n) % len(base))  # sites come again if there are too few
        drivers = dataset.isel(site=[place[s] for s in some.site])
        drivers = proda.Forcing.from_dataset(drivers.assign_coords(site=np.arange(n)))
        return some, assemble(some, drivers, "layer_mean")

    programs: dict[tuple, Any] = {}
    wanted = {}
    for name in models:
        problem = build_problem(AssimilationSettings(model=name, sampler="tempered"))
        some_widths = widths or [default_width(problem, CHAINS)]
        for width in some_widths:
            for kind in kinds:
                if kind != "model" and width != some_widths[-1]:
                    continue
                with report.part(what="assimilation", model=name, width=width, kind=kind):
                    call = arguments(problem, sites_of(width)[1], width, kind)
                    wanted[name, width, kind] = call
                    programs[name, width, kind] = advance.lower(*call).compile
    for (name, width, kind), future in compile_together(programs).items():
        with report.part(what="assimilation", model=name, width=width, kind=kind):
            program, compile_ = future.result()
            problem, call = (
                build_problem(AssimilationSettings(model=name, sampler="tempered")),
                wanted[name, width, kind],
            )
            took, n = step_time(program, call, least)
            lanes = width * CHAINS * problem.sampler.n_replicas
            steps = problem.sampler.n_warm_up + problem.sampler.n_kept
            report.row(
                what="assimilation",
                model=name,
                width=width,
                kind=kind,
                columns=lanes,
                step_ms=1e3 * took,
                us=1e6 * took / lanes,
                per_second=lanes / took,
                compile_beside_others=compile_,
                steps_timed=n,
                site_seconds=steps * took / width,
            )
    if not full:
        return
    for name in models:
        with report.part(what="whole batch", model=name, width=full):
            some, sites = sites_of(full)
            begun = time.perf_counter()
            settings = AssimilationSettings(model=name, sampler="tempered")
            run_batch(build_problem(settings), 0, CHAINS, settings.draws, some, sites)
            took = time.perf_counter() - begun
            report.row(
                what="whole batch", model=name, width=full, seconds=took, site_seconds=took / full
            )


def arguments(problem: SamplingProblem, sites: Any, width: int, kind: str) -> tuple:
    """Return what `advance` is called with; the chains start at the centre of the priors.

    How long a step takes does not depend on where a chain is.
    """
    if kind == "sampler":
        problem = Empty(problem.model, problem.likelihood, problem.sampler, problem.segment)
    keys = chain_keys(0, np.arange(width), CHAINS)
    state = blank(start, problem, sites, keys)
    beta = jnp.broadcast_to(jnp.linspace(0.0, 1.0, problem.sampler.n_replicas), state.beta.shape)
    unit = jnp.broadcast_to(jnp.eye(state.factor.shape[-1]), state.factor.shape)
    state = eqx.tree_at(
        lambda s: (s.beta, s.covariance, s.factor, s.whitening), state, (beta, unit, unit, unit)
    )
    return problem, sites, keys, state, 5, jnp.asarray(kind == "warm-up")


def step_time(program: Any, call: tuple, least: float) -> tuple[float, int]:
    """Return seconds of a step, and over how many steps."""
    segments, segment = call[4], call[0].segment
    jax.block_until_ready(program(*call))
    n, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < least or n < 2:
        jax.block_until_ready(program(*call))
        n += 1
    steps = n * segments * segment
    return (time.perf_counter() - begun) / steps, steps


# End-to-end training


def training(
    report: Report,
    models: list[str],
    folder: str,
    forcing: str,
    covariates: str,
    batches: list[int],
    visits: int,
    members: int,
) -> None:
    table = pd.read_parquet(covariates).dropna()
    programs: dict[tuple, Any] = {}
    wanted = {}
    for name in models:
        sites = read_carbon_sites(folder, forcing, table, name)
        problem = problem_of(sites.layers, EndToEndSettings())
        for batch in batches:
            with report.part(what="training", model=name, batch=batch):
                call = first_epoch(sites, problem, batch, visits, members)
                wanted[name, batch] = call
                programs[name, batch] = run_until.lower(*call).compile
    for (name, batch), future in compile_together(programs).items():
        with report.part(what="training", model=name, batch=batch):
            program, compile_ = future.result()
            train(report, program, wanted[name, batch], (name, batch, members), compile_)


def first_epoch(sites: Any, problem: Any, batch: int, visits: int, members: int) -> tuple:
    """Return what one epoch is called with: some networks that visit every site so many times."""
    settings = EndToEndSettings(members=members, batch_size=batch)
    network = settings.network()
    share = default_share(sites.layers)
    inputs = end_to_end_inputs(sites, {NO_FOLD: share}, settings).by_fold
    p = sites.layers.profiles
    design = plan(p.latitude, p.longitude, network)
    train, validation = (np.tile(rows, (1, visits)) for rows in (design.train, design.validation))
    design = TrainingPlan(train, validation, design.fold, design.member)
    starts = np.tile(logit(share), (members, 1))
    varies = np.ones(starts.shape[1], bool)
    loss = end_to_end_loss(inputs, np.zeros(members, int), problem, varies, settings)
    runs = runs_of(design, starts, settings.seed)
    learners = initial_learners(runs, inputs.shape[-1], settings, problem.own_start)
    return initial_state(learners, loss.recipe), loss, runs, jnp.asarray(1, jnp.int32)


def train(
    report: Report, program: Any, call: tuple, what: tuple[str, int, int], compile_: float
) -> None:
    """Time three epochs after one that is not counted."""
    state, loss, runs, _ = call
    (model, batch, members), times = what, []
    for i in range(4):
        begun = time.perf_counter()
        stop = jnp.asarray(i + 1, jnp.int32)
        state = jax.block_until_ready(program(state, loss, runs, stop))
        times.append(time.perf_counter() - begun)
    one = statistics.median(times[1:])
    visited = int((runs.train >= 0).sum())
    report.row(
        what="training",
        model=model,
        batch=batch,
        members=members,
        sites=len(loss.problem.weight),
        visits=visited,
        compile_beside_others=compile_,
        epoch=one,
        us=one / visited * 1e6,
        loss=float(np.asarray(state.history)[3, :, 1].mean()),
    )
    if on_cpu():
        return
    logits(report, model, state.learner.network, loss.inputs[:2048])


def logits(report: Report, model: str, network: Any, x: Any) -> None:
    """Compare the networks' outputs with the processor's, by precision of the matrix products."""
    found = {}
    for where, precision in (("gpu", None), ("gpu", "highest"), ("cpu", None)):
        place = jax.devices()[0] if where == "gpu" else jax.devices("cpu")[0]
        with jax.default_matmul_precision(precision or "default"):
            call = jax.jit(jax.vmap(lambda net, x: net.logits(x), in_axes=(0, None)))
            found[where, precision] = np.asarray(call(*jax.device_put((network, x), place)))
    for precision in (None, "highest"):
        off = np.abs(found["gpu", precision] - found["cpu", None])
        report.row(
            what="logits",
            model=model,
            precision=precision or "default",
            largest=float(off.max()),
            mean=float(off.mean()),
        )


# Maps


def maps(report: Report, models: list[str], store: str, members: int) -> None:
    forcing = files.open_dataset(store)
    cells = land_cells(forcing)
    chunk = cells.chunks(4096)[0]
    drivers = cells.forcing(chunk)
    for name in models:
        model = proda.load_model(name)
        predict = parameters(model, members)
        with report.part(what="map, one chunk", model=name):
            values, _ = EnsembleParameters(predict).at(model, chunk, drivers, "physical")
            took = seconds(lambda m=model, v=values: run_members(m, v, drivers), least=2.0)
            n = len(chunk) * members
            report.row(
                what="map, one chunk",
                model=name,
                cells=len(chunk),
                members=members,
                seconds=took,
                us=took / n * 1e6,
                per_second=n / took,
            )
        with report.part(what="map, one chunk, on the device", model=name):
            stays(report, model, values, drivers)
        with report.part(what="map", model=name), tempfile.TemporaryDirectory() as scratch:
            times = []
            for i in range(2):
                begun = time.perf_counter()
                write_map(model, forcing, predict, Path(scratch) / f"{i}.nc")
                times.append(time.perf_counter() - begun)
            report.row(
                what="map",
                model=name,
                cells=len(cells),
                members=members,
                first=times[0],
                second=times[1],
                cells_per_second=len(cells) / times[1],
                per_second=len(cells) * members / times[1],
            )


def stays(report: Report, model: SoilModel, members: list, drivers: Any) -> None:
    """Time a chunk's columns alone: drivers are there, results stay there."""
    ready = prepare(drivers)
    values = [{name: jnp.asarray(v) for name, v in member.items()} for member in members]
    took = seconds(lambda: [_block(model, v, ready) for v in values])
    n = len(drivers) * len(values)
    report.row(
        what="map, one chunk, on the device",
        model=model.name,
        seconds=took,
        us=took / n * 1e6,
        per_second=n / took,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--models", type=lambda names: names.split(","), default=list(MODELS))
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("columns")
    one.add_argument("--kinds", nargs="+", default=list(WHAT))
    one.add_argument(
        "--sizes", type=int, nargs="+", default=[256, 1024, 4096, 16384, 65536, 262144]
    )
    one.add_argument("--unroll", type=int, nargs="*", default=[])
    one = parts.add_parser("assimilation")
    one.add_argument("profiles")
    one.add_argument("forcing")
    one.add_argument("--widths", type=int, nargs="*", default=[])
    one.add_argument("--kinds", nargs="+", default=["model", "sampler", "warm-up"])
    one.add_argument("--seconds", type=float, default=2.0)
    one.add_argument("--full", type=int, default=0, help="sites of one whole batch; 0: none")
    one = parts.add_parser("training")
    one.add_argument("profiles")
    one.add_argument("forcing")
    one.add_argument("covariates")
    one.add_argument("--batches", type=int, nargs="+", default=[256, 1024, 4096])
    one.add_argument("--visits", type=int, default=1)
    one.add_argument("--members", type=int, default=10)
    one = parts.add_parser("map")
    one.add_argument("store")
    one.add_argument("--members", type=int, default=10)
    given = vars(parser.parse_args())
    report, part = Report(given.pop("json")), given.pop("part")
    print(machine(), flush=True)
    if part == "columns":
        columns(report, given["models"], given["kinds"], given["sizes"], given["unroll"])
    elif part == "assimilation":
        names = ("models", "profiles", "forcing", "widths", "kinds", "seconds", "full")
        assimilation(report, *(given[name] for name in names))
    elif part == "training":
        names = ("models", "profiles", "forcing", "covariates", "batches", "visits", "members")
        training(report, *(given[name] for name in names))
    else:
        maps(report, given["models"], given["store"], given["members"])


if __name__ == "__main__":
    main()
