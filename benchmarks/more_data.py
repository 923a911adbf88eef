"""What radiocarbon adds at real sites: carbon alone, both, and 14C alone.

    python -m benchmarks.more_data run PROFILES SITES.nc TABLE OUT clm5 compas --sites 60
    python -m benchmarks.more_data judge OUT clm5 compas
    python -m benchmarks.more_data train PROFILES SITES.nc COVARIATES.parquet TABLE OUT clm5 compas

TABLE is what `proda streams build radiocarbon` wrote. Each run predicts all data, those that it
does not fit too (`held_out`), so that each kind of data is left out once. Sites are a random choice
(seed 0) of the profiles with two or more 14C values of the same profile, of which those with at
most 8 layers of carbon are taken: one compiled program then serves all. Runs that are there are not
done again. `benchmarks.gpu_streams` does the same at all sites on a GPU, and writes the same files.

`train` trains networks end to end on carbon alone and on both, at all sites with 14C and a random
choice (seed 0) of others, and compares how they meet 14C and carbon at held-out blocks of the map.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.assimilation_settings import AssimilationSettings, check
from proda.inference.padded_sites import PADDED
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.runner import work
from proda.inference.stream_fit import AGE, narrowing
from proda.layout import HELD_OUT_PARAMETERS
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.stream_skill import held_out_streams, stream_skill
from proda.learning.through_model import train_end_to_end
from proda.learning.unseen_file import read_unseen
from proda.streams.bulk_radiocarbon import DEGREES
from proda.streams.table import StreamTable, read

KINDS: dict[str, list[str]] = {"carbon": ["radiocarbon"], "both": [], "radiocarbon": ["carbon"]}
"""Runs, by what they fit, and what they hold out."""
BANDS = (0.1, 0.3, 0.6, 1.0, 2.0)
"""Limits of the depths (m) at which the rival without a model has its means."""
ERROR_OF_CARBON_ALONE = 60.0
"""Scale (permil) of the error of 14C in the predictive interval where none was estimated."""
NODES = 400


def settings_of(
    model: str, kind: str, table: Path, steps: tuple[int, int], **more: Any
) -> AssimilationSettings:
    """Return the settings of a run, with its warm-up and kept steps."""
    options = {"warm_up": steps[0], "kept": steps[1]}
    streams = {"radiocarbon": table}
    return check(model=model, streams=streams, held_out=KINDS[kind], options=options, **more)


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


def run(given: argparse.Namespace) -> None:
    """Assimilate every kind of data, and write what `judge` reads."""
    table = read(given.table)
    names = chosen(read_profiles(given.profiles), table, given.forcing, given.sites)
    for model in given.models:
        for kind in given.kinds:
            folder = given.out / f"{model}_{kind}"
            settings = settings_of(
                model, kind, given.table, given.steps, chains=2, draws=given.draws
            )
            if not (folder / "run.json").is_file():
                where = (folder, settings, given.profiles, given.forcing)
                create(*where, sites=names, width=len(names))
            begun, opened = time.process_time(), Run(folder)
            work(opened)
            print(f"{model} {kind}: {time.process_time() - begun:.0f} s of processor time")
            _, summary = open_posterior(folder)
            files.write_netcdf(summary, given.out / f"{model}_{kind}.nc")


def between(quantile: np.ndarray, levels: np.ndarray, noise: np.ndarray) -> list[np.ndarray]:
    """Return the 5 and 95 % quantiles (row) of values of known quantiles (level, row) plus noise.

    Between and beyond the quantiles a value is linear in the standard normal quantile.
    """
    from scipy.stats import norm

    z, at = norm.ppf(levels), norm.ppf((np.arange(NODES) + 0.5) / NODES)
    left = np.clip(np.searchsorted(z, at) - 1, 0, len(z) - 2)
    share = ((at - z[left]) / (z[left + 1] - z[left]))[:, None]
    values = quantile[left] + share * (quantile[left + 1] - quantile[left])
    return list(np.quantile(values + noise, [0.05, 0.95], axis=0))


def of_radiocarbon(summary: xr.Dataset, here: np.ndarray, fitted: bool) -> str:
    """Return how the values of 14C at some sites are met."""
    row = "row_radiocarbon"
    site = summary[f"{row}_site"].to_numpy().astype(str)
    use = summary[f"{row}_used"].to_numpy().astype(bool) & np.isin(site, here)
    mean, observed = (summary[f"{row}_{n}"].to_numpy()[use] for n in ("modelled", "observed"))
    quantile = summary[f"{row}_quantile"].transpose("quantile", row).to_numpy()[:, use]
    scale = np.full(use.sum(), ERROR_OF_CARBON_ALONE)
    if fitted:
        own = summary["posterior_mean"].sel(parameter="radiocarbon_error").to_pandas()
        scale = own[site[use]].to_numpy()
    error = mean - observed
    nse = 1.0 - (error**2).sum() / ((observed - observed.mean()) ** 2).sum()
    rng = np.random.default_rng(0)
    noise = scale * rng.standard_t(DEGREES, size=(NODES, use.sum()))
    wide = between(quantile, summary["quantile"].to_numpy(), noise)
    ends = ((quantile[0], quantile[-1]), wide)
    inside = [((a <= observed) & (observed <= b)).mean() for a, b in ends]
    return (
        f"14C: {use.sum()} values, RMSE {np.sqrt((error**2).mean()):.0f} permil, bias "
        f"{error.mean():+.0f}, NSE {nse:.2f}, r {np.corrcoef(mean, observed)[0, 1]:.2f}, in 90 % "
        f"of the mean {inside[0]:.2f}, predictive {inside[1]:.2f}"
    )


def of_carbon(summary: xr.Dataset, here: np.ndarray) -> str:
    """Return how the carbon of some sites is met."""
    site = summary["row_site"].to_numpy().astype(str)
    use = summary["row_used"].to_numpy().astype(bool) & np.isin(site, here)
    observed = np.log(summary["row_observed"].to_numpy()[use])
    quantile = summary["row_quantile"].transpose("quantile", "row").to_numpy()[:, use]
    log = np.log(np.maximum(quantile, 1e-3))
    middle = log[len(log) // 2]
    inside = ((log[0] <= observed) & (observed <= log[-1])).mean()
    noise = 0.25 * np.random.default_rng(0).standard_normal((NODES, use.sum()))
    wide = between(log, summary["quantile"].to_numpy(), noise)
    within = ((wide[0] <= observed) & (observed <= wide[1])).mean()
    return (
        f"carbon: rms of ln {np.sqrt(((middle - observed) ** 2).mean()):.2f}, bias "
        f"{(middle - observed).mean():+.2f}, r {np.corrcoef(middle, observed)[0, 1]:.2f}, in 90 % "
        f"of the median {inside:.2f}, predictive {within:.2f}"
    )


def by_depth(summary: xr.Dataset, here: np.ndarray) -> str:
    """Return the misfit of the rival: the mean of the same values at each depth."""
    row = "row_radiocarbon"
    site = summary[f"{row}_site"].to_numpy().astype(str)
    use = summary[f"{row}_used"].to_numpy().astype(bool) & np.isin(site, here)
    upper, lower, o = (
        summary[f"{row}_{n}"].to_numpy()[use] for n in ("upper", "lower", "observed")
    )
    band = np.digitize(0.5 * (upper + lower), BANDS)
    mean = np.array([o[band == b].mean() for b in band])
    return f"mean per depth: RMSE {np.sqrt(((o - mean) ** 2).mean()):.0f} permil"


def widths(summary: xr.Dataset, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and width of the 90 % interval of the mean age of the first metre, by site."""
    low, middle, high = (
        summary[AGE].sel(site=here).sel(quantile=q, method="nearest").to_numpy()
        for q in (0.05, 0.5, 0.95)
    )
    return middle, high - low


def judge_model(folder: Path, model: str) -> None:
    """Print what the runs of one model say, at the sites that all of them have sampled."""
    found: dict[str, xr.Dataset] = {}
    for kind in KINDS:
        path = folder / f"{model}_{kind}.nc"
        if path.is_file():
            with files.open_netcdf(path) as opened:
                found[kind] = opened.load()
    if not found:
        print(f"{model}: no run in {folder}")
        return
    fine = [s["site"].to_numpy().astype(str)[(s["reason"] == 0).to_numpy()] for s in found.values()]
    here = np.array(sorted(set.intersection(*map(set, fine))))
    first = next(iter(found.values()))
    print(f"{model}: {len(here)} of {first.sizes['site']} sites; {by_depth(first, here)}")
    for kind, summary in found.items():
        rhat = summary["rank_rhat"].sel(site=here).max("parameter")
        bulk = summary["ess_bulk"].sel(site=here).min("parameter")
        middle, width = widths(summary, here)
        print(
            f" {kind}: median over sites of the largest R-hat {float(rhat.median()):.2f}, of the "
            f"smallest effective size {float(bulk.median()):.0f}"
        )
        print("  ", of_radiocarbon(summary, here, kind != "carbon"))
        print("  ", of_carbon(summary, here))
        print(
            f"   mean age of 0-100 cm: median over sites {np.median(middle):.0f} yr (5-95 % "
            f"{np.quantile(middle, 0.05):.0f}-{np.quantile(middle, 0.95):.0f}), width of the 90 % "
            f"interval {np.median(width):.0f} yr"
        )
    if {"carbon", "both"} <= set(found):
        narrowed(found["carbon"], found["both"], here)


def narrowed(carbon: xr.Dataset, both: xr.Dataset, here: np.ndarray) -> None:
    """Print what is narrower with both kinds of data than with carbon alone."""
    (old, _), (new, _) = widths(carbon, here), widths(both, here)
    print(f" mean age, both over carbon: {np.median(new / old):.2f}")
    for row in narrowing(both, carbon).to_dict("records"):
        text = f"  {row['quantity']:20s} width x {row['width']:.2f}"
        if row["quantity"] in both["parameter"]:
            at = both["posterior_mean"].sel(parameter=row["quantity"], site=here)
            u = ((at - at["lower"]) / (at["upper"] - at["lower"])).to_numpy()
            text += (
                f"; in the lowest fifth of its prior at {(u < 0.2).mean():.0%} of sites, in the "
            )
            text += f"highest at {(u > 0.8).mean():.0%}"
        print(text)


def train(given: argparse.Namespace) -> None:
    """Train end to end on carbon alone and on both, and print the skill at held-out places."""
    table = read(given.table)
    covariates = files.read_parquet(given.covariates, needed=("site",))
    names = covariates["site"].astype(str)
    own = names.isin(table.rows["site"].astype(str)).to_numpy()
    rng = np.random.default_rng(0)
    others = rng.choice(np.flatnonzero(~own), min(given.others, (~own).sum()), replace=False)
    chosen = np.sort(np.concatenate([np.flatnonzero(own), others]))
    given.out.mkdir(parents=True, exist_ok=True)
    some = given.out / "sites.parquet"
    covariates.iloc[chosen].to_parquet(some, index=False)
    settings = EndToEndSettings(members=given.members, inverted_share=0.0, epochs=given.epochs)
    for model in given.models:
        for kind, streams in (("carbon", {}), ("both", {"radiocarbon": given.table})):
            folder, begun = given.out / f"{model}_{kind}", time.process_time()
            result = train_end_to_end(
                some,
                folder,
                profiles=given.profiles,
                forcing=given.forcing,
                model=model,
                settings=settings,
                folds=given.folds,
                fold_members=given.members,
                baselines=("depth",),
                streams=streams,
            )
            print(f"{model} {kind}: {result.ensemble.n_sites} sites, ", end="")
            print(f"{time.process_time() - begun:.0f} s of processor time")
            columns = ["method", "log_r2", "rmse_log", "bias_log"]
            print(result.skill[result.skill["by"] == "all"][columns].round(3).to_string())
            skill = result.streams
            if skill is None:
                skill = stream_skill(of_carbon_alone(given, folder, model, some, table))
            print(skill.round(3).to_string(), flush=True)


def of_carbon_alone(
    given: argparse.Namespace, folder: Path, model: str, some: Path, table: StreamTable
) -> pd.DataFrame:
    """Return 14C by networks that have not learnt from it: with their mean parameters."""
    covariates = files.read_parquet(some, needed=("site",))
    layers = read_carbon_sites(given.profiles, given.forcing, covariates, model).layers
    held = pd.read_parquet(folder / HELD_OUT_PARAMETERS).set_index("site")
    layers = layers.select(np.flatnonzero(np.isin(layers.profiles.site, held.index)))
    held = held.loc[layers.profiles.site]
    rows = [row.name for row in layers.model.rows]
    fold, values = held["fold"].to_numpy(), held[rows].to_numpy()
    unseen = read_unseen(folder)
    assert unseen is not None
    constant = np.array([unseen["constant"][name] for name in rows])
    by_fold = {f: values[fold == f][None] for f in np.unique(fold).tolist()}
    return held_out_streams(
        layers, (table,), fold, by_fold, dict.fromkeys(by_fold, constant), {f: {} for f in by_fold}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    made = verbs.add_parser("run")
    for name in ("profiles", "forcing", "table", "out"):
        made.add_argument(name, type=Path)
    made.add_argument("models", nargs="+")
    made.add_argument("--sites", type=int, default=60)
    made.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    made.add_argument("--steps", type=int, nargs=2, default=(1500, 3000), help="warm-up, kept")
    made.add_argument("--draws", type=int, default=100)
    made.set_defaults(do=run)
    told = verbs.add_parser("judge")
    told.add_argument("out", type=Path)
    told.add_argument("models", nargs="+")
    told.set_defaults(do=lambda given: [judge_model(given.out, m) for m in given.models])
    learnt = verbs.add_parser("train")
    for name in ("profiles", "forcing", "covariates", "table", "out"):
        learnt.add_argument(name, type=Path)
    learnt.add_argument("models", nargs="+")
    learnt.add_argument("--others", type=int, default=1500, help="sites without 14C")
    learnt.add_argument("--members", type=int, default=2)
    learnt.add_argument("--folds", type=int, default=5)
    learnt.add_argument("--epochs", type=int, default=24)
    learnt.set_defaults(do=train)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
