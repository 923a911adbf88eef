"""What the posteriors of sites say of the components, before any network: do models agree there?

    python -m benchmarks.site_components STUDY [--models clm5 compas]

STUDY is the folder of a study with the route from posteriors. At every site that is kept for both
models the components are computed with the mean parameters of the posterior, and with single draws.
Printed are correlations over sites, with the interval of the effective number of sites: between the
models (mean parameters), and within each model between two draws of different chains. Where two
draws of one model hardly correlate, the profile of a site does not determine the component, and a
correlation between models is that of the forcing and the prior.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import machine, write_report
from proda import simulate
from proda.comparison.spatial import correlation_test
from proda.files import open_dataset
from proda.forcing import Forcing
from proda.inference.assimilation_run import open_posterior
from proda.layout import RunFolder
from proda.models.registry import load_model

SHOWN = ("CTE", "K", "XI", "B", "V", "litter_to_soil", "residence_time")


def kept(study: RunFolder, model: str) -> set[str]:
    table = pd.read_csv(study.site_table(model), dtype={"site": str})
    return set(table.loc[table["verdict"] == "kept", "site"])


def components(model: str, values: xr.DataArray, forcing: Forcing) -> pd.DataFrame:
    """Return the components of every site with these parameters (site, parameter)."""
    own = load_model(model)
    known = {row.name for row in own.rows}
    given = {
        str(p): values.sel(parameter=p).to_numpy()
        for p in values["parameter"].to_numpy()
        if str(p) in known
    }
    found = simulate.components(own, given, forcing, bounds="physical")
    table = pd.DataFrame({name: found[name].to_numpy() for name in SHOWN})
    table.loc[found["reason"].to_numpy() != 0] = np.nan
    return table.assign(residence_time=np.log(table["residence_time"].where(lambda t: t > 0)))


def correlations(a: pd.DataFrame, b: pd.DataFrame, places: xr.Dataset) -> dict[str, str]:
    results = {}
    for name in SHOWN:
        use = (np.isfinite(a[name]) & np.isfinite(b[name])).to_numpy()
        x, y = a[name].to_numpy()[use], b[name].to_numpy()[use]
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            results[name] = "-"
            continue
        test = correlation_test(
            x, y, places["latitude"].to_numpy()[use], places["longitude"].to_numpy()[use]
        )
        results[name] = f"{test.r:.2f} ({test.low:.2f} to {test.high:.2f})"
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--models", nargs=2, default=("clm5", "compas"))
    given = parser.parse_args()
    study = RunFolder(given.study)
    sites = sorted(set.intersection(*(kept(study, m) for m in given.models)))
    with open_dataset(study.sites) as opened:
        place = pd.Index(opened["site"].to_numpy().astype(str)).get_indexer(pd.Index(sites))
        drivers = opened.isel(site=place).load()
    forcing = Forcing.from_dataset(drivers)
    means, rows = {}, {}
    for model in given.models:
        draws, summary = open_posterior(study.assimilation(model))
        means[model] = components(model, summary["posterior_mean"].sel(site=sites), forcing)
        chains = draws["posterior"].sel(site=sites).isel(draw=-1).load()
        one, two = (components(model, chains.isel(chain=c), forcing) for c in (0, 1))
        rows[f"within {model}: two draws"] = correlations(one, two, drivers)
    between = correlations(means[given.models[0]], means[given.models[1]], drivers)
    rows = {"between the models: mean parameters": between, **rows}
    table = [f"| | {' | '.join(SHOWN)} |", "|---|" + "---|" * len(SHOWN)]
    table += [f"| {name} | {' | '.join(row.values())} |" for name, row in rows.items()]
    print("\n".join(table))
    write_report(
        given.study / "site_components.md",
        [machine(), "", f"{len(sites):,} sites kept for both models.", "", *table],
    )


if __name__ == "__main__":
    main()
