"""Small synthetic CLM history and surface files, true to CLM's format, for the tests."""

from pathlib import Path

import netCDF4
import numpy as np

from proda.grid import CLM5_GRID

LAT = np.array([-45.0, 0.0, 45.0, 75.0])
LON = np.arange(0.0, 360.0, 60.0)
GROUND = np.append(CLM5_GRID.node, [9.795, 13.33, 19.48, 28.87, 42.0])
"""Nodes of the 25 layers: CLM5's 20 of soil, then 5 of bedrock."""
SEA = (1, 2)
"""(row, column) of the one cell without land."""
DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
START = np.concatenate([[0], np.cumsum(DAYS)])
FILL = np.float32(1e36)


def values(name, year, month):
    """What a variable holds in a month: told apart by year, month, layer, row and column."""
    row, column = np.meshgrid(np.arange(4), np.arange(6), indexing="ij")
    layer = np.arange(25)[:, None, None]
    flat = {
        "ALTMAX": 40.0 - 10 * row + 0 * column,
        "ALTMAX_LASTYEAR": 41.0 - 10 * row + 0 * column,
        "NPP": 1e-5 * (1 + column) + 0 * row,
        "LITFALL": 1e-6 * (1 + column) * month,
        "WOODC_LOSS": 2e-6 * (1 + row) + 0 * column,
        "CWDC_LOSS": 3e-6 + 0.0 * row,
        "LITR1_HR": 1e-6 + 0.0 * row,
        "LITR1C_TO_SOIL1C": 2e-6 + 0.0 * row,
        "LITR2_HR": 4e-6 + 0.0 * row,
        "LITR2C_TO_SOIL1C": 5e-6 + 0.0 * row,
        "CWDC_TO_LITR2C": 1e-6 + 0.0 * row,
        "LITR3_HR": 3e-6 + 0.0 * row,
        "LITR3C_TO_SOIL2C": 3e-6 + 0.0 * row,
        "CWDC_TO_LITR3C": 1e-6 + 0.0 * row,
    }
    if name in flat:
        return flat[name]
    return {
        "TSOI": 260.0 + month + 0.5 * (year - 1901) + 0.1 * layer + row + 0.01 * column,
        "W_SCALAR": 0.02 * month + 0.01 * layer + 0.0 * row,
        "SOILPSI": -0.01 * month - 0.02 * layer - 0.001 * (year - 1901) + 0.0 * row,
        "O_SCALAR": 1.0 - 0.01 * layer + 0.0 * row,
        "FPI_vr": 0.5 + 0.01 * month + 0.0 * layer + 0.0 * row,
        "FLUX_vr": 1e-6 + 0.0 * layer + 0.0 * row,
    }[name]


UNITS = {
    "TSOI": "K",
    "SOILPSI": "MPa",
    "W_SCALAR": "unitless",
    "O_SCALAR": "unitless",
    "FPI_vr": "proportion",
    "ALTMAX": "m",
    "ALTMAX_LASTYEAR": "m",
    "FLUX_vr": "gC/m^3/s",
}
LAYERS = {
    "TSOI": "levgrnd",
    "SOILPSI": "levgrnd",
    "W_SCALAR": "levdcmp",
    "O_SCALAR": "levdcmp",
    "FPI_vr": "levdcmp",
    "FLUX_vr": "levdcmp",
}
STANDARD = (
    "TSOI",
    "SOILPSI",
    "O_SCALAR",
    "FPI_vr",
    "ALTMAX",
    "ALTMAX_LASTYEAR",
    "LITFALL",
    "WOODC_LOSS",
)


def write_month(path, months, names=STANDARD, bounds=True, kind="NETCDF4", units=None, change=None):
    """Write one history file with the given (year, month)s, stamped at the end of each month."""
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.createDimension("time", None)
        file.createDimension("hist_interval", 2)
        for name, axis in (("lat", LAT), ("lon", LON), ("levgrnd", GROUND), ("levdcmp", GROUND)):
            file.createDimension(name, len(axis))
            file.createVariable(name, "f4", (name,))[:] = axis
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 1901-01-01 00:00:00"
        time.calendar = "noleap"
        starts = np.array([365 * (y - 1901) + START[m - 1] for y, m in months], dtype=float)
        ends = np.array([365 * (y - 1901) + START[m] for y, m in months], dtype=float)
        time[:] = ends
        if bounds:
            time.bounds = "time_bounds"
            edges = file.createVariable("time_bounds", "f8", ("time", "hist_interval"))
            edges[:] = np.stack([starts, ends], axis=1)
        for name in names:
            layered = name in LAYERS
            dims = ("time", LAYERS[name], "lat", "lon") if layered else ("time", "lat", "lon")
            variable = file.createVariable(name, "f4", dims, fill_value=FILL)
            variable.units = (units or {}).get(name, UNITS.get(name, "gC/m^2/s"))
            for i, (year, month) in enumerate(months):
                data = np.array(values(name, year, month), dtype=np.float32)
                data[..., SEA[0], SEA[1]] = FILL
                if change is not None:
                    change(name, data)
                variable[i] = data


def write_history(folder, years=(1901, 1902), **options):
    """Write one file per month and return the paths in order."""
    paths = []
    for year in range(years[0], years[1] + 1):
        for month in range(1, 13):
            path = Path(folder) / f"run.clm2.h0.{year:04d}-{month:02d}.nc"
            write_month(path, [(year, month)], **options)
            paths.append(path)
    return paths


def write_surface(path, shift=0.0):
    """Surface data as CLM has them: depth to bedrock, and sand of 10 layers of CLM4's grid."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("lsmlat", 4), ("lsmlon", 6), ("nlevsoi", 10)):
            file.createDimension(name, size)
        place = ("lsmlat", "lsmlon")
        file.createVariable("LATIXY", "f8", place)[:] = np.repeat(LAT[:, None], 6, 1)
        file.createVariable("LONGXY", "f8", place)[:] = np.repeat(LON[None, :], 4, 0) + shift
        depth = np.repeat(np.array([0.1, 1.0, 5.0, 50.0])[:, None], 6, 1)
        file.createVariable("zbedrock", "f8", place)[:] = depth
        sand = np.repeat(np.arange(10.0, 110.0, 10.0), 24).reshape(10, 4, 6)
        file.createVariable("PCT_SAND", "f8", ("nlevsoi", *place))[:] = sand
    return path
