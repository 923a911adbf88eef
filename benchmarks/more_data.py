"""What other kinds of data add at real sites: carbon alone, both, and the other kind alone.

    python -m benchmarks.more_data run PROFILES SITES.nc TABLE OUT clm5 compas --sites 160
    python -m benchmarks.more_data judge OUT clm5 compas
    python -m benchmarks.more_data train PROFILES SITES.nc COVARIATES.parquet TABLE OUT clm5 compas

TABLE is what `proda streams build` wrote. Each run predicts all data, those that it does not fit
too (`held_out`), so that each kind of data is left out once. Sites have at most 8 layers of carbon
and 16 values: one compiled program then serves all. For values that belong to profiles (14C), they
are those with two or more values of the same profile; for the others, those with a value in the
same cell. `--which many` has those with more layers or values instead, up to 32 of each, `--which
most` those with more than that, and `--which cell` those whose two or more values were measured in
the same cell, not at the profile.
They come in a random order (seed 0), in parts of `--part` sites; runs that are there are
not done again, and after `--seconds` no more part is started, so that the sites done are a random
choice at any time. `benchmarks.gpu_streams` does the same at all sites on a GPU, and writes the
same files.

`train` trains networks end to end on carbon alone and on both, at all sites with 14C and a random
choice (seed 0) of others, and compares how they meet 14C and carbon at held-out blocks of the map.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.checksums import file_digest
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.padded_sites import PADDED
from proda.inference.problem import checked_settings
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.runner import work
from proda.inference.site_summary import join
from proda.inference.stream_fit import AGE, narrowing, scores
from proda.layout import HELD_OUT_PARAMETERS
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.stream_skill import held_out_streams, stream_skill
from proda.learning.through_model import train_end_to_end
from proda.learning.unseen_file import read_unseen
from proda.plots.streams import stream_scatter
from proda.plots.style import save
from proda.streams.bulk_radiocarbon import DEGREES
from proda.streams.registry import STREAMS
from proda.streams.respiration import SD
from proda.streams.stream import Stream, on_scale
from proda.streams.table import SUMMARY, TABLE, StreamTable, read


def kinds(stream: str) -> dict[str, list[str]]:
    """Return runs, by what they fit, and what they hold out."""
    return {"carbon": [stream], "both": [], stream: ["carbon"]}


KINDS = kinds("radiocarbon")
MOST = 16
"""Values of a site."""
Which = Literal["few", "many", "most", "cell"]
"""Sites with few layers and values; with more, up to 32; with more; of values in the same cell."""
BANDS = (0.1, 0.3, 0.6, 1.0, 2.0)
"""Limits of the depths (m) at which the rival without a model has its means."""
NODES = 400


def settings_of(
    model: str, kind: str, stream: str, table: Path, options: dict[str, int], **more: Any
) -> AssimilationSettings:
    """Return the settings of a run, with the options of its sampler."""
    held_out = kinds(stream)[kind]
    return checked_settings(
        model=model, streams={stream: table}, held_out=held_out, options=options, **more
    )


def chosen(
    profiles: Profiles, table: StreamTable, forcing: Path, which: Which = "few"
) -> list[str]:
    """Return the sites of the comparison, in random order."""
    with files.open_dataset(forcing) as opened:
        there = opened["site"].to_numpy().astype(str)
    count = table.rows.groupby("site").size()
    layers = pd.Series(profiles.n_layers, index=profiles.site).reindex(count.index)
    few = (count <= MOST) & (layers <= PADDED[0])
    many = (count <= PADDED[1]) & (layers <= PADDED[1]) & ~few
    fits = {"many": many, "most": ~few & ~many}.get(which, few)
    own = table.rows[table.rows["matched"] == "profile"].groupby("site").size()
    if len(own):
        at_profile = own.reindex(count.index).fillna(0) >= 2
        fits &= (~at_profile & (count >= 2)) if which == "cell" else at_profile
    fits &= count.index.isin(there)
    return [str(name) for name in np.random.default_rng(0).permutation(count.index[fits])]


def at_sites(table: StreamTable, names: list[str], folder: Path) -> Path:
    """Write the rows of a table at some sites, to whose largest number all sites are padded."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = table.rows[table.rows["site"].isin(names)].reset_index(drop=True)
    files.write_parquet(rows, folder / TABLE)
    made = table.made.model_copy(update={"table": file_digest(folder / TABLE)})
    (folder / SUMMARY).write_text(made.model_dump_json() + "\n", encoding="utf-8")
    return folder


def run(given: argparse.Namespace) -> None:
    """Assimilate every kind of data, part by part, and write what `judge` reads."""
    table, begun = read(given.table), time.time()
    stream = table.stream.name
    names = chosen(read_profiles(given.profiles), table, given.forcing, given.which)
    own = given.out / "table"
    if not own.is_dir():
        at_sites(table, names, own)
    names = names[: given.sites]
    print(f"{stream}: {len(names)} sites", flush=True)
    done: dict[tuple[str, str], list[xr.Dataset]] = {
        (model, kind): [] for model in given.models for kind in given.kinds or kinds(stream)
    }
    while time.time() - begun < given.seconds:
        n, (model, kind) = min((count_of(parts), of) for of, parts in done.items())
        if n == len(names):
            break
        settings = settings_of(model, kind, stream, own, given.options, sampler="smc")
        part, name = names[n : n + given.part], f"{model}_{kind}"
        parts = done[model, kind]
        parts.append(
            sampled(given.out / f"{name}_{n}", part, settings, given.profiles, given.forcing)
        )
        files.write_netcdf(join(parts).assign_attrs(parts[0].attrs), given.out / f"{name}.nc")


def count_of(parts: list[xr.Dataset]) -> int:
    """Return the number of sites of some runs."""
    return sum(part.sizes["site"] for part in parts)


def sampled(folder: Path, names: list[str], settings: Any, profiles: Path, forcing: Path) -> Any:
    """Return the summary of a run, which is made where it is not there."""
    if not (folder / "run.json").is_file():
        create(folder, settings, profiles, forcing, sites=names)
    begun, opened = time.process_time(), Run(folder)
    fresh = not opened.complete
    work(opened)
    if fresh:
        took = time.process_time() - begun
        print(
            f"{folder.name}: {len(opened.sites)} sites, {took:.0f} s of processor time", flush=True
        )
    return open_posterior(folder)[1].load()


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


def stream_of(summary: xr.Dataset) -> Stream:
    """Return the stream beside carbon that a run has."""
    return STREAMS[str(summary.attrs["streams"])]()


def at(summary: xr.Dataset, here: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the sites of the values of the stream at some sites, and all about these values."""
    row = f"row_{stream_of(summary).name}"
    site = summary[f"{row}_site"].to_numpy().astype(str)
    use = summary[f"{row}_used"].to_numpy().astype(bool) & np.isin(site, here)
    names = ("upper", "lower", "observed", "modelled")
    found = {n: summary[f"{row}_{n}"].to_numpy()[use] for n in names}
    found["quantile"] = summary[f"{row}_quantile"].transpose("quantile", row).to_numpy()[:, use]
    return site[use], found


def bootstrap(site: np.ndarray, *of: np.ndarray) -> tuple[float, float]:
    """Return the standard deviations of RMSE and NSE when sites are drawn again."""
    rng, (observed, modelled) = np.random.default_rng(0), of
    groups = [np.flatnonzero(site == name) for name in np.unique(site)]
    found = []
    for _ in range(400):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        found.append([scores(observed[rows], modelled[rows])[n] for n in ("rmse", "nse")])
    return tuple(np.nanstd(found, axis=0))  # type: ignore[return-value]


def of_stream(summary: xr.Dataset, here: np.ndarray, fitted: bool) -> str:
    """Return how the values of the stream at some sites are met, on the scale of its error."""
    stream = stream_of(summary)
    site, own = at(summary, here)
    names = ("observed", "modelled", "quantile")
    observed, mean, quantile = (on_scale(own[n], stream.scale) for n in names)
    scale = np.full(len(observed), error_of(stream))
    if fitted and f"{stream.name}_error" in summary["parameter"]:
        mine = summary["posterior_mean"].sel(parameter=f"{stream.name}_error").to_pandas()
        scale = mine[site].to_numpy()
    rng = np.random.default_rng(0)
    heavy = stream.name == "radiocarbon"
    shape = (NODES, len(observed))
    noise = rng.standard_t(DEGREES, size=shape) if heavy else rng.standard_normal(shape)
    wide = between(quantile, summary["quantile"].to_numpy(), scale * noise)
    ends = ((quantile[0], quantile[-1]), wide)
    inside = [((a <= observed) & (observed <= b)).mean() for a, b in ends]
    s, (rmse, nse) = scores(observed, mean), bootstrap(site, observed, mean)
    return (
        f"{stream.name} ({stream.scale}): {len(observed)} values, RMSE {s['rmse']:.3g} +- "
        f"{rmse:.2g}, bias {s['bias']:+.3g}, NSE {s['nse']:.2f} +- {nse:.2f}, r {s['r']:.2f}, in "
        f"90 % of the modelled {inside[0]:.2f}, predictive {inside[1]:.2f}"
    )


def of_bands(summary: xr.Dataset, here: np.ndarray) -> str:
    """Return RMSE and bias of the values of the stream in each band of depth."""
    stream = stream_of(summary)
    own = at(summary, here)[1]
    observed, mean = (on_scale(own[n], stream.scale) for n in ("observed", "modelled"))
    band = np.digitize(0.5 * (own["upper"] + own["lower"]), BANDS)
    found = []
    for b in np.unique(band):
        s, n = scores(observed[band == b], mean[band == b]), (band == b).sum()
        above = f"to {BANDS[b]:g} m" if b < len(BANDS) else f"beyond {BANDS[-1]:g} m"
        found.append(f"{above} ({n}) {s['rmse']:.3g}, {s['bias']:+.3g}")
    return "RMSE and bias by depth of the middle: " + "; ".join(found)


def error_of(stream: Stream) -> float:
    """Return the scale of the error where none was estimated: its default."""
    return SD if stream.name == "respiration" else stream.rows[0].default


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
    stream = stream_of(summary)
    site, own = at(summary, here)
    observed = on_scale(own["observed"], stream.scale)
    middle = 0.5 * (own["upper"] + own["lower"])
    band = np.digitize(middle, BANDS)
    mean = np.array([observed[band == b].mean() for b in band])
    rmse, sd = scores(observed, mean)["rmse"], bootstrap(site, observed, mean)[0]
    return f"mean per depth of these values: RMSE {rmse:.3g} +- {sd:.2g}"


def widths(summary: xr.Dataset, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and width of the 90 % interval of the mean age of the first metre, by site."""
    low, middle, high = (
        summary[AGE].sel(site=here).sel(quantile=q, method="nearest").to_numpy()
        for q in (0.05, 0.5, 0.95)
    )
    return middle, high - low


def judge_model(folder: Path, model: str, plots: Path | None) -> None:
    """Print what the runs of one model say, at the sites that all of them have sampled."""
    found: dict[str, xr.Dataset] = {}
    for kind in ("carbon", "both", *STREAMS):
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
            f" {kind}: median over sites of the largest R-hat {float(rhat.median()):.3f}, of the "
            f"smallest effective size {float(bulk.median()):.0f} (10 %: "
            f"{float(bulk.quantile(0.1)):.0f}); R-hat below 1.02 at "
            f"{float((rhat < 1.02).mean()):.0%}"
        )
        if "evaluations" in summary:
            each = summary["evaluations"].sel(site=here)
            print(f"   evaluations of a site, median {float(each.median()):,.0f}")
        print("  ", of_stream(summary, here, kind != "carbon"))
        if stream_of(summary).layered:
            print("  ", of_bands(summary, here))
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            save(stream_scatter(summary), plots / f"{model}_{kind}.png")
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
    (old, wide), (new, narrow) = widths(carbon, here), widths(both, here)
    for what, ratio in (("mean age", new / old), ("its width", narrow / wide)):
        low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
        print(f" {what}, both over carbon: {middle:.2f} (quartiles {low:.2f}-{high:.2f})")
    for row in narrowing(both, carbon).to_dict("records"):
        text = f"  {row['quantity']:24s} width x {row['width']:.2f}"
        if row["quantity"] in both["parameter"]:
            of = {"parameter": row["quantity"], "site": here}
            mean = [s["posterior_mean"].sel(of) for s in (carbon, both)]
            wide = [m["upper"] - m["lower"] for m in mean]
            before, u = (((m - m["lower"]) / w).to_numpy() for m, w in zip(mean, wide, strict=True))
            moved = ((mean[1] - mean[0]) / carbon["posterior_sd"].sel(of)).to_numpy()
            text += (
                f"; place in the prior, median {np.median(before):.2f} -> {np.median(u):.2f}, "
                f"moved by {np.median(moved):+.2f} sd; in the lowest fifth at "
                f"{(u < 0.2).mean():.0%} of sites, in the highest at {(u > 0.8).mean():.0%}"
            )
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
    changed = {"members": given.members, "inverted_share": 0.0} | given.set
    settings = EndToEndSettings(**changed)
    for model in given.models:
        for kind in given.kinds:
            streams = {"radiocarbon": given.table} if kind == "both" else {}
            folder, begun = given.out / f"{model}_{kind}", time.process_time()
            result = train_end_to_end(
                some,
                folder,
                profiles=given.profiles,
                forcing=given.forcing,
                model=model,
                settings=settings,
                folds=given.folds,
                fold_members=given.fold_members,
                baselines=("depth",),
                streams=streams,
            )
            print(f"{model} {kind}: {result.ensemble.n_sites} sites, ", end="")
            print(f"{time.process_time() - begun:.0f} s of processor time", flush=True)
            if result.skill is None:  # without folds
                continue
            columns = ["method", "log_r2", "rmse_log", "bias_log", "lost"]
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
    layers = layers.select(np.flatnonzero(pd.Index(layers.profiles.site).isin(held.index)))
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
    made.add_argument("--sites", type=int, default=160)
    made.add_argument("--which", choices=get_args(Which), default="few")
    made.add_argument("--part", type=int, default=20, help="sites of a run")
    made.add_argument("--seconds", type=float, default=1e9, help="no more part is started after")
    made.add_argument("--kinds", nargs="+", help="by default all")
    made.add_argument("--options", type=json.loads, default={"descents": 0}, help="of smc")
    made.set_defaults(do=run)
    told = verbs.add_parser("judge")
    told.add_argument("out", type=Path)
    told.add_argument("models", nargs="+")
    told.add_argument("--plots", type=Path, help="folder of figures, measured against modelled")
    told.set_defaults(
        do=lambda given: [judge_model(given.out, m, given.plots) for m in given.models]
    )
    learnt = verbs.add_parser("train")
    for name in ("profiles", "forcing", "covariates", "table", "out"):
        learnt.add_argument(name, type=Path)
    learnt.add_argument("models", nargs="+")
    learnt.add_argument(
        "--kinds", nargs="+", default=["carbon", "both"], choices=["carbon", "both"]
    )
    learnt.add_argument("--others", type=int, default=1500, help="sites without 14C")
    learnt.add_argument("--members", type=int, default=2)
    learnt.add_argument("--fold-members", type=int, default=2)
    learnt.add_argument("--folds", type=int, default=5)
    learnt.add_argument(
        "--set", type=json.loads, default={}, help="other settings of EndToEndSettings, as JSON"
    )
    learnt.set_defaults(do=train)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
