"""What radiocarbon adds at real sites: carbon alone against carbon with 14C.

    python -m benchmarks.more_data PROFILES SITES.nc TABLE OUT --sites 60 clm5 compas

TABLE is what `proda streams build radiocarbon` wrote. Sites are a random choice (seed 0) of the
profiles with two or more 14C values of the same profile, of which those with at most 8 layers of
carbon are taken: one compiled program then serves all. Runs that are there are not done again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from proda import files
from proda.column.column import prepare
from proda.forcing import Forcing
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.assimilation_settings import check
from proda.inference.batch import pad
from proda.inference.padded_sites import PADDED, assemble, with_streams
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.runner import work
from proda.inference.sampling import SamplingProblem
from proda.inference.site_summary import predict
from proda.inference.target import Site
from proda.radiocarbon.distribution_of_ages import ages
from proda.streams.table import StreamTable, read

SETTINGS = {
    "draws": 100,
    "chains": 2,
    "options": {"warm_up": 1500, "kept": 3000, "replicas": 5},
}
TOGETHER = 24
OF_AGE = 50
"""Draws of each site whose mean age is computed."""


def chosen(profiles: Profiles, table: StreamTable, forcing: Path, n: int) -> list[str]:
    """Return the sites of the comparison."""
    with files.open_dataset(forcing) as opened:
        there = opened["site"].to_numpy().astype(str)
    rows = table.rows[table.rows["matched"] == "profile"]
    count = rows.groupby("site").size()
    able = count[(count >= 2) & count.index.isin(there)].index.to_numpy(str)
    names = sorted(np.random.default_rng(0).choice(able, min(n, len(able)), replace=False))
    layers = profiles.n_layers[pd.Index(profiles.site).get_indexer(names)]
    return [str(name) for name, k in zip(names, layers, strict=True) if k <= PADDED[0]]


def told(
    problem: SamplingProblem, sites: Site, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return modelled carbon and Delta14C of draws (site, draw, parameter in physical units)."""
    rows = problem.target(sites).rows  # type: ignore[attr-defined]
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper for row in rows]) - lower
    if values.shape[2] < len(rows):  # carbon alone has no error of 14C
        values = np.concatenate([values, np.full((*values.shape[:2], 1), 60.0)], axis=2)
    u = np.clip((values - lower) / width, 1e-9, 1.0 - 1e-9)
    n, draws, _ = u.shape
    more = sites.measured.mask.shape[0] - n
    u = np.pad(u, ((0, more), (0, TOGETHER - draws % TOGETHER), (0, 0)), mode="edge")
    found = predict(problem, sites, jnp.asarray(u))
    delta = np.asarray(found.streams["radiocarbon"][0])
    return np.asarray(found.modelled)[:n, :draws], delta[:n, :draws]


def mean_ages(problem: SamplingProblem, forcing: Forcing, values: np.ndarray) -> np.ndarray:
    """Return the mean age of the first metre of draws, (site, draw), yr."""
    model = problem.model

    @eqx.filter_jit
    def of(values: dict, columns: object) -> jax.Array:
        def one(p: dict, column: object) -> jax.Array:
            state = model.steady_state(p, column)  # type: ignore[arg-type]
            return ages(model, state.pools, p, column)["mean_age_0_100"]  # type: ignore[arg-type]

        return jax.vmap(lambda p, c: jax.vmap(lambda q: one(q, c))(p))(values, columns)

    some = values[:, :: values.shape[1] // OF_AGE]
    named = {row.name: jnp.asarray(some[:, :, k]) for k, row in enumerate(model.rows)}
    return np.asarray(of(named, prepare(forcing)))


def judged(delta: np.ndarray, observed: np.ndarray, scale: np.ndarray) -> str:
    """Return how values are met: RMSE, NSE, correlation and coverage."""
    mean = delta.mean(axis=1)
    error = mean - observed
    nse = 1.0 - (error**2).sum() / ((observed - observed.mean()) ** 2).sum()
    low, high = np.quantile(delta, [0.05, 0.95], axis=1)
    noise = np.random.default_rng(0).standard_t(4, size=delta.shape)
    wide = np.quantile(delta + scale[:, None] * noise, [0.05, 0.95], axis=1)
    inside = [((a <= observed) & (observed <= b)).mean() for a, b in ((low, high), wide)]
    return (
        f"RMSE {np.sqrt((error**2).mean()):.0f} permil, bias {error.mean():+.0f}, NSE {nse:.2f}, "
        f"r {np.corrcoef(mean, observed)[0, 1]:.2f}, in 90 % of the mean {inside[0]:.2f}, "
        f"predictive {inside[1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("profiles", "forcing", "table", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--only", choices=["carbon", "both"], help="this run alone")
    given = parser.parse_args()
    every, table = read_profiles(given.profiles), read(given.table)
    names = chosen(every, table, given.forcing, given.sites)
    profiles = every.select(pd.Index(every.site).get_indexer(names))
    with files.open_dataset(given.forcing) as opened:
        place = pd.Index(opened["site"].to_numpy().astype(str)).get_indexer(names)
        forcing = Forcing.from_dataset(opened.isel(site=place).load())
    plain = assemble(profiles, forcing, "layer_mean")
    sites = pad(with_streams(plain, profiles.site, forcing, [table]), given.sites)
    data = sites.streams["radiocarbon"]
    mask = np.asarray(data.mask)[: len(names)]
    observed = np.asarray(data.observed)[: len(names)][mask]
    rows = table.rows.set_index("site").loc[names]
    depth = np.concatenate([0.5 * (rows.loc[[n], "upper"] + rows.loc[[n], "lower"]) for n in names])
    used = np.concatenate([mask[i, : len(rows.loc[[n]])] for i, n in enumerate(names)])
    band = np.digitize(depth[used], [0.1, 0.3, 0.6, 1.0, 2.0])
    mean = np.array([observed[band == b].mean() for b in band])
    print(f"{len(names)} sites, {len(observed)} values of 14C")
    print(f"mean per depth: RMSE {np.sqrt(((observed - mean) ** 2).mean()):.0f} permil")
    for model in given.models:
        both = check(model=model, streams={"radiocarbon": given.table}, **SETTINGS)
        problem = both.build()
        drawn, age = {}, {}
        kinds = [given.only] if given.only else ["carbon", "both"]
        for kind in kinds:
            folder = given.out / f"{model}_{kind}"
            settings = both if kind == "both" else check(model=model, **SETTINGS)
            if not (folder / "run.json").is_file():
                where = (folder, settings, given.profiles, given.forcing)
                create(*where, sites=names, width=given.sites)
            begun = time.process_time()
            work(Run(folder))
            print(f"{model} {kind}: {time.process_time() - begun:.0f} s of processor time")
            draws, summary = open_posterior(folder)
            found = draws["posterior"].sel(site=names).to_numpy().astype(float)
            drawn[kind] = found.reshape(len(names), -1, found.shape[3])
            carbon, delta = told(problem, sites, drawn[kind])
            scale = (
                drawn[kind][:, :, -1].mean(axis=1) if kind == "both" else np.full(len(names), 60)
            )
            of_value = np.repeat(scale, mask.sum(axis=1))
            print("  14C:", judged(np.moveaxis(delta, 1, 2)[mask], observed, of_value))
            there = np.asarray(sites.measured.mask)[: len(names)]
            measured = np.asarray(sites.measured.carbon)[: len(names)]
            off = (np.log(carbon).mean(axis=1) - np.log(measured))[there]
            rhat = float(summary["rank_rhat"].max("parameter").median())
            print(f"  carbon: rms of ln {np.sqrt((off**2).mean()):.2f}; median R-hat {rhat:.2f}")
            age[kind] = mean_ages(problem, forcing, drawn[kind])
            middle = np.median(age[kind], axis=1)
            width = np.diff(np.quantile(age[kind], [0.05, 0.95], axis=1), axis=0)[0]
            print(
                f"  mean age of 0-100 cm: median over sites {np.median(middle):.0f} yr (5-95 % "
                f"{np.quantile(middle, 0.05):.0f}-{np.quantile(middle, 0.95):.0f}), width of the "
                f"90 % interval {np.median(width):.0f} yr"
            )
        if len(kinds) < 2:
            continue
        ratio = [np.diff(np.quantile(a, [0.05, 0.95], axis=1), axis=0)[0] for a in age.values()]
        print(f"  width of the mean age, both over carbon: {np.median(ratio[1] / ratio[0]):.2f}")
        older = np.median(age["both"], axis=1) / np.median(age["carbon"], axis=1)
        print(f"  mean age, both over carbon: {np.median(older):.2f}")
        for k, row in enumerate(problem.model.rows):
            narrow = np.median(
                drawn["both"][:, :, k].std(axis=1) / drawn["carbon"][:, :, k].std(axis=1)
            )
            u = (drawn["both"][:, :, k].mean(axis=1) - row.lower) / (row.upper - row.lower)
            print(
                f"  {row.name:14s} sd x {narrow:.2f}; in the lowest fifth of its prior at "
                f"{(u < 0.2).mean():.0%} of sites, in the highest at {(u > 0.8).mean():.0%}"
            )


if __name__ == "__main__":
    main()
