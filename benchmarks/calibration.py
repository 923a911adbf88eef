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
from proda.inference.batch import calls, sample_walkers
from proda.inference.padded_sites import assemble
from proda.inference.profiles import Profiles
from proda.inference.samplers.sampler import find_start
from proda.inference.samplers.smc import SMC
from proda.inference.sampling import SamplingProblem, advance, chain_keys, start
from proda.inference.target import Posterior, Site

UPPER = np.array([0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
LOWER = np.array([0.1, 0.3, 0.6, 1.0, 1.5, 2.0])
DRAWS = {"smc": 40, "tempered": 99, "published": 80}
"""Per chain; `smc` has its default of three chains, the others one."""
OPTIONS_OF_REPORT = ("smc", "published")
BINS = 20
WIDTH = 170
"""Simulations side by side."""

OPTIONS: dict[str, dict[str, int | bool]] = {
    "smc": {},
    "tempered": {"warm_up": 3960, "kept": 3960},
    "adaptive-metropolis": {"test": 9900, "formal": 59400, "periodic": True},
    # Shorter than the study's, as each step redraws up to 500 proposals; the annealing only
    # tightens with more steps.
    "published": {"test": 800, "formal": 3200},
}


def simulate(
    settings: AssimilationSettings, sites: Site, names: np.ndarray
) -> tuple[np.ndarray, Site]:
    """Return true places in the unit box and the sites with synthetic measurements."""
    problem = settings.build()

    def one(site: Site, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        k_truth, k_error = jax.random.split(key)
        posterior = Posterior(problem.model, problem.likelihood, site)
        u, _ = find_start(k_truth, posterior)
        modelled = posterior.predict(u).modelled
        error = SD_LOG * jax.random.normal(k_error, modelled.shape)
        return u, jnp.where(site.measured.mask, modelled * jnp.exp(error), 1.0)

    keys = chain_keys(12345, names, 1)[:, 0]
    truth, carbon = jax.jit(jax.vmap(one))(sites, keys)
    return np.asarray(truth), eqx.tree_at(lambda s: s.measured.carbon, sites, carbon)


def places(
    settings: AssimilationSettings, forcing: proda.Forcing, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return places of the truth among the draws (0 to 1), and whether intervals hold it.

    The published sampler gives no draw where a segment accepted nothing: a place is among those
    that there are, uniform between its two neighbours.
    """
    problem = settings.build()
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
        truth, sites = simulate(settings, sites, names)
        keep = min(WIDTH, n - first)
        if isinstance(problem.sampler, SMC):
            u = walked(problem, settings, sites, names[:keep])
            truth = truth[:keep]
        else:
            u = chained(problem, settings, sites, names)
        below, there = (u < truth).sum(axis=0), np.isfinite(u).sum(axis=0)
        found.append(((below + rng.random(below.shape)) / (there + 1))[:keep])
        # Weibull's quantiles: of n draws the usual ones hold (n - 1)/(n + 1) of what they should.
        quantile = np.nanquantile(u, [0.05, 0.25, 0.75, 0.95], axis=0, method="weibull")
        held = np.stack(
            [
                (quantile[1] < truth) & (truth < quantile[2]),
                (quantile[0] < truth) & (truth < quantile[3]),
            ]
        )
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
        u = sample_walkers(problem, keys[i : i + 1], site, 1).u[0]
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
        adapting = call < n_warm_up or problem.chain.always_adapts
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
                chains=3 if sampler == "smc" else 1,
                draws=DRAWS[sampler],
            )
            begun = time.perf_counter()
            place, inside = places(settings, forcing, n)
            seconds = time.perf_counter() - begun
            bins = np.floor(place * BINS).astype(int)
            p = np.array(
                [
                    chisquare(np.bincount(bins[:, i], minlength=BINS)).pvalue
                    for i in range(bins.shape[1])
                ]
            )
            parameters = settings.build_model().rows
            worst = parameters[int(np.argmin(p))].name
            cover = inside.mean(axis=(1, 2))
            lowest = inside.mean(axis=1).min(axis=1)
            rows.append(
                f"| {model} | {sampler} | {n} | {p.min():.2g} ({worst}) | "
                f"{int((p < 0.05).sum())} of {len(p)} | {100 * cover[0]:.1f} (least "
                f"{100 * lowest[0]:.1f}) | {100 * cover[1]:.1f} (least {100 * lowest[1]:.1f}) | "
                f"{seconds:.0f} |"
            )
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
