"""Simulation-based calibration: are the posteriors right, and do their intervals cover the truth?

    python -m benchmarks.calibration [SIMULATIONS] [FORCING] [SAMPLER ...]

Parameters are drawn from the prior (where there is a steady state), give a synthetic profile with
log-normal errors, and are estimated from it. The rank of the truth among the draws must be uniform
(Talts et al. 2018), and a 50 or 90 % interval must hold it 50 or 90 % of the time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chisquare

import proda
from benchmarks.report import machine, write_report
from proda.files import open_dataset
from proda.inference.assimilation_settings import SD_LOG, AssimilationSettings
from proda.inference.batch import calls
from proda.inference.padded_sites import assemble
from proda.inference.problem import build_model, build_problem
from proda.inference.profiles import Profiles
from proda.inference.samplers.islands import Islands
from proda.inference.samplers.registry import SAMPLERS
from proda.inference.samplers.sampler import find_start
from proda.inference.sampling import SamplingProblem, advance, chain_keys, start
from proda.inference.searching import sample_islands
from proda.inference.target import Site
from proda.streams.bulk_radiocarbon import DEGREES

UPPER = np.array([0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
LOWER = np.array([0.1, 0.3, 0.6, 1.0, 1.5, 2.0])
DRAWS = {"smc": 40, "rto": 40, "tempered": 99, "published": 80}
"""Per chain; `smc` and `rto` have their default of three chains, the others one."""
OPTIONS_OF_REPORT = ("smc", "published")
DELTA = "radiocarbon"
BINS = 20
WIDTH = 170
"""Simulations side by side."""

OPTIONS: dict[str, dict[str, int | bool]] = {
    "smc": {},
    "rto": {},
    "tempered": {"warm_up": 3960, "kept": 3960},
    "adaptive-metropolis": {"test": 9900, "formal": 59400, "periodic": True},
    # Shorter than the study's, as each step redraws up to 500 proposals; the annealing only
    # tightens with more steps.
    "published": {"test": 800, "formal": 3200},
}


def simulate(problem: SamplingProblem, sites: Site, names: np.ndarray) -> tuple[np.ndarray, Site]:
    """Return true places in the unit box and the sites with synthetic measurements.

    Carbon has log-normal errors, and 14C, where there is any, its own estimated ones.
    """
    streams = [stream.name for stream in problem.streams]
    assert streams in ([], [DELTA])

    def one(site: Site, key: jax.Array) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        k_truth, k_error = jax.random.split(key)
        posterior = problem.target(site)
        u, _ = find_start(k_truth, posterior)
        told = posterior.predict(u)
        error = SD_LOG * jax.random.normal(k_error, told.modelled.shape)
        carbon = jnp.where(site.measured.mask, told.modelled * jnp.exp(error), 1.0)
        observed = {}
        for name in streams:
            delta = told.streams[name][0]
            scale = posterior.values(u)[f"{name}_error"]
            noise = scale * jax.random.t(jax.random.fold_in(key, 2), DEGREES, delta.shape)
            observed[name] = jnp.where(site.streams[name].mask, delta + noise, 0.0)
        return u, carbon, observed

    keys = chain_keys(12345, names, 1)[:, 0]
    truth, carbon, observed = jax.jit(jax.vmap(one))(sites, keys)
    sites = eqx.tree_at(lambda s: s.measured.carbon, sites, carbon)
    for name in streams:
        sites = eqx.tree_at(lambda s, n=name: s.streams[n].observed, sites, observed[name])
    return np.asarray(truth), sites


def judged(
    truth: np.ndarray, u: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return places of the truth among the draws (0 to 1), and whether intervals hold it.

    Parameters
    ----------
    truth
        (simulation, parameter).
    u
        (draw, simulation, parameter); NaN where there is no draw.
    rng
        Gives the place between two neighbours.
    """
    below, there = (u < truth).sum(axis=0), np.isfinite(u).sum(axis=0)
    place = (below + rng.random(below.shape)) / (there + 1)
    # Weibull's quantiles: of n draws the usual ones hold (n - 1)/(n + 1) of what they should.
    q = np.nanquantile(u, [0.05, 0.25, 0.75, 0.95], axis=0, method="weibull")
    inside = [(q[1] < truth) & (truth < q[2]), (q[0] < truth) & (truth < q[3])]
    return place, np.stack(inside)


def row_of(place: np.ndarray, inside: np.ndarray, names: list[str]) -> str:
    """Return the cells of a table: uniformity of the ranks, and what intervals hold."""
    bins = np.floor(place * BINS).astype(int)
    p = np.array([chisquare(np.bincount(b, minlength=BINS)).pvalue for b in bins.T])
    each = inside.mean(axis=1)
    cover = ""
    for level in each:
        cover += f" {100 * level.mean():.1f} (least {100 * level.min():.1f}) |"
    worst, below = names[int(np.argmin(p))], int((p < 0.05).sum())
    return f"{len(place)} | {p.min():.2g} ({worst}) | {below} of {len(p)} |{cover}"


def places(
    settings: AssimilationSettings, forcing: proda.Forcing, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return places of the truth among the draws (0 to 1), and whether intervals hold it.

    The published sampler gives no draw where a segment accepted nothing: a place is among those
    that there are, uniform between its two neighbours.
    """
    problem = build_problem(settings)
    rng = np.random.default_rng(0)
    found, inside = [], []
    for first in range(0, n, WIDTH):
        names = np.array([f"simulation {i}" for i in range(first, first + WIDTH)])
        layers = len(UPPER)
        profiles = Profiles(
            names,
            np.zeros(WIDTH),
            np.zeros(WIDTH),
            np.arange(WIDTH + 1) * layers,
            np.tile(UPPER, WIDTH),
            np.tile(LOWER, WIDTH),
            np.ones(WIDTH * layers),
        )
        chosen = rng.choice(len(forcing), WIDTH)
        sites = assemble(profiles, forcing.select(chosen), settings.operator)
        truth, sites = simulate(problem, sites, names)
        keep = min(WIDTH, n - first)
        if isinstance(problem.sampler, Islands):
            u = walked(problem, settings, sites, names[:keep])
            truth = truth[:keep]
        else:
            u = chained(problem, settings, sites, names)
        place, held = judged(truth, u, rng)
        found.append(place[:keep])
        inside.append(held[:, :keep])
    return np.concatenate(found), np.concatenate(inside, axis=1)


def walked(
    problem: SamplingProblem, settings: AssimilationSettings, sites: Site, names: np.ndarray
) -> np.ndarray:
    """Return draws of all chains (draw, simulation, parameter), site by site as a run does."""
    keys = chain_keys(settings.seed, names, settings.chains)
    found = []
    for i in range(len(names)):
        site = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], sites)
        u = sample_islands(problem, keys[i : i + 1], site, 1).u[0]
        every = u.shape[1] // settings.draws
        found.append(u[:, every - 1 :: every].reshape(-1, u.shape[-1]))
    return np.stack(found, axis=1)


def chained(
    problem: SamplingProblem, settings: AssimilationSettings, sites: Site, names: np.ndarray
) -> np.ndarray:
    """Return draws of one chain at each site (draw, simulation, parameter)."""
    keys = chain_keys(settings.seed, names, 1)
    state = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), start(problem, sites, keys))
    per_call, n_warm_up, n_kept = calls(problem)
    draws = []
    for call in range(n_warm_up + n_kept):
        adapting = jnp.asarray(call < n_warm_up or problem.chain.always_adapts)
        state, new = advance(problem, sites, keys, state, per_call, adapting)
        if call >= n_warm_up:
            draws.append(np.asarray(new.u)[:, :, 0])
    return np.concatenate(draws)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 510
    source = "the six example columns"
    dataset = proda.example_columns()
    if len(sys.argv) > 2:
        opened = open_dataset(sys.argv[2])
        some = np.random.default_rng(1).choice(opened.sizes["site"], 500, replace=False)
        dataset = opened.isel(site=np.sort(some)).load()
        source = "500 sites of the real forcing"
    forcing = proda.Forcing.from_dataset(dataset)
    # Columns that never thaw hold no carbon below their first layer: no synthetic profile.
    forcing = forcing.select(np.flatnonzero((forcing.altmax_lastyear > 0).all(axis=1)))
    rows = []
    for model in ("clm5", "compas"):
        for sampler in sys.argv[3:] or OPTIONS_OF_REPORT:
            settings = AssimilationSettings(
                model=model,
                sampler=sampler,
                options=OPTIONS[sampler],
                chains=3 if issubclass(SAMPLERS[sampler], Islands) else 1,
                draws=DRAWS[sampler],
            )
            begun = time.perf_counter()
            place, inside = places(settings, forcing, n)
            seconds = time.perf_counter() - begun
            names = [row.name for row in build_model(settings).rows]
            cells = row_of(place, inside, names)
            rows.append(f"| {model} | {sampler} | {cells} {seconds:.0f} |")
            print(rows[-1], flush=True)
    sd = 100 * np.sqrt(np.array([0.25, 0.09]) / n)
    text = [
        "# Simulation-based calibration",
        "",
        f"`python -m benchmarks.calibration {' '.join(sys.argv[1:2])} FORCING`: columns from "
        f"{source}; {len(UPPER)} layers to 2 m with log-normal errors of {SD_LOG}; {BINS} bins.",
        machine(),
        "",
        "Parameters with p < 0.05 should be about one in twenty; the least p of some twenty should "
        f"be above {0.05 / 22:.4f}. Coverage is the mean over parameters (and that of the worst): "
        f"one parameter's has a standard error of {sd[0]:.1f} and {sd[1]:.1f} points.",
        "",
        "| model | sampler | n | least p | p < 0.05 | 50 % interval | 90 % interval | s |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    write_report(Path(__file__).parent / "results" / "calibration.md", text)


if __name__ == "__main__":
    main()
