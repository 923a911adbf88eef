"""How honest the published sampler is at real sites: its draws beside the posterior.

    python -m benchmarks.published_sampler PUBLISHED EXACT

Both are folders of `proda assimilate` with the same model, variant, likelihood (the published
cost), operator and sites; the sampler of EXACT is exact. Both have one target, so that every
difference is the sampler's. Prints a row of a table, over all sites where the exact draws have
converged and all parameters: the standard deviation over that of the posterior; the share of the
posterior in the intervals that should hold half and nine tenths of it; how far the mean is from the
posterior's, in standard deviations of the posterior; the correlation over sites of the means, which
networks learn; and the sites that the study's filter keeps.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import xarray as xr

from proda.inference.assimilation_run import open_posterior
from proda.inference.diagnostics.filter import Filter

SAME = ("model", "variant", "likelihood", "operator")
CONVERGED = {"max_rhat": 1.05, "min_ess": 100.0}
"""Of the worst parameter of the exact draws."""
HEADER = (
    "model",
    "sites",
    "sd over the posterior's, median (5-95 %)",
    "posterior in the 50 % interval",
    "in the 90 % interval",
    "distance of means, sd, median (95 %)",
    "r of means over sites, median (5-95 %)",
    "kept by the filter",
    "kept of the exact draws",
)


def draws_of(run: xr.Dataset, sites: np.ndarray) -> np.ndarray:
    """Return the draws of some sites (site, parameter, draw); NaN where a segment has none."""
    values = run["posterior"].sel(site=sites)
    array = values.transpose("site", "parameter", "chain", "draw").to_numpy().astype(float)
    return array.reshape(*array.shape[:2], -1)


def kept(summary: xr.Dataset) -> int:
    """Return how many sites the study's filter keeps."""
    gelman_rubin = summary["gelman_rubin"].mean("parameter")
    return int(
        Filter().apply(gelman_rubin, summary["nash_sutcliffe"], reason=summary["reason"])[0].sum()
    )


def compared(published: str, exact: str) -> list[str]:
    """Return the row of a pair of runs."""
    runs, summaries = zip(*(open_posterior(folder) for folder in (published, exact)), strict=True)
    settings = [json.loads(summary.attrs["settings"]) for summary in summaries]
    for name in SAME:
        if settings[0][name] != settings[1][name]:
            raise SystemExit(f"{name}: {settings[0][name]} and {settings[1][name]}.")
    sites = summaries[0]["site"].to_numpy()
    if not np.array_equal(np.sort(sites), np.sort(summaries[1]["site"].to_numpy())):
        raise SystemExit("The runs have different sites.")
    reference = summaries[1].sel(site=sites)
    ess = np.fmin(reference["ess_bulk"], reference["ess_tail"]).min("parameter")
    good = (ess >= CONVERGED["min_ess"]) & (
        reference["rank_rhat"].max("parameter") < CONVERGED["max_rhat"]
    )
    chosen = sites[good.to_numpy()]
    own, true = (draws_of(run, chosen) for run in runs)
    some = np.isfinite(own).any(axis=-1).all(axis=1)  # some accepted proposals are kept
    own, true = own[some], true[some]
    ratio = np.nanstd(own, axis=-1) / true.std(axis=-1)
    off = np.abs(np.nanmean(own, axis=-1) - true.mean(axis=-1)) / true.std(axis=-1)
    shares = []
    for low, high in ((0.25, 0.75), (0.05, 0.95)):
        ends = np.nanquantile(own, [low, high], axis=-1)[..., None]
        shares.append(((true >= ends[0]) & (true <= ends[1])).mean())
    means = np.nanmean(own, axis=-1), true.mean(axis=-1)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(m.T for m in means), strict=True)]
    spread, together = (np.quantile(x, [0.5, 0.05, 0.95]) for x in (ratio, r))
    n = len(sites)
    return [
        settings[0]["model"],
        f"{len(own)} of {n}",
        f"{spread[0]:.2f} ({spread[1]:.2f}-{spread[2]:.2f})",
        f"{100 * shares[0]:.0f} %",
        f"{100 * shares[1]:.0f} %",
        f"{np.median(off):.2f} ({np.quantile(off, 0.95):.2f})",
        f"{together[0]:.2f} ({together[1]:.2f}-{together[2]:.2f})",
        f"{kept(summaries[0])} of {n}",
        f"{kept(summaries[1])} of {n}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="published and exact run, in pairs")
    given = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    for pair in zip(given.runs[::2], given.runs[1::2], strict=True):
        print("| " + " | ".join(compared(*pair)) + " |", flush=True)


if __name__ == "__main__":
    main()
