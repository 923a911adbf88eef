"""Maps in the form that ILAMB takes model output: CMIP names, one variable per file, with time.

ILAMB (rubisco-sfa/ILAMB) finds variables by name in all netCDF files below a folder per model,
areas as `areacella` (m2) and land as `sftlf`. It compares over the years of its reference, which
the time bounds of the model must cover, after averaging shorter steps to longer ones: hence years.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from proda.errors import MapError
from proda.files import whole_netcdf
from proda.maps.header import FILL, edges
from proda.maps.totals import open_map
from proda.models.outside import recorded

VARIABLES: dict[str, str] = {
    "cSoil": "Carbon Mass in Soil Pool",
    "cSoilAbove1m": "Carbon Mass in Soil Pool Above 1m Depth",
}
"""CMIP names of soil carbon, and their titles in CMIP's tables; kg m-2."""
YEARS = (1980, 2014)
"""First and last year that a steady state is given for: they cover ILAMB's soil carbon data."""
DAYS = 365.0
_CARBON = {
    "standard_name": "soil_mass_content_of_carbon",
    "units": "kg m-2",
    "cell_methods": "area: mean where land time: mean",
    "cell_measures": "area: areacella",
    "comment": "Steady state, the same in all years; without litter.",
}
_AREA = {
    "standard_name": "cell_area",
    "long_name": "Grid-Cell Area",
    "units": "m2",
    "cell_methods": "area: sum",
}
_LAND = {
    "standard_name": "land_area_fraction",
    "units": "%",
    "cell_methods": "area: mean",
    "long_name": "Percentage of the Grid Cell Occupied by Land",
}


def write_ilamb(
    map_file: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    variables: Sequence[str] = tuple(VARIABLES),
    years: tuple[int, int] = YEARS,
) -> list[Path]:
    """Write the soil carbon of a map for ILAMB.

    Parameters
    ----------
    map_file
        A map (docs/maps.md).
    folder
        Folder of this model below ILAMB's `--model_root`; created if absent.
    variables
        Of :data:`VARIABLES`.
    years
        First and last year; every one gets the steady state.

    Returns
    -------
    The files: one per variable, and the cells' areas and land fraction.

    Raises
    ------
    MapError
        If a variable has no name in CMIP, the map lacks it, or the years make no sense.
    FileError
        If the map cannot be read or a file not written.
    """
    if unknown := [name for name in variables if name not in VARIABLES]:
        raise MapError(
            f"{unknown[0]} is not available for ILAMB; choose from {', '.join(VARIABLES)}."
        )
    first, last = years
    if not 1 <= first <= last <= 9999:
        raise MapError(
            f"years {first} to {last}: expected a first year that is not after the last."
        )
    source = _open(map_file, variables)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    name = f"proda-{source.attrs['model']}"
    written = []
    for variable in variables:
        path = out / f"{variable}_yr_{name}_steady-state_{first:04d}-{last:04d}.nc"
        values = source[variable].transpose("lat", "lon").to_numpy()
        attrs = _CARBON | {"long_name": VARIABLES[variable]}
        _write(path, source, variable, values, attrs, years)
        written.append(path)
    land = 100.0 * source["land_fraction"].fillna(0.0).to_numpy()  # sea has no land
    for variable, values, attrs in (
        ("areacella", 1e6 * source["cell_area"].to_numpy(), _AREA),
        ("sftlf", land, _LAND),
    ):
        path = out / f"{variable}_fx_{name}.nc"
        _write(path, source, variable, values, attrs, None)
        written.append(path)
    return written


def _open(map_file: str | os.PathLike[str], variables: Sequence[str]) -> xr.Dataset:
    """Open a map that has the variables, from south to north and from west to east."""
    source = open_map(map_file)
    if lacking := [n for n in (*variables, "cell_area", "land_fraction") if n not in source]:
        raise MapError(f"{map_file}: lacks {', '.join(lacking)}; it is not a proda map.")
    return source.sortby(["lat", "lon"])


def _write(
    path: Path,
    source: xr.Dataset,
    name: str,
    values: np.ndarray,
    attrs: dict[str, Any],
    years: tuple[int, int] | None,
) -> None:
    with whole_netcdf(path) as temporary, netCDF4.Dataset(temporary, "w") as file:
        file.createDimension("bnds", 2)
        if years is not None:
            _time(file, *years)
        _axes(file, source)
        full = np.where(np.isfinite(values), values, FILL).astype(np.float32)
        times = ("time",) if years is not None else ()
        tile = (*(1 for _ in times), *full.shape)
        variable = file.createVariable(
            name,
            "f4",
            (*times, "lat", "lon"),
            zlib=True,
            complevel=4,
            shuffle=True,
            fill_value=FILL,
            chunksizes=tile,
        )
        variable.setncatts(attrs | {"missing_value": FILL})
        if years is None:
            variable[:] = full
        else:
            for i in range(years[1] - years[0] + 1):
                variable[i] = full
        file.setncatts(
            {
                "Conventions": "CF-1.11",
                "title": str(source.attrs["title"]),
                "source": f"proda {version('proda')}: {source.attrs['source']}",
                "references": str(source.attrs["references"]),
                "variable_id": name,
                "source_id": f"proda-{source.attrs['model']}",
                "experiment_id": "steady-state",
                **recorded(source.attrs),
                "frequency": "fx" if years is None else "yr",
            }
        )


def _axes(file: netCDF4.Dataset, source: xr.Dataset) -> None:
    for axis, unit, standard, letter in (
        ("lat", "degrees_north", "latitude", "Y"),
        ("lon", "degrees_east", "longitude", "X"),
    ):
        centres = source[axis].to_numpy().astype(float)
        file.createDimension(axis, len(centres))
        variable = file.createVariable(axis, "f8", (axis,))
        variable[:] = centres
        variable.setncatts(
            {
                "units": unit,
                "standard_name": standard,
                "long_name": standard,
                "axis": letter,
                "bounds": f"{axis}_bnds",
            }
        )
        bounds = edges(centres)
        bounds = np.clip(bounds, -90.0, 90.0) if axis == "lat" else bounds
        file.createVariable(f"{axis}_bnds", "f8", (axis, "bnds"))[:] = bounds


def _time(file: netCDF4.Dataset, first: int, last: int) -> None:
    start = DAYS * (np.arange(first, last + 1) - 1850)
    file.createDimension("time", len(start))
    time = file.createVariable("time", "f8", ("time",))
    time[:] = start + DAYS / 2.0
    time.setncatts(
        {
            "units": "days since 1850-01-01 00:00:00",
            "calendar": "noleap",
            "axis": "T",
            "standard_name": "time",
            "long_name": "time",
            "bounds": "time_bnds",
        }
    )
    file.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = np.stack(
        [start, start + DAYS], axis=1
    )
