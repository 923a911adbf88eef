"""Simulation-based calibration with carbon and 14C, and what 14C recovers of ages.

    python -m benchmarks.calibration_streams PROFILES SITES.nc TABLE SIMULATIONS clm5
    python -m benchmarks.calibration_streams ... compas --kinds carbon --worlds 5

Parameters drawn from the prior make carbon and 14C at the layers, years and forcing of real sites
(one simulation each; those of `benchmarks.more_data`, with the same seed), and are estimated from
both, and from carbon alone. The ranks of the truth among the draws must be uniform with either.
`--worlds` repeats that with as many further true worlds at each site, judged together. The mean age
of the first metre of each true world against that of its posteriors says what 14C adds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.stats import spearmanr

from benchmarks.calibration import DELTA, DRAWS, judged, row_of, simulate, walked
from benchmarks.more_data import at_sites, chosen, settings_of
from proda.files import open_dataset
from proda.forcing import Forcing
from proda.inference.padded_sites import assemble, with_streams
from proda.inference.problem import build_problem
from proda.inference.profiles import read_profiles
from proda.streams.table import read

KINDS = ("both", "carbon")


def real_sites(given: argparse.Namespace, own: Path) -> tuple[Any, Any]:
    """Return the names of the sites and their compiled form, all padded alike."""
    table, profiles = read(given.table), read_profiles(given.profiles)
    able = chosen(profiles, table, given.forcing)
    names = np.array(able[: given.simulations])
    table = read(at_sites(table, able, own))
    where = {name: i for i, name in enumerate(profiles.site)}
    some = profiles.select(np.array([where[name] for name in names]))
    with open_dataset(given.forcing) as opened:
        index = {name: i for i, name in enumerate(opened["site"].to_numpy().astype(str))}
        rows = [index[name] for name in names]
        forcing = Forcing.from_dataset(opened.isel(site=rows).load())
    plain = assemble(some, forcing, "layer_mean")
    return names, with_streams(plain, names, forcing, [table])


def ages(problem: Any, sites: Any, u: np.ndarray) -> np.ndarray:
    """Return the mean age of the first metre, yr, of places (place, simulation, parameter)."""

    def each(given: Any) -> Any:
        target = problem.target(given[0])
        return jax.vmap(target.mean_age)(given[1])

    found = jax.jit(lambda *by_site: jax.lax.map(each, by_site))(sites, np.swapaxes(u, 0, 1))
    return np.asarray(found).T


def recovered(truth: np.ndarray, drawn: np.ndarray) -> str:
    """Return cells of a table: how true ages (simulation) are met by draws (draw, simulation).

    Worlds with finite ages, median of |ln error|, rank correlation, median width of the 90 %
    interval of ln age, and the share of worlds (%) that it holds.
    """
    # Some worlds have carbon that is too old for a number: so ranks, medians and no means.
    log, true = np.log(drawn), np.log(truth)
    low, middle, high = np.quantile(log, [0.05, 0.5, 0.95], axis=0, method="higher")
    known = np.isfinite(middle) & np.isfinite(true)
    off = np.abs(middle[known] - true[known])
    finite = np.isfinite(high)
    inside = (low <= true) & (true <= high)
    return (
        f"{known.sum()} | {np.median(off):.2f} | {spearmanr(middle, true).statistic:.2f} | "
        f"{np.median(high[finite] - low[finite]):.2f} | {100 * inside.mean():.0f}"
    )


def other_worlds(
    both: Any, fitted: tuple[Any, Any], sites: Any, names: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return places of the truth and what intervals hold, of `n` more true worlds at each site.

    `both` makes the worlds; `fitted` is the problem and its settings.
    """
    found = []
    for world in range(1, n + 1):
        own = np.array([f"{name} {world}" for name in names])
        truth, simulated = simulate(both, sites, own)
        u = walked(*fitted, simulated, own)
        found.append(judged(truth, u, np.random.default_rng(0)))
    places, inside = zip(*found, strict=True)
    return np.concatenate(places), np.concatenate(inside, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("profiles", "forcing", "table"):
        parser.add_argument(name, type=Path)
    parser.add_argument("simulations", type=int)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--worlds", type=int, default=0, help="further true worlds at each site")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "table"
        names, sites = real_sites(given, own)
        for model in given.models:
            settings = {
                kind: settings_of(model, kind, DELTA, own, {"descents": 0}, sampler="smc")
                for kind in KINDS
            }
            problems = {kind: build_problem(s) for kind, s in settings.items()}
            truth, simulated = simulate(problems["both"], sites, names)
            rows = [row.name for row in problems["both"].target(sites).rows]
            old = ages(problems["both"], sites, truth[None])[0]
            for kind in given.kinds:
                problem = problems[kind]
                begun = time.process_time()
                fewer = settings[kind].model_copy(update={"draws": DRAWS["smc"]})
                u = walked(problem, fewer, simulated, names)
                seconds = time.process_time() - begun
                cells = row_of(*judged(truth, u, np.random.default_rng(0)), rows)
                print(f"| {model} | {kind} | {cells} {seconds:.0f} |", flush=True)
                age = recovered(old, ages(problem, simulated, u))
                print(f"ages: | {model} | {kind} | {age} |", flush=True)
                if given.worlds:
                    more = other_worlds(
                        problems["both"], (problem, fewer), sites, names, given.worlds
                    )
                    print(f"other worlds: | {model} | {kind} | {row_of(*more, rows)}", flush=True)


if __name__ == "__main__":
    main()
