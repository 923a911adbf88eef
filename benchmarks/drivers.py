"""Time and memory of the drivers at full size: half-degree forcing, 70,000 sites, CLM history.

    python -m benchmarks.drivers climate PATH/TO/climate_halfdeg.nc     forcing of every land cell
    python -m benchmarks.drivers sites FORCING.zarr [N]                 N synthetic sites
    python -m benchmarks.drivers clm [YEARS] [FOLDER]                   synthetic 0.5 degree history
    python -m benchmarks.drivers scalars PATH/TO/clm51_sparse.nc        against real CLM5.1 cells

Each prints its time and this process's peak memory; call it again for the spread.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.drivers import climate, clm, nearest_cells
from proda.drivers.climate_input import CLIMATE_VARIABLES, open_climate
from proda.drivers.forcing_summary import litter_totals, status_counts
from proda.drivers.soil_physics import freezing_potential, water_scalar
from proda.forcing import Forcing
from proda.grid import CLM5_GRID

DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def report(what: str, start: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: {time.perf_counter() - start:.1f} s, peak {peak:.2f} GB", flush=True)


def run_climate(path: str, out: str = "") -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(out or f"{folder}/forcing.zarr")
        lazy = climate.from_climate(open_climate(path))
        files.write_zarr(lazy, store)
        report("half-degree forcing, written", start)
        stored = files.open_dataset(store)
        print(status_counts(stored), litter_totals(stored))
        size = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
        print(f"{size / 1e6:.0f} MB on disk")
        opened = open_climate(path)
        land = (opened["land_mask"] == 1).to_numpy()
        rows = np.flatnonzero(land)[::100]
        names = [v.name for v in CLIMATE_VARIABLES]
        cells = {n: opened[n].to_numpy().ravel()[rows].astype(float) for n in names}
        latitude = np.repeat(opened["lat"].to_numpy(), opened.sizes["lon"])[rows]
        exact = climate.estimate_columns(cells, latitude)
        t, w = (
            stored[n].to_numpy().reshape(-1, 20, 12)[rows].astype(float)
            for n in ("soil_temperature", "w_scalar")
        )
        found = 3.0 ** ((t - 298.15) / 10) * w
        expected = 3.0 ** ((exact["soil_temperature"] - 298.15) / 10) * exact["w_scalar"]
        print(
            f"float32 on disk changes xi_T xi_W (q10 = 3) by at most "
            f"{np.max(np.abs(found / expected - 1)):.1e} on {len(rows)} cells"
        )


def run_sites(path: str, n: str = "70000") -> None:
    grid = files.open_dataset(path)
    row, column = np.nonzero(grid["status"].to_numpy() == 0)
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, len(row), int(n))
    shift = rng.uniform(-0.25, 0.25, (2, int(n)))
    sites = pd.DataFrame(
        {
            "site": np.arange(int(n)),
            "latitude": grid["lat"].to_numpy()[row[chosen]] + shift[0],
            "longitude": grid["lon"].to_numpy()[column[chosen]] + shift[1],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        dataset, nearest = nearest_cells.forcing_at_sites(grid, sites)
        files.write_dataset(dataset, f"{folder}/sites.zarr")
        report(f"{n} sites sampled and written", start)
        print(nearest.counts(), f"farthest {nearest.distance_km.max():.1f} km")
        start = time.perf_counter()
        print(len(Forcing.from_dataset(files.open_dataset(f"{folder}/sites.zarr"))), "columns")
        report("read back and checked as forcing, float64", start)


def write_month(path: Path, year: int, month: int, lat: np.ndarray, lon: np.ndarray) -> None:
    """One synthetic monthly file in CESM's format (netCDF-3, 64-bit offsets), of real size."""
    rng = np.random.default_rng(12 * year + month)
    ground = np.append(CLM5_GRID.node, [9.795, 13.33, 19.48, 28.87, 42.0])
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.createDimension("time", None)
        file.createDimension("hist_interval", 2)
        for name, axis in (("lat", lat), ("lon", lon), ("levgrnd", ground)):
            file.createDimension(name, len(axis))
            file.createVariable(name, "f4", (name,))[:] = axis
        clock = file.createVariable("time", "f8", ("time",))
        clock.units, clock.calendar, clock.bounds = "days since 1901-01-01", "noleap", "time_bounds"
        edges = file.createVariable("time_bounds", "f8", ("time", "hist_interval"))
        begin = 365 * (year - 1901) + sum(DAYS[: month - 1])
        clock[0], edges[0] = begin + DAYS[month - 1], [begin, begin + DAYS[month - 1]]
        layered = {
            "TSOI": ("K", 270, 30),
            "W_SCALAR": ("unitless", 0.1, 0.8),
            "O_SCALAR": ("unitless", 0.5, 0.5),
            "FPI_vr": ("proportion", 0.5, 0.5),
        }
        flat = {
            "ALTMAX": ("m", 1, 3),
            "ALTMAX_LASTYEAR": ("m", 1, 3),
            "LITFALL": ("gC/m^2/s", 0, 1e-5),
            "WOODC_LOSS": ("gC/m^2/s", 0, 1e-5),
        }
        for name, (unit, low, span) in (layered | flat).items():
            deep = ("levgrnd",) if name in layered else ()
            variable = file.createVariable(
                name, "f4", ("time", *deep, "lat", "lon"), fill_value=1e36
            )
            variable.units = unit
            variable[0] = low + span * rng.random(variable.shape[1:], dtype=np.float32)
        for name, value, deep in (("nbedrock", 15, ()), ("CELLSAND", 40, ("levgrnd",))):
            file.createVariable(name, "f4", (*deep, "lat", "lon"))[:] = value


def run_clm(years: str = "2", folder: str = "") -> None:
    lat, lon = np.arange(-89.75, 90, 0.5), np.arange(0.25, 360, 0.5)
    with tempfile.TemporaryDirectory(dir=folder or None) as place:
        paths = []
        for year in range(1901, 1901 + int(years)):
            for month in range(1, 13):
                paths.append(Path(place) / f"made.h0.{year}-{month:02d}.nc")
                write_month(paths[-1], year, month, lat, lon)
        total = sum(p.stat().st_size for p in paths) / 1e9
        print(f"{len(paths)} files, {total:.1f} GB")
        start = time.perf_counter()
        files.write_zarr(clm.from_clm(paths), Path(place) / "out.zarr")
        report(f"{years} years of half-degree history", start)
        found = files.open_dataset(Path(place) / "out.zarr")
        at = {"lat": 100, "lon": 500}
        means = []
        for path in paths[4::12]:
            with xr.open_dataset(path, decode_times=False) as source:
                here = source["TSOI"].isel(time=0, levgrnd=3, lat=100)
                means.append(float(here.sel(lon=float(found["lon"][500]) % 360)))
        print(
            f"one value: {float(found['soil_temperature'].isel(layer=3, month=4, **at)):.4f} K, "
            f"from the files {np.mean(means):.4f} K"
        )


def run_scalars(path: str) -> None:
    clm5 = xr.open_dataset(path)
    soil = (clm5["layer"] <= clm5["nbedrock_inferred"]).transpose(*clm5["SMP"].dims).to_numpy()
    alone = np.broadcast_to((clm5["PCT_LANDUNIT"].isel(landunit=0) > 99).to_numpy(), soil.shape)
    t, theirs = clm5["TSOI"].to_numpy(), clm5["W_SCALAR"].to_numpy()
    ours = water_scalar(clm5["SMP"].to_numpy() * 9.81e-6, floor=0.0)
    for what, chosen in (
        ("above 0 C, only vegetated land", soil & alone & (t > 273.15)),
        ("above 0 C, all cells", soil & (t > 273.15)),
    ):
        d = np.abs(ours - theirs)[chosen]
        quantiles = ", ".join(f"{q:.0%} {np.quantile(d, q):.3f}" for q in (0.5, 0.75, 0.9, 0.95))
        print(
            f"W of SMP, {what}: {chosen.sum()} values, |difference| {quantiles}, correlation "
            f"{np.corrcoef(ours[chosen], theirs[chosen])[0, 1]:.3f}"
        )
    bound = water_scalar(freezing_potential(t), floor=0.0)
    for low, high in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.7), (1.7, 3.0), (3.0, 30.0)):
        c = soil & (273.15 - t > low) & (273.15 - t <= high)
        print(
            f"{low:g}-{high:g} K below 0 C: {c.sum()} values, W_SCALAR {theirs[c].mean():.3f}, "
            f"W of the freezing potential {bound[c].mean():.3f}"
        )
    ratio = (clm5["T_SCALAR"] / 1.5 ** ((clm5["TSOI"] - 298.15) / 10)).to_numpy()
    print(
        f"T_SCALAR / 1.5^((T-298.15)/10): median {np.median(ratio):.4f}, 5-95 % "
        f"{np.quantile(ratio, 0.05):.4f}-{np.quantile(ratio, 0.95):.4f}"
    )


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"climate": run_climate, "sites": run_sites, "clm": run_clm, "scalars": run_scalars}[what](
        *arguments
    )
