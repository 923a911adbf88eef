"""Make the run folder of `proda assimilate` from what a GPU brought back.

    python -m benchmarks.gpu_run PROFILES SITES.nc FOLDER clm5.0.npz clm5.1.npz --jax 0.11.2

The folder is that of a finished run, but for its draws: some of each chain, not all. Everything in
its summary comes from all draws, with the precision that `benchmarks.gpu_posteriors` keeps.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.gpu_pack import joined
from benchmarks.gpu_posteriors import BY_PRIOR, CARBON, KEPT, LOG_STEPS
from proda import files
from proda.inference.assimilation_run import Run, create
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.profiles import Profiles
from proda.inference.site_summary import QUANTILES
from proda.inference.target import sampled_rows
from proda.layout import SUMMARY

SITE_DIMENSIONS: dict[str, tuple[str, ...]] = {
    "acceptance": ("chain",),
    "log_evidence": ("chain",),
    "posterior_quantile": ("quantile", "parameter"),
    **dict.fromkeys(
        (
            "posterior_mean",
            "posterior_sd",
            "gelman_rubin",
            "rank_rhat",
            "ess_bulk",
            "ess_tail",
            "spread_reduction",
            "information_gain",
        ),
        ("parameter",),
    ),
}
"""Dimensions beside the site, of what has any."""


def shares(array: np.ndarray) -> np.ndarray:
    """Return shares of the prior range from 16 bits."""
    return np.where(array == 65535, np.nan, array / 65534.0)


def carbon(array: np.ndarray) -> np.ndarray:
    """Return carbon, g m-3, from the 16 bits of its logarithm."""
    return np.where(array == 0, np.nan, np.exp((array.astype(float) - 32768) / LOG_STEPS))


def summary_of(found: dict[str, np.ndarray], profiles: Profiles, rows: Any) -> xr.Dataset:
    """Return summary and draws of all sites, in the order of `profiles`."""
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper - row.lower for row in rows])
    place = {name: i for i, name in enumerate(found["site"])}
    order = np.array([place[name] for name in profiles.site])
    # Rows lie in the order of the files' sites.
    counts = dict(zip(profiles.site, profiles.n_layers, strict=True))
    first = np.concatenate([[0], np.cumsum([counts[name] for name in found["site"]])])
    row = np.concatenate([np.arange(first[i], first[i + 1]) for i in order])
    data: dict[str, Any] = {
        "posterior": (
            ("site", "chain", "draw", "parameter"),
            (lower + shares(found["draws"][order]) * width).astype(np.float32),
        ),
        "log_likelihood": (("site", "chain", "draw"), found["draw_log_likelihood"][order]),
    }
    for name, array in found.items():
        if name in ("site", "draws", "draw_log_likelihood"):
            continue
        if name in CARBON:
            along = ("quantile", "row") if array.ndim == 2 else ("row",)
            data[name] = (along, carbon(array[..., row]))
        elif name == "row_used":
            data[name] = ("row", array[row])
        else:
            value = array[order]
            if name in BY_PRIOR:
                value = shares(value) * width + (0.0 if name == "posterior_sd" else lower)
            elif value.dtype.kind == "f":
                value = value.astype(float)
            data[name] = (("site", *SITE_DIMENSIONS.get(name, ())), value)
    names = np.repeat(profiles.site, profiles.n_layers)
    data |= {
        "row_site": ("row", names),
        "row_upper": ("row", profiles.upper),
        "row_lower": ("row", profiles.lower),
        "row_observed": ("row", profiles.carbon),
    }
    return xr.Dataset(
        data,
        coords={
            "site": profiles.site,
            "chain": np.arange(found["draws"].shape[1]),
            "draw": np.arange(KEPT),
            "parameter": [row.name for row in rows],
            "quantile": list(QUANTILES),
            "latitude": ("site", profiles.latitude),
            "longitude": ("site", profiles.longitude),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles")
    parser.add_argument("forcing")
    parser.add_argument("folder", type=Path)
    parser.add_argument("found", nargs="+", type=Path)
    parser.add_argument("--jax", required=True, help="version of JAX on the GPU's machine")
    parser.add_argument("--sampler", choices=("tempered", "smc"), default="tempered")
    parser.add_argument("--option", nargs="*", default=[], help="of the sampler, NAME=NUMBER")
    given = parser.parse_args()
    options = {name: int(value) for name, value in (o.split("=") for o in given.option)}
    model = given.found[0].name.split(".")[0]
    found = joined(given.found)
    run = create(
        given.folder,
        AssimilationSettings(model=model, sampler=given.sampler, options=options),
        given.profiles,
        given.forcing,
        sites=found["site"].tolist(),
        platform="gpu",
    )
    about = json.loads((given.folder / "run.json").read_text())
    with files.whole_file(given.folder / "run.json") as temporary:
        temporary.write_text(json.dumps(about | {"jax": given.jax}, indent=2) + "\n")
    run = Run(given.folder)
    rows = sampled_rows(run.problem.model, run.problem.likelihood)
    whole = summary_of(found, run.profiles, rows)
    whole.attrs["thinned"] = f"{KEPT} draws of each chain are kept, statistics are of all 400"
    drawn = ["posterior", "log_likelihood"]
    thinned = run._described(whole[drawn]).chunk({"site": 512})
    files.write_zarr(thinned, given.folder / "posterior.zarr")
    files.write_netcdf(run._described(whole.drop_vars([*drawn, "draw"])), given.folder / SUMMARY)
    shutil.rmtree(given.folder / "blocks", ignore_errors=True)
    print(f"{given.folder}: {model}, {whole.sizes['site']} sites")


if __name__ == "__main__":
    main()
