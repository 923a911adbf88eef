"""A small synthetic study for the report: all stages of one model, some of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.drivers.covariates import write_table as write_covariates
from proda.inference.assessment import assess
from proda.inference.assimilation_run import open_posterior
from proda.inference.diagnostics.filter import Filter
from proda.layout import SKILL_CARBON, RunFolder, left_out_of
from proda.maps.map_variables import STOCKS
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping
from proda.study.diagnosis import write_kept, write_table
from proda.study.record import Record, StageRecord, write_record
from proda.study.settings import parse
from proda.study.toml import as_toml
from tests.run_folders import made_run

N_PROFILES = 14
FINDINGS = "id,section,paper,run,verdict,reason,rule\n"
ROWS = (
    "r_rises,3,r is -0.026,r is 0.10,disagrees,,by r\n"
    "b,3,r is 0.51,r is 0.60,agrees,,by r\n"
    "c,4,near first order,,cannot be judged,no draws <of> DOC,by ratio\n"
)


def record(folder: Path, *, synthetic: bool = False) -> Path:
    """Write a study.json as `proda run` does, and nothing else."""
    folder.mkdir(parents=True)
    stage = StageRecord(
        status="done",
        depends_on={},
        begun="2026-11-20T09:00:00+00:00",
        seconds=75.0,
        peak_memory_bytes=500_000_000,
        disk_bytes=2_000_000,
        finished="2026-11-20T10:00:00+00:00",
    )
    noted = Record(
        name="A synthetic <study>",
        synthetic=synthetic,
        proda_version="0.1.0",
        packages={"jax": "0.10.2"},
        machine={"cores": 2},
        stages={
            "profiles": stage,
            "clm5/assimilation": stage.model_copy(update={"seconds": 3600.0}),
        },
    )
    write_record(folder, noted)
    return folder


def write_settings(folder: Path, models: tuple[str, ...], route: str = "posterior") -> None:
    """Write study.toml as `proda run` does."""
    for name in ("layers", "profiles"):
        (folder / f"{name}.parquet").touch()
    settings = parse(
        {
            "study": {"name": "A synthetic <study>", "models": models, "seed": 3},
            "learning": {"route": route},
            "profiles": {"source": [{"reader": "tidy", "name": "survey", "folder": "."}]},
            "forcing": {"climate": "climate.nc"},
            "covariates": {"grid": "covariates.nc"},
        },
        "test",
        folder,
    )
    for name in ("layers", "profiles"):
        (folder / f"{name}.parquet").unlink()
    RunFolder(folder).settings_file.write_text(as_toml(settings), encoding="utf-8")


def made_map(path: Path, stock: np.ndarray, members: int = 1) -> None:
    """Write a map of 4 x 6 cells, one of them sea; each member holds 10 % more than the last."""
    lat, lon = np.array([65.0, 35.0, 5.0, -25.0]), np.arange(-150.0, 180.0, 60.0)
    pair = ("lat", "lon")
    area = np.full((4, 6), 1e6)
    reason = np.zeros((4, 6))
    reason[0, 0] = np.nan
    land = np.isfinite(reason)
    held = np.where(land, stock * area * 1e-6, 0.0).sum(axis=1)
    factors = 1.0 + 0.1 * np.arange(members)
    carbon = factors[:, None, None] * held[None, :, None] * np.ones(len(STOCKS))
    attrs = {"units": "kg m-2", "long_name": "soil carbon, 0-100 cm"}
    data = {
        "cSoilAbove1m": (pair, np.where(land, stock, np.nan), attrs),
        "reason": (pair, reason),
        "cell_area": (pair, area),
        "land_fraction": (pair, np.ones((4, 6))),
        "member_carbon": (("realization", "lat", "stock"), carbon),
        "member_area": (
            ("realization", "lat"),
            np.tile(np.where(land, area, 0.0).sum(axis=1), (members, 1)),
        ),
    }
    if members > 1:
        data["cSoilAbove1m_sd"] = (pair, np.where(land, 0.1 * stock, np.nan), attrs)
    coords = {
        "lat": lat,
        "lon": lon,
        "stock": [s.name for s in STOCKS],
        "realization": np.arange(members),
    }
    files.write_netcdf(xr.Dataset(data, coords, {"model": path.parent.name}), path)


def made_profiles(folder: Path) -> Path:
    """Build fourteen usable profiles and one that is too shallow."""
    folder.mkdir()
    lines = ["profile,lat,lon,layer,top,bottom,soc,bd"]
    for i in range(N_PROFILES + 1):
        deepest = 30.0 if i == N_PROFILES else 90.0
        lines += [
            f"{i},{-40 + 7 * i},{8 * i},{i}-{k},{k * deepest / 3},{(k + 1) * deepest / 3},"
            f"{20 - 5 * k},1.3"
            for k in range(3)
        ]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    named = {"profile_id": "profile", "lat": "lat", "lon": "lon", "layer_id": "layer"}
    units = {
        "upper_depth": ("top", "cm"),
        "lower_depth": ("bottom", "cm"),
        "soc": ("soc", "g kg-1"),
        "bulk_density": ("bd", "g cm-3"),
    }
    columns = {
        **{k: {"column": v} for k, v in named.items()},
        **{k: {"column": c, "unit": u} for k, (c, u) in units.items()},
    }
    source = {
        "reader": "csv",
        "name": "survey",
        "layers_file": str(folder / "table.csv"),
        "columns": columns,
    }
    build(from_mapping({"source": [source], "pedotransfer": "paper"}, "test"), folder / "build")
    return folder / "build"


def made_study(folder: Path) -> Path:
    """Write a study: profiles, assimilation and filter of CLM5, maps of both, some tables."""
    record(folder)
    write_settings(folder, ("clm5", "compas"))
    place = RunFolder(folder)
    made_profiles(folder / "raw").rename(place.profiles)
    left_out_of(place.sites).write_text("site,reason\nsurvey:3,beyond_limit\n")
    forcing = xr.Dataset({"x": ("site", [1.0])}, attrs={"title": "forcing of a test"})
    files.write_dataset(forcing, place.sites)
    covariates = pd.DataFrame({"site": ["survey:0"], "npp": [1.0]})
    covariates.attrs = {"covariates": {"npp": {"licence": "terms of WorldClim"}}}
    write_covariates(covariates, place.covariates)
    stock = 5.0 + np.arange(24.0).reshape(4, 6)
    for model in ("clm5", "compas"):
        (folder / model).mkdir()
        made_map(place.default_map(model), stock if model == "clm5" else 100.0 / stock)
        made_map(place.map(model), stock, members=3)
    made_run(place.assimilation("clm5"))
    place.diagnosis("clm5").mkdir()
    _, summary = open_posterior(place.assimilation("clm5"))
    found = assess(summary, Filter(1.03, 0.0))
    write_table(found, place.site_table("clm5"))
    write_kept(found, place.kept("clm5"))
    place.network("clm5").mkdir()
    (place.network("clm5") / SKILL_CARBON).write_text("method,r2\nnetwork,0.61\n")
    return folder
