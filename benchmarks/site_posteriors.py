"""What assimilation at sites finds and costs: limits, evidence and evaluations by zone.

proda run examples/real.toml real --until compas/assimilation
python -m benchmarks.site_posteriors real

The kept results are those of all sites, and by sampler those of `sites = 1100` in its
`[assimilation]`. These are chosen to spread over latitudes, where profiles are few in the north.
Evaluations of all profiles are therefore estimated zone by zone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import machine, write_report
from benchmarks.study_results import table
from proda.comparison.model_files import OpenedModel
from proda.comparison.preference import preference_table, site_differences
from proda.files import open_netcdf
from proda.inference.assessment import Filter, assess
from proda.inference.assimilation_run import open_posterior
from proda.inference.assimilation_settings import AssimilationSettings
from proda.latitude import BANDS, bands
from proda.layout import RunFolder

RESULTS = Path(__file__).parent / "results"
MODELS = ("clm5", "compas")
GOOD, KEPT, STEADY = "R-hat < 1.02 and ESS >= 200", "study's filter", "evidence error <= 0.1"
"""What sites may meet; the last is the error up to which a site does not begin again."""
LAYERS = {"2-3 layers": 3, "4-5 layers": 5, "6-8 layers": 8, "9+": np.inf}
"""Groups of sites, by their largest number of layers."""


def facts(summary: xr.Dataset) -> pd.DataFrame:
    """Return one row for each site: which limits it meets, and its evaluations."""
    sites = assess(summary, Filter()).sites.set_index("site")
    ess = sites[["ess_bulk", "ess_tail"]].min(axis=1)
    error = summary["log_evidence_error"].to_numpy()
    return pd.DataFrame(
        {
            "zone": bands(sites["latitude"].to_numpy()),
            "layers": sites["n_layers"],
            GOOD: (sites["rank_rhat"] < 1.02) & (ess >= 200),
            KEPT: sites["kept"],
            STEADY: error <= 0.1,
            "smallest ESS": ess,
            "evaluations": summary["evaluations"].to_numpy(),
        },
        index=sites.index,
    )


def shares(sites: pd.DataFrame, by: pd.Series, model: str) -> pd.DataFrame:
    """Return the shares that meet each limit, and evaluations, by group."""
    rows = []
    for group, own in [("all", sites), *sites.groupby(by, sort=False)]:
        used = own["evaluations"]
        rows.append(
            {
                "model": model,
                "sites of": group,
                "sites": len(own),
                **{name: f"{own[name].mean():.1%}" for name in (GOOD, KEPT, STEADY)},
                "smallest ESS, median (10 %)": f"{own['smallest ESS'].median():.0f} "
                f"({own['smallest ESS'].quantile(0.1):.0f})",
                "evaluations, median (mean, 95 %)": f"{used.median():,.0f} ({used.mean():,.0f}, "
                f"{used.quantile(0.95):,.0f})",
            }
        )
    return pd.DataFrame(rows)


def expected(sites: pd.DataFrame, everywhere: np.ndarray) -> tuple[float, float]:
    """Return the evaluations of all profiles and the standard error, from the mean of each zone."""
    total = variance = 0.0
    for zone, count in pd.Series(bands(everywhere)).value_counts().items():
        used = sites.loc[sites["zone"] == zone, "evaluations"]
        total += count * used.mean()
        variance += count**2 * used.var() / len(used)
    return total, float(np.sqrt(variance))


def _total(model: str, sites: pd.DataFrame, everywhere: np.ndarray) -> str:
    """Return a line of the evaluations at the sites, and of those of all profiles if more."""
    line = f"- {model}: {sites['evaluations'].sum() / 1e6:,.0f} million evaluations at "
    line += f"{len(sites):,} sites"
    if len(sites) == len(everywhere):
        return f"{line}, {sites['evaluations'].mean():,.0f} each."
    total, error = expected(sites, everywhere)
    return (
        f"{line}; at all {len(everywhere):,} usable profiles about {total / 1e9:.2f} (standard "
        f"error {error / 1e9:.2f}) billion, {total / len(everywhere):,.0f} each."
    )


def evidence(
    summaries: dict[str, xr.Dataset], sites: dict[str, pd.DataFrame], covariates: pd.DataFrame
) -> pd.DataFrame:
    """Return the preference of sites within the limits, by zone: all, and of steady evidence."""
    models = {
        m: OpenedModel(m, {}, summaries[m], sites[m][[GOOD]].set_axis(["kept"], axis=1))
        for m in MODELS
    }
    differences = site_differences(*models.values())
    steady = np.logical_and.reduce([s.loc[differences["site"], STEADY] for s in sites.values()])
    tables = []
    for what, of in (("all", differences), (STEADY, differences.isel(site=steady))):
        found = preference_table(models, {MODELS: of}, covariates)
        found = found[(found["criterion"] == "log_evidence") & (found["sites"] > 0)]
        found.insert(0, "sites of", what)
        tables.append(found)
    columns = ["sites of", "zone", "sites", "median", "low", "high"]
    return pd.concat(tables)[[*columns, "share_first_by_3", "share_second_by_3"]]


def main() -> None:
    place = RunFolder(Path(sys.argv[1]))
    with open_netcdf(place.sites) as forcing:
        everywhere = forcing["latitude"].to_numpy()
    summaries = {m: open_posterior(place.assimilation(m))[1] for m in MODELS}
    every = {m: facts(summaries[m]) for m in MODELS}
    by_zone, by_layers, totals = [], [], []
    for model, sites in every.items():
        order = sites.sort_values("zone", key=lambda z: z.map([name for name, _ in BANDS].index))
        by_zone.append(shares(order, order["zone"], model))
        order = sites.sort_values("layers")
        groups = pd.cut(order["layers"], [0, *LAYERS.values()], labels=list(LAYERS)).astype(str)
        by_layers.append(shares(order, groups, model).iloc[1:])
        totals.append(_total(model, sites, everywhere))
    sampler = AssimilationSettings.model_validate_json(summaries["clm5"].attrs["settings"]).sampler
    whole = len(sites) == len(everywhere)
    write_report(
        RESULTS / f"site_posteriors_{'all' if whole else sampler}.md",
        [
            f"# Posteriors of real sites, by {sampler}",
            "",
            "    proda run examples/real.toml real --until compas/assimilation",
            "    python -m benchmarks.site_posteriors real",
            "",
            machine(),
            f"{len(everywhere):,} usable profiles; "
            + ("" if whole else f"`sites = {len(sites)}` and ")
            + f"`sampler = {sampler!r}` in `[assimilation]`.",
            "",
            "## Limits and evaluations",
            "",
            *table(pd.concat(by_zone)),
            *table(pd.concat(by_layers)),
            *totals,
            "",
            "## Log evidence, COMPAS less CLM5",
            "",
            "Sites within the limits for both models; 95 % interval of the median.",
            "",
            *table(evidence(summaries, every, pd.read_parquet(place.covariates))),
        ],
    )


if __name__ == "__main__":
    main()
