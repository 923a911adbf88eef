"""All structures at the sites where they were assimilated: agreement before and after, microbes.

    python -m benchmarks.structures SITES.nc COVARIATES.parquet OUT clm5_run compas_run ...

SITES.nc needs the site properties of the models (`proda forcing add-properties`). "Before" are the
default parameters, "after" the means over draws of the posterior. Every pair of models is compared
at the sites that both have, with as many effective degrees of freedom as the fields allow.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

import proda
from proda import files
from proda.column.column import Column, prepare
from proda.comparison.choice_inputs import open_choice
from proda.comparison.choice_of_many import evidence_table, site_scores, stacking_table
from proda.comparison.preference import preference_table, site_differences
from proda.comparison.spatial import correlation_test, difference_of_correlations
from proda.default_b import MEAN_B
from proda.inference.site_summary import SiteReason
from proda.models.components import components
from proda.models.model import SoilModel

COMPARED = ("carbon_0_100", "CTE", "K", "XI", "B", "V", "residence_time")
LOGARITHMIC = ("carbon_0_100", "residence_time", "K", "V")
MICROBES = "microbial_share_0_15"
TOP = 1.0
"""Carbon above this depth is compared, m."""


def answers(model: SoilModel) -> Any:
    """Return a compiled function of parameters and columns: carbon above 1 m and components."""

    def one(values: dict, column: Column) -> dict:
        state = model.steady_state(values, column)
        grid = column.grid
        inside = jnp.clip(TOP - (grid.interface - grid.thickness), 0.0, grid.thickness)
        found = components(model, state.pools, values, column)
        found = {name: found[name] for name in (*COMPARED[1:], MICROBES) if name in found}
        found["carbon_0_100"] = (state.soil_carbon * inside).sum()
        return {name: jnp.where(state.reason == 0, value, jnp.nan) for name, value in found.items()}

    return jax.jit(jax.vmap(one))


def before_and_after(name: str, run: Path, forcing: xr.Dataset, most: int) -> pd.DataFrame:
    """Return what a model says of its sites, by default and as a mean over posterior draws."""
    summary = files.load(files.open_dataset(run / "summary.nc", result=True), run / "summary.nc")
    summary = summary.isel(site=(summary["reason"] == int(SiteReason.SAMPLED)).to_numpy())
    wanted = set(forcing["site"].to_numpy())
    sites = [s for s in summary["site"].to_numpy().astype(str) if s in wanted][:most]
    drivers = proda.Forcing.from_dataset(forcing.sel(site=sites))
    model, columns = proda.load_model(name), prepare(drivers)
    solve, index = answers(model), pd.Index(sites, name="site")
    b = {"b": MEAN_B} if name == "clm5" else {}
    default = proda.default_parameters(model, drivers, **b)
    before = solve(
        {row.name: jnp.asarray(default[row.name].to_numpy()) for row in model.rows}, columns
    )
    draws = files.open_dataset(run / "posterior.zarr", result=True)["posterior"]
    draws = draws.assign_coords(site=draws["site"].to_numpy().astype(str)).sel(site=sites).load()
    sums: dict[str, np.ndarray] = {}
    n_chains, n_draws = draws.sizes["chain"], draws.sizes["draw"]
    for i, j in product(range(n_chains), range(n_draws)):
        one = draws.isel(chain=i, draw=j).astype(float)
        values = {
            row.name: jnp.asarray(one.sel(parameter=row.name).to_numpy()) for row in model.rows
        }
        for key, value in solve(values, columns).items():
            sums[key] = sums.get(key, 0.0) + np.asarray(value)
    after = {key: value / (n_chains * n_draws) for key, value in sums.items()}
    parts = {"before": jax.tree.map(np.asarray, before), "after": after}
    return pd.concat(
        [pd.DataFrame(part, index=index).assign(state=state) for state, part in parts.items()]
    ).assign(model=name)


def pairs(table: pd.DataFrame, place: pd.DataFrame) -> pd.DataFrame:
    """Correlate every pair of models in both states, at the sites that have all four answers."""
    rows = []
    for first, second in combinations(sorted(table["model"].unique()), 2):
        of = {
            (name, state): table[(table["model"] == name) & (table["state"] == state)]
            for name in (first, second)
            for state in ("before", "after")
        }
        for variable in COMPARED:
            joined = pd.concat({key: one[variable] for key, one in of.items()}, axis=1)
            if variable in LOGARITHMIC:
                joined = np.log(joined.where(joined > 0))
            joined = joined.dropna()
            where = place.loc[joined.index]
            tests = {}
            for state in ("before", "after"):
                x, y = (joined[name, state].to_numpy() for name in (first, second))
                if len(x) < 50 or np.std(x) < 1e-9 or np.std(y) < 1e-9:
                    continue
                tests[state] = correlation_test(
                    x, y, where["latitude"].to_numpy(), where["longitude"].to_numpy()
                )
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "variable": variable,
                        "state": state,
                        **asdict(tests[state]),
                    }
                )
            if len(tests) == 2:
                ends = [(t.r, t.n_effective) for t in (tests["before"], tests["after"])]
                gain, low, high = difference_of_correlations(*ends)
                rows[-1] |= {"gain": gain, "gain_low": low, "gain_high": high}
    return pd.DataFrame(rows)


def microbes(table: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles over sites of the microbial share of carbon in 0-15 cm, %."""
    known = table.dropna(subset=[MICROBES])
    grouped = (100.0 * known[MICROBES]).groupby([known["model"], known["state"]])
    quantiles = {f"{100 * q:g} %": grouped.quantile(q) for q in (0.05, 0.5, 0.95)}
    return pd.DataFrame({**quantiles, "sites": grouped.size()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("forcing")
    parser.add_argument("covariates")
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=1100, help="sites with components, per model")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    climate = pd.read_parquet(given.covariates, columns=["site", "koppen_class"])
    models = open_choice([str(run) for run in given.runs])
    for name, chosen in (
        ("passing", models),
        ("sampled", {key: replace(model, sites=None) for key, model in models.items()}),
    ):
        choice = site_scores(chosen, climate)
        evidence = evidence_table(choice)
        evidence.to_csv(given.out / f"evidence_{name}.csv", index=False)
        stacking_table(choice).to_csv(given.out / f"stacking_{name}.csv", index=False)
        print(name, evidence[evidence["grouping"] == "all"].round(3).to_string(), flush=True)
    every = {key: replace(model, sites=None) for key, model in models.items()}
    apart = {pair: site_differences(*(every[n] for n in pair)) for pair in combinations(every, 2)}
    preference = preference_table(every, apart, climate)
    preference.to_csv(given.out / "preference.csv", index=False)
    with files.open_dataset(given.forcing) as opened:
        forcing = opened.load()
    forcing = forcing.assign_coords(site=forcing["site"].to_numpy().astype(str))
    fewest = {n: m.summary.sizes["site"] for n, m in models.items() if m.summary is not None}
    print("sites", fewest, flush=True)
    # Models that were assimilated everywhere are compared where the others were.
    widest = max((n for n in fewest if fewest[n] <= given.most), key=lambda n: fewest[n])
    summary = models[widest].summary
    assert summary is not None
    forcing = forcing.sel(site=summary["site"].to_numpy().astype(str))
    parts = []
    for name, run in zip((run.name for run in given.runs), given.runs, strict=True):
        parts.append(before_and_after(name, run, forcing, given.most))
        print(name, "done", flush=True)
    table = pd.concat(parts)
    table.to_parquet(given.out / "components.parquet")
    place = pd.DataFrame(
        {key: forcing[key].to_numpy() for key in ("latitude", "longitude")},
        index=pd.Index(forcing["site"].to_numpy().astype(str)),
    )
    similar = pairs(table, place)
    similar.to_csv(given.out / "pairs.csv", index=False)
    print(similar.groupby(["variable", "state"])["r"].describe().round(2).to_string())
    stocks = microbes(table)
    stocks.to_csv(given.out / "microbes.csv")
    print(stocks.round(2).to_string())


if __name__ == "__main__":
    main()
