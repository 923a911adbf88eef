"""Two synthetic models whose maps and sites say what the paper says, or its opposite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.comparison import ModelFiles
from proda.drivers.grids import cell_area
from proda.inference.assimilation_settings import AssimilationSettings
from proda.maps.map_variables import STOCKS
from proda.models.registry import load_model

LAT, LON = np.arange(77.5, -60, -5.0), np.arange(-175.0, 180, 10.0)
SHAPE = (len(LAT), len(LON))
STEPS = {
    "cSoilAbove1m": (30.0, 8.0, 9.0),
    "CTE": (0.6, 0.5, 0.4),
    "K": (0.5, 0.3, 0.2),
    "XI": (0.1, 0.2, 0.3),
    "V": (0.1, 0.1, 0.1),
    "B": (0.5, 0.5, 0.5),
    "I": (300.0, 500.0, 900.0),
    "litter_to_soil": (0.3, 0.3, 0.3),
    "residence_time": (90.0, 30.0, 15.0),
}
"""Values of boreal, temperate and tropical land."""
TROPICAL = (3.5, 8.0, 25.0)
"""Soil carbon of a model that stores most in the tropics."""
COLD = ((55, 73, 105, 160), (58, 71.5, -168, -141))


def field(steps, seed, noise=0.1):
    """Return a map by zone with noise of its own at every cell."""
    lat = np.broadcast_to(LAT[:, None], SHAPE)
    zone = np.select([lat >= 50, np.abs(lat) < 23.5], [steps[0], steps[2]], steps[1])
    return zone * np.exp(noise * np.random.default_rng(seed).standard_normal(SHAPE))


def made_map(model, carbon, seed, factors=None, members=1, swap=()):
    """Return a map whose variables follow STEPS; `swap` turns boreal and tropics round."""
    data = {}
    for i, (name, steps) in enumerate(STEPS.items()):
        steps = carbon if name == "cSoilAbove1m" else steps
        steps = steps[::-1] if name in swap else steps
        own = 0 if name == "I" else 100 * seed + i  # both models get the same input
        values = field(steps, own) * (factors or {}).get(name, 1.0)
        unit = "kg m-2" if name == "cSoilAbove1m" else "1"
        data[name] = (("lat", "lon"), values, {"units": unit, "long_name": name})
    for name in ("soc_0_30", "soc_0_200", "cSoil"):
        data[name] = (("lat", "lon"), 1.5 * data["cSoilAbove1m"][1], {"units": "kg m-2"})
    area = cell_area(LAT, LON)
    carbon_of_row = (data["cSoilAbove1m"][1] * area).sum(axis=1) * 1e-6 * 0.5
    spread = 1.0 + 0.1 * np.linspace(-1, 1, members) if members > 1 else np.ones(1)
    each = spread[:, None, None] * carbon_of_row[:, None] * np.ones(len(STOCKS))
    fraction = np.full(SHAPE, 0.5)
    covered = np.tile((area * fraction).sum(axis=1), (members, 1))
    if model == "compas":
        data["michaelis_over_DOC"] = (("lat", "lon"), field((150.0, 120.0, 110.0), seed, 0.01))
        data["michaelis_over_mSOC"] = (("lat", "lon"), field((300.0, 90.0, 400.0), seed, 0.01))
    return xr.Dataset(
        {
            **data,
            "cell_area": (("lat", "lon"), area),
            "land_fraction": (("lat", "lon"), fraction),
            "reason": (("lat", "lon"), np.zeros(SHAPE)),
            "member_carbon": (("realization", "lat", "stock"), each),
            "member_area": (("realization", "lat"), covered),
        },
        coords={
            "lat": LAT,
            "lon": LON,
            "stock": [s.name for s in STOCKS],
            "realization": np.arange(members),
        },
        attrs={"model": model},
    )


def made_summary(model, evidence, layers=4, likelihood="log-normal", gain=None):
    """Return the summary of an assimilation at sites with a given log evidence."""
    rows = load_model(model).rows
    n, d = len(evidence), len(rows)
    lower, upper = np.array([r.lower for r in rows]), np.array([r.upper for r in rows])
    middle = np.tile(0.5 * (lower + upper), (n, 1))
    site = [f"s{i}" for i in range(n)]
    place = np.repeat(np.arange(n), layers)
    observed = 1e4 * np.exp(-np.tile(np.arange(layers), n) / 2)
    gains = np.array([(gain or {}).get(r.component, 0.2) for r in rows])
    quantile = np.stack([lower + q * (upper - lower) for q in (0.05, 0.95)])
    return xr.Dataset(
        {
            "reason": ("site", np.zeros(n, np.int8)),
            "n_layers": ("site", np.full(n, layers)),
            "log_evidence": (("site", "chain"), np.stack([evidence - 0.1, evidence + 0.1], 1)),
            "elpd_loo": ("site", 0.5 * evidence),
            "elpd_waic": ("site", 0.6 * evidence),
            "pareto_k": ("site", np.where(np.arange(n) % 2, 0.9, 0.1)),
            "gelman_rubin": (("site", "parameter"), np.ones((n, d))),
            "nash_sutcliffe": ("site", np.full(n, 0.8)),
            "posterior_mean": (("site", "parameter"), middle),
            "posterior_quantile": (("site", "quantile", "parameter"), np.tile(quantile, (n, 1, 1))),
            "information_gain": (("site", "parameter"), np.tile(gains, (n, 1))),
            "spread_reduction": (("site", "parameter"), np.full((n, d), 0.05)),
            "row_site": ("row", np.array(site)[place]),
            "row_used": ("row", np.ones(len(place), bool)),
            "row_observed": ("row", observed),
            "row_modelled": ("row", 1.1 * observed),
        },
        coords={
            "site": site,
            "latitude": ("site", np.linspace(-50, 70, n)),
            "longitude": ("site", np.linspace(-100, 100, n)),
            "chain": [0, 1],
            "quantile": [0.05, 0.95],
            "parameter": [r.name for r in rows],
            "lower": ("parameter", lower),
            "upper": ("parameter", upper),
            "component": ("parameter", [r.component for r in rows]),
        },
        attrs={
            "model": model,
            "variant": "default",
            "settings": AssimilationSettings(model=model, likelihood=likelihood).model_dump_json(),
        },
    )


EVIDENCE = np.linspace(-2.0, 6.0, 81)
"""log evidence of COMPAS minus CLM5 at 81 sites."""


def write_run(folder: Path, opposite: bool = False) -> dict[str, ModelFiles]:
    """Write a run folder as `proda run` makes it; `opposite`: models and states exchanged."""
    before = made_map("clm5", STEPS["cSoilAbove1m"], 1)
    carbon = before["cSoilAbove1m"].to_numpy()
    for south, north, west, east in COLD:  # East Siberia and Alaska hold most
        inside = ((south <= LAT) & (north > LAT))[:, None] & ((west <= LON) & (east > LON))
        carbon[inside] *= 2.5
    maps = {
        ("clm5", "default"): before,
        ("compas", "default"): made_map("compas", TROPICAL, 2),
        ("clm5", "maps"): made_map("clm5", (40.0, 12.0, 14.0), 3, {"CTE": 1.2}, members=5),
        ("compas", "maps"): made_map(
            "compas", (39.0, 13.0, 16.0), 4, {"K": 1.5, "litter_to_soil": 1.3}, members=5
        ),
    }
    summaries = {
        "clm5": made_summary("clm5", np.zeros(81)),
        "compas": made_summary("compas", EVIDENCE),
    }
    other = {"clm5": "compas", "compas": "clm5", "default": "maps", "maps": "default"}
    for (model, kind), dataset in maps.items():
        if opposite:
            model, kind = other[model], other[kind]
            dataset = dataset.assign_attrs(model=model)
        (folder / model).mkdir(parents=True, exist_ok=True)
        files.write_netcdf(dataset, folder / model / f"{kind}.nc")
    for model, summary in summaries.items():
        (folder / model / "assimilation").mkdir()
        files.write_netcdf(summary, folder / model / "assimilation" / "summary.nc")
        (folder / model / "diagnosis").mkdir()
        kept = pd.DataFrame({"site": summary["site"].to_numpy(), "kept": np.arange(81) != 40})
        kept.to_csv(folder / model / "diagnosis" / "sites.csv", index=False)
    zones = np.where(np.arange(81) < 40, "Af", "Dfc")
    table = pd.DataFrame({"site": [f"s{i}" for i in range(81)], "koppen_class": zones})
    table.to_parquet(folder / "covariates.parquet")
    reference = made_map("clm5", STEPS["cSoilAbove1m"], 9)["cSoilAbove1m"]
    stock = reference.assign_attrs(units="kgC m-2").to_dataset(name="soc_0_100_survey")
    files.write_netcdf(stock, folder / "reference.nc")
    return {
        m: ModelFiles(
            folder / m / "maps.nc",
            folder / m / "default.nc",
            folder / m / "assimilation" / "summary.nc",
            folder / m / "diagnosis" / "sites.csv",
        )
        for m in other
        if m in ("clm5", "compas")
    }
