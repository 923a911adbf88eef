"""What samplers need at real sites: evaluations, effective sizes, convergence, evidence, seconds.

    python -m benchmarks.samplers PROFILES SITES.nc [--sites 64] [--first 64] [--sampler smc ...]

PROFILES is a folder of `proda profiles build`, SITES.nc the forcing at its sites. Sites are drawn
at random with a fixed seed; `--first` leaves out the first ones, on which a sampler was tuned. A
sampler may have options, `smc:descents=3`, among them `max_evidence_error`. Evidence and posterior
means of each are compared with those of the first one, which should then be a long run,
`tempered:warm_up=20000,kept=60000`. All samplers run in this one process, which should have one
thread (NPROC=1 XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1");
times are those of its processor, without compilation.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
import pandas as pd

import proda
from proda.files import open_dataset
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.batch import pad, run_batch
from proda.inference.padded_sites import assemble
from proda.inference.problem import build_problem, checked_settings
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.samplers.islands import Islands
from proda.inference.target import Site

Result = TypeVar("Result")

SEED = 20261127
STEADY = 0.2
"""Standard deviation of the log-evidence of chains below which their mean is a reference: the mean
of three then has a standard error of 0.12 at most, where 0.3 is asked about."""
TRACED = "/jax/core/compile/jaxpr_trace_duration"
"""Event of JAX while a program is new: the run is then made again and that one timed."""
TRIES = 3
"""Most runs of a site: the first may compile."""
TOGETHER = 56
"""Sites side by side, of samplers that are single chains."""


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """Return what a function returns, and its seconds of the processor without compilation."""
    traced: list[str] = []

    def listen(event: str, _: float, **__: Any) -> None:
        traced.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(TRIES):
            traced.clear()
            begun = time.process_time()
            result = function()
            took = time.process_time() - begun
            if TRACED not in traced:
                return result, took
        raise RuntimeError(f"a program is new in each of {TRIES} runs: nothing can be timed")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def measure(settings: AssimilationSettings, profiles: Any, sites: Any) -> dict[str, np.ndarray]:
    """Return evaluations, smallest ESS, largest R-hat, evidence and seconds of each site."""
    problem = build_problem(settings)
    width = 1 if isinstance(problem.sampler, Islands) else min(TOGETHER, len(profiles))
    found: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(profiles), width):
        index = np.arange(first, min(first + width, len(profiles)))
        some = jax.tree.map(lambda leaf, index=index: leaf[index], sites)
        summary, took = timed(
            functools.partial(
                run_batch,
                problem,
                settings.seed,
                settings.chains,
                settings.draws,
                profiles.select(index),
                pad(some, width),
            )
        )
        n = len(index)
        smallest = np.fmin(summary["ess_bulk"], summary["ess_tail"]).min("parameter")
        each = problem.sampler.evaluations(settings.chains)
        row = {
            "evaluations": summary.get("evaluations", np.full(n, each)),
            "ess": smallest,
            "rhat": summary["rank_rhat"].max("parameter"),
            "evidence": summary["log_evidence"],
            "seconds": np.full(n, took / n),
            "mean": summary["posterior_mean"].transpose("site", "parameter"),
            "sd": summary["posterior_sd"].transpose("site", "parameter"),
        }
        for name, values in row.items():
            found.setdefault(name, []).append(np.asarray(values))
    return {name: np.concatenate(values) for name, values in found.items()}


def settings_of(model: str, sampler: str) -> AssimilationSettings:
    """Return the settings of `NAME` or `NAME:OPTION=VALUE,OPTION=VALUE`."""
    name, _, rest = sampler.partition(":")
    given = dict(option.split("=") for option in rest.split(",") if option)
    error = given.pop("max_evidence_error", AssimilationSettings().max_evidence_error)
    options = {key: int(value) for key, value in given.items()}
    return checked_settings(
        model=model, sampler=name, options=options, max_evidence_error=float(error)
    )


def chosen(
    profiles_folder: str, forcing_file: str, first: int, n: int, layers: int
) -> tuple[Profiles, Site]:
    """Return profiles with forcing and at most so many layers, drawn at random, and their sites."""
    profiles, dataset = read_profiles(profiles_folder), open_dataset(forcing_file)
    names = dataset["site"].to_numpy().astype(str)
    order = np.random.default_rng(SEED).permutation(
        np.flatnonzero(pd.Index(profiles.site).isin(names) & (profiles.n_layers <= layers))
    )
    some = profiles.select(order[first : first + n])
    index = pd.Series(np.arange(len(names)), index=names)[some.site].to_numpy()
    forcing = proda.Forcing.from_dataset(dataset.isel(site=index).load())
    return some, assemble(some, forcing, "layer_mean")


def show_differences(model: str, found: dict[str, dict[str, np.ndarray]]) -> None:
    """Print how evidence (mean over chains) and posterior means differ from the first sampler's."""
    first, *others = found
    evidence = found[first]["evidence"]
    reference, spread = evidence.mean(axis=1), evidence.std(axis=1, ddof=1)
    steady = spread < STEADY
    print(
        f"\n{model}: log-evidence minus that of `{first}`, whose three chains differ by a standard "
        f"deviation of {np.median(spread):.3f} (median; 95 %: {np.percentile(spread, 95):.3f}); "
        f"steady sites, where it is below {STEADY}: {steady.sum()} of {len(steady)}\n\n"
        "| sampler | median (5 to 95 %) | more than 0.3 apart | of the steady sites | posterior "
        "means, difference over the sd, worst parameter: median (95 %, largest) | rms of all "
        "parameters: median (95 %, largest) |\n|---|---|---|---|---|---|"
    )
    for name in others:
        off = found[name]["evidence"].mean(axis=1) - reference
        apart = np.abs(found[name]["mean"] - found[first]["mean"]) / found[first]["sd"]
        of_means = (apart.max(axis=1), np.sqrt((apart**2).mean(axis=1)))
        means = [
            f"{np.median(x):.2f} ({np.percentile(x, 95):.2f}, {x.max():.2f})" for x in of_means
        ]
        low, middle, high = np.percentile(off, [5, 50, 95])
        far = np.abs(off) > 0.3
        print(
            f"| {name} | {middle:.2f} ({low:.2f} to {high:.2f}) | {far.sum()} of {len(far)} | "
            f"{(far & steady).sum()} of {steady.sum()} | {' | '.join(means)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("profiles")
    parser.add_argument("forcing")
    parser.add_argument("--sites", type=int, default=64)
    parser.add_argument("--first", type=int, default=64)
    parser.add_argument("--layers", type=int, default=1000, help="most layers of a site")
    parser.add_argument("--models", nargs="+", default=["clm5", "compas"])
    parser.add_argument("--sampler", nargs="+", default=["smc", "tempered"])
    parser.add_argument("--out", help="npz file, by model and sampler")
    asked = parser.parse_args()
    given = asked.profiles, asked.forcing
    some, sites = chosen(*given, asked.first, asked.sites, asked.layers)
    print(
        "| model | sampler | evaluations, median (mean, 95 %) | smallest ESS, median (10 %) | "
        "ESS >= 200 | R-hat < 1.02 | both | sd of evidence, median (90 %) | ESS per s, summed | "
        "s per site, median (95 %) | us per evaluation |\n|" + "---|" * 11
    )
    for model in asked.models:
        found = {}
        for sampler in asked.sampler:
            got = measure(settings_of(model, sampler), some, sites)
            found[sampler] = got
            ess, rhat, n, took = (got[k] for k in ("ess", "rhat", "evaluations", "seconds"))
            sd = got["evidence"].std(axis=1, ddof=1)
            print(
                f"| {model} | {sampler} | {np.median(n):,.0f} ({n.mean():,.0f}, "
                f"{np.percentile(n, 95):,.0f}) | {np.nanmedian(ess):.0f} "
                f"({np.nanpercentile(ess, 10):.0f}) | {100 * (ess >= 200).mean():.0f} % | "
                f"{100 * (rhat < 1.02).mean():.0f} % | "
                f"{100 * ((ess >= 200) & (rhat < 1.02)).mean():.0f} % | "
                f"{np.nanmedian(sd):.2f} ({np.nanpercentile(sd, 90):.2f}) | "
                f"{np.nansum(ess) / took.sum():.0f} | {np.median(took):.3f} "
                f"({np.percentile(took, 95):.3f}) | {1e6 * took.sum() / n.sum():.2f} |",
                flush=True,
            )
            if asked.out:
                np.savez(f"{asked.out}_{model}_{sampler}.npz", site=some.site, **got)
        if len(found) > 1:
            show_differences(model, found)


if __name__ == "__main__":
    main()
