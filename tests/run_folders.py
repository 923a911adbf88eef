"""A synthetic finished run: ten sites whose verdicts and intervals are known by construction."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm

from proda import files
from proda.inference.assimilation_run import Description
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.site_summary import QUANTILES
from proda.models.registry import load_model

LATITUDE = np.array([70.0, 60.0, 50.0, 30.0, 0.0, -10.0, -30.0, -23.5, 10.0, -70.0])
REASON = np.array([0, 0, 0, 0, 0, 1, 3, 0, 0, 0], np.int8)
GELMAN_RUBIN = np.array([1.01, 1.01, 1.2, 1.02, 1.0, np.nan, np.nan, np.nan, 1.049, 1.01])
RANK_RHAT = np.array([1.02, 1.02, 1.5, 1.03, 1.01, np.nan, np.nan, np.nan, 1.3, 1.02])
ESS = np.array([400.0, 400, 5, 300, 500, np.nan, np.nan, np.nan, 50, 400])
NSE = np.array([0.9, -0.5, -1.0, 0.2, 0.5, np.nan, np.nan, 0.7, 0.8, np.nan])
PARETO_K = np.array([0.8, 0.1, 0.9, 0.2, 0.3, np.nan, np.nan, 0.4, 0.75, 0.1])
VERDICT = [
    "kept",
    "poor fit",
    "not converged",
    "kept",
    "kept",
    "no posterior",
    "no posterior",
    "not converged",
    "kept",
    "poor fit",
]
SHIFTS = (0.0, 0.1, 0.3)
"""Log of modelled over measured of the layers of a site; the posterior's log sd is 0.1."""
NAMES = ["fs3s1", "tau4s3", "efolding", "b"]
GAIN = np.array([0.3, 0.05, 1.2, 0.6])


def made_summary(*, estimate: bool = False, published: bool = False) -> xr.Dataset:
    """Return the summary of the run; `estimate`: with a sampled error of 0.5 at every site."""
    rows = [row for row in load_model("clm5").rows if row.name in NAMES]
    rows = sorted(rows, key=lambda row: NAMES.index(row.name))
    lower, upper = [r.lower for r in rows], [r.upper for r in rows]
    names, units = [r.name for r in rows], [r.unit for r in rows]
    components: list[str] = [r.component for r in rows]
    gain = GAIN
    if estimate:
        lower, upper, names = [*lower, 0.05], [*upper, 1.0], [*names, "error_sd"]
        units, components, gain = [*units, "1"], [*components, "error"], np.append(gain, 0.0)
    sampled = np.where(REASON == 0, 1.0, np.nan)[:, None]
    n, d = len(LATITUDE), len(names)
    site = np.array([f"s{i}" for i in range(n)])
    share = np.tile(np.linspace(0.3, 0.7, n)[:, None], d)
    mean = np.array(lower) + share * np.subtract(upper, lower)
    if estimate:
        mean[:, -1] = 0.5
    flat = sampled * np.ones(d)
    # The mean over parameters is as told; the largest and smallest stand at one parameter only.
    gelman_rubin = GELMAN_RUBIN[:, None] + np.linspace(-0.01, 0.01, d)
    gelman_rubin[7] = [np.nan, *[1.0] * (d - 1)]
    rank = np.where(np.arange(d) == 1, RANK_RHAT[:, None], 1.0 * flat)
    ess = np.where(np.arange(d) == 2, ESS[:, None], 1000.0 * flat)
    layers = np.repeat(np.arange(n), [3] * (n - 1) + [1])
    place = np.concatenate([np.arange(3)] * (n - 1) + [np.arange(1)])
    observed = 20000.0 * np.exp(-0.5 * place)
    modelled = observed * np.exp(np.array(SHIFTS)[place]) * sampled[layers, 0]
    pair = ("site", "parameter")
    data = {
        "reason": ("site", REASON.copy()),
        "n_layers": ("site", np.bincount(layers)),
        "acceptance": (("site", "chain"), np.full((n, 2), 0.25) * sampled),
        "posterior_mean": (pair, mean * sampled),
        "posterior_sd": (pair, 0.1 * np.subtract(upper, lower) * flat),
        "gelman_rubin": (pair, gelman_rubin),
        "rank_rhat": (pair, rank),
        "ess_bulk": (pair, ess),
        "ess_tail": (pair, 2.0 * ess),
        "spread_reduction": (pair, 0.5 * flat),
        "information_gain": (pair, gain * sampled),
        "nash_sutcliffe": ("site", NSE.copy()),
        "rmse": ("site", 100.0 * sampled[:, 0]),
        "row_site": ("row", site[layers]),
        "row_upper": ("row", 0.2 * place),
        "row_lower": ("row", 0.2 * place + 0.2),
        "row_used": ("row", np.ones(len(place), bool)),
        "row_observed": ("row", observed),
        "row_modelled": ("row", modelled),
        "row_quantile": (
            ("quantile", "row"),
            modelled * np.exp(0.1 * norm.ppf(QUANTILES))[:, None],
        ),
    }
    if not published:
        data |= {"pareto_k": ("site", PARETO_K.copy()), "elpd_loo": ("site", -30.0 * sampled[:, 0])}
    settings = AssimilationSettings(
        likelihood="published-clm5" if published else "log-normal",
        error_sd="estimate" if estimate else 0.25,
    )
    return xr.Dataset(
        data,
        {
            "site": site,
            "chain": [0, 1],
            "parameter": names,
            "quantile": list(QUANTILES),
            "latitude": ("site", LATITUDE),
            "longitude": ("site", np.linspace(-170.0, 170.0, n)),
            "lower": ("parameter", lower),
            "upper": ("parameter", upper),
            "unit": ("parameter", units),
            "component": ("parameter", components),
        },
        {
            "model": "clm5",
            "variant": "default",
            "proda_version": "0",
            "profiles": "p",
            "forcing": "f",
            "settings": settings.model_dump_json(),
            "is_posterior": "NO: annealed draws" if published else "yes",
        },
    )


def made_run(folder: Path, *, estimate: bool = False, published: bool = False) -> Path:
    """Write a run folder with that summary, and draws to match."""
    folder.mkdir()
    summary = made_summary(estimate=estimate, published=published)
    n, d = summary.sizes["site"], summary.sizes["parameter"]
    noise = np.random.default_rng(5).uniform(-1.0, 1.0, (n, 2, 60, d))
    mean, sd = (summary[f"posterior_{x}"].to_numpy()[:, None, None] for x in ("mean", "sd"))
    draws = xr.Dataset(
        {"posterior": (("site", "chain", "draw", "parameter"), (mean + sd * noise))},
        {"site": summary["site"], "parameter": summary["parameter"]},
    )
    files.write_zarr(
        draws.drop_vars(
            ["latitude", "longitude", "unit", "component", "lower", "upper"], errors="ignore"
        ),
        folder / "posterior.zarr",
    )
    files.write_netcdf(summary, folder / "summary.nc")
    pd.DataFrame({"site": summary["site"].to_numpy(), "block": 0}).to_parquet(
        folder / "sites.parquet"
    )
    description = Description(
        proda="0",
        jax="0",
        platform="cpu",
        created="now",
        profiles="p",
        profile_tables={},
        settings=AssimilationSettings.model_validate_json(summary.attrs["settings"]),
        forcing="f",
        n_sites=n,
        sites=hashlib.sha256((folder / "sites.parquet").read_bytes()).hexdigest(),
        block_size=n,
        width=n,
    )
    (folder / "run.json").write_text(description.model_dump_json())
    return folder
