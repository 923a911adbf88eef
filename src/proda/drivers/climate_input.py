"""The climate that forcing is estimated from: its variables, their units and ranges, reading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from proda import cf, units
from proda.drivers import grids
from proda.drivers.soil_physics import DRAINAGE
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, ForcingVariable, conversion


@dataclass(frozen=True)
class ClimateVariable:
    """One annual-mean input on (lat, lon): name, unit, known other units, range, meaning."""

    name: str
    unit: str
    lower: float
    upper: float
    long_name: str
    accepted: Mapping[str, tuple[float, float]]


_KELVIN = {
    "K": (1.0, -273.15),
    "celsius": (1.0, 0.0),
    "degree_Celsius": (1.0, 0.0),
    "degrees_celsius": (1.0, 0.0),
    "C": (1.0, 0.0),
}
_SHARE = {"%": (0.01, 0.0), "percent": (0.01, 0.0), "": (1.0, 0.0)}
_FLUX = {
    "gC m-2 yr-1": (1.0, 0.0),
    "gC/m^2/yr": (1.0, 0.0),
    "kg m-2 yr-1": (1e3, 0.0),
    "kgC m-2 yr-1": (1e3, 0.0),
}

CLIMATE_VARIABLES = (
    ClimateVariable(
        "soil_temperature_mean", "degC", -70, 60, "mean annual soil temperature", _KELVIN
    ),
    ClimateVariable(
        "tmax_warmest_month", "degC", -70, 70, "maximum temperature of the warmest month", _KELVIN
    ),
    ClimateVariable(
        "tmin_coldest_month", "degC", -90, 60, "minimum temperature of the coldest month", _KELVIN
    ),
    ClimateVariable(
        "liquid_saturation", "1", 0, 1, "liquid water as a share of pore space, annual mean", _SHARE
    ),
    ClimateVariable(
        "frozen_saturation", "1", 0, 1, "ice as a share of pore space, annual mean", _SHARE
    ),
    ClimateVariable("sand_fraction_testbed", "1", 0, 1, "sand, share of mass", _SHARE),
    ClimateVariable("clay_fraction_testbed", "1", 0, 1, "clay, share of mass", _SHARE),
    ClimateVariable("npp", "g m-2 yr-1", 0, 1e4, "net primary production", _FLUX),
    ClimateVariable(
        "metabolic_litter_input", "g m-2 yr-1", 0, 1e4, "carbon input to metabolic litter", _FLUX
    ),
    ClimateVariable(
        "structural_litter_input", "g m-2 yr-1", 0, 1e4, "carbon input to structural litter", _FLUX
    ),
)
"""What :func:`proda.drivers.climate.from_climate` needs."""

MIAMI_VARIABLES = (
    ClimateVariable(
        "air_temperature_mean", "degC", -70, 60, "mean annual air temperature", _KELVIN
    ),
    ClimateVariable(
        "precipitation_annual",
        "mm yr-1",
        0,
        3e4,
        "annual precipitation",
        {
            "kg m-2 yr-1": (1.0, 0.0),
            "mm": (1.0, 0.0),
            "mm/yr": (1.0, 0.0),
            "mm/year": (1.0, 0.0),
            "mm year-1": (1.0, 0.0),
            "m yr-1": (1e3, 0.0),
        },
    ),
)
"""Variables for the floor of NPP; both or none (NPP is then unchanged, and the file states
this)."""

DRAINAGE_CLASS = "drainage_class"
"""Optional class of soil drainage, which oxygen follows; its `flag_meanings` name the classes."""

OPTIONAL = {"o_scalar": 1.0, "n_scalar": 1.0, "nbedrock": None}
"""Forcing variables taken from the climate file if present; otherwise these constants.

`nbedrock` is then the number of layers: no bedrock within the grid.
"""


_AXES = {"lat", "lon", "latitude", "longitude", "lsmlat", "lsmlon"}


def open_climate(
    path: str | os.PathLike[str], names: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Open a climate file (netCDF or Zarr) and bring names, axes and units into our form.

    Parameters
    ----------
    names
        Our name of a variable -> its name in the file, where they differ.

    Raises
    ------
    ForcingError
        Naming the variables that are missing, or the unit that is not understood.
    FileError
        If the file cannot be read.
    """
    dataset = cf.open_grid(path)
    for ours, theirs in (names or {}).items():
        if theirs not in dataset:
            raise ForcingError(f"{path}: has no variable {theirs}, which should provide {ours}.")
        if theirs != ours and ours in dataset.variables:
            raise ForcingError(
                f"{path}: {theirs} should provide {ours}, but the file also has a variable {ours}."
            )
        dataset = dataset.rename({theirs: ours})
    if missing := [v.name for v in CLIMATE_VARIABLES if v.name not in dataset]:
        raise ForcingError(
            f"{path}: lacks {', '.join(missing)}. It has: {', '.join(map(str, dataset.data_vars))}."
            " If a variable has another name, give it as OURS=THEIRS."
        )
    carried = ("land_mask", "land_fraction", "cell_area", "sftlf", "areacella", DRAINAGE_CLASS)
    used = [v.name for v in _inputs(dataset)] + [n for n in carried if n in dataset]
    for name in used:  # a variable that another one names as its coordinate is data here
        if name in dataset.coords:
            dataset = dataset.reset_coords(name)
    dataset = grids.standard_grid(_one_time(dataset[used]), str(path))
    dataset = grids.cell_measures(cf.load(dataset, path), str(path))
    for variable in _inputs(dataset):
        data = dataset[variable.name]
        if set(data.dims) != {"lat", "lon"}:
            raise ForcingError(
                f"{path}: {variable.name} has the dimensions ({', '.join(map(str, data.dims))}); "
                "expected (lat, lon)."
            )
        unit = units.stated(data.attrs, variable.unit)
        factor, offset = _conversion(f"{path}: {variable.name}", variable, unit)
        if unit != variable.unit:
            data = (data * factor + offset).assign_attrs({**data.attrs, "units": variable.unit})
        dataset[variable.name] = data.transpose("lat", "lon")
    if DRAINAGE_CLASS in dataset:
        dataset[DRAINAGE_CLASS] = drainage_of(dataset, str(path))
    return dataset


def _one_time(dataset: xr.Dataset) -> xr.Dataset:
    """Drop dimensions of length 1 other than those of the grid, such as one time."""
    single = [d for d, n in dataset.sizes.items() if n == 1 and d not in _AXES]
    return dataset.squeeze(single, drop=True)


def _conversion(
    what: str, variable: ClimateVariable | ForcingVariable, unit: object
) -> tuple[float, float]:
    """Factor and offset to the registry's unit: by its own table, else by the unit's parts."""
    if unit not in variable.accepted and unit != variable.unit:
        for dimensions in (units.SHARE, units.FLUX):
            ours, theirs = (units.factor(u, dimensions) for u in (variable.unit, unit))
            if ours is not None and theirs is not None:
                return theirs / ours, 0.0
    return conversion(what, variable.unit, variable.accepted, unit)


def _inputs(dataset: xr.Dataset) -> list[ClimateVariable | ForcingVariable]:
    """Rows of the table of variables of a climate file, with optional forcing variables."""
    optional = [v for v in FORCING_VARIABLES if v.name in OPTIONAL and v.name in dataset]
    miami = MIAMI_VARIABLES if all(v.name in dataset for v in MIAMI_VARIABLES) else ()
    return [*CLIMATE_VARIABLES, *miami, *optional]


def drainage_of(dataset: xr.Dataset, where: str) -> xr.DataArray:
    """Return the class of drainage as an index into :data:`soil_physics.DRAINAGE`; NaN if none.

    Raises
    ------
    ForcingError
        If its classes have no names or unknown names, or a code has no name.
    """
    data = dataset[DRAINAGE_CLASS].transpose("lat", "lon")
    codes = np.atleast_1d(data.attrs.get("flag_values", []))
    meanings = str(data.attrs.get("flag_meanings", "")).split()
    known = list(DRAINAGE)
    unknown = [m for m in meanings if m not in known]
    if not meanings or len(codes) != len(meanings) or unknown:
        raise ForcingError(
            f"{where}: {DRAINAGE_CLASS} needs the attributes flag_values and flag_meanings, one "
            f"name per value, out of: {', '.join(known)}"
            + (f"; it has {', '.join(unknown)}." if unknown else ".")
        )
    values = data.to_numpy().astype(np.float64)
    index = np.full(values.shape, np.nan)
    for code, meaning in zip(codes, meanings, strict=True):
        index[values == float(code)] = known.index(meaning)
    stray = np.isnan(index) & ~np.isnan(values)
    if stray.any():
        i, j = (int(k) for k in np.argwhere(stray)[0])
        raise ForcingError(
            f"{where}: {DRAINAGE_CLASS} = {values[i, j]:g} at lat {float(data['lat'][i]):g}, lon "
            f"{float(data['lon'][j]):g} has no meaning in flag_values ({int(stray.sum())} cells)."
        )
    return data.copy(data=index)


def join_drainage(climate: xr.Dataset, path: str | os.PathLike[str]) -> xr.Dataset:
    """Take the class of drainage from another file on the same grid, such as the covariates.

    Raises
    ------
    ForcingError
        If that file has no such variable or another grid, or the climate has the class already.
    FileError
        If the file cannot be read.
    """
    other = cf.open_grid(path)
    if DRAINAGE_CLASS not in other:
        raise ForcingError(f"{path}: has no variable {DRAINAGE_CLASS}.")
    if DRAINAGE_CLASS in climate:
        raise ForcingError(
            f"{path}: the climate file already has {DRAINAGE_CLASS}; give only one of them."
        )
    other = cf.load(grids.standard_grid(other[[DRAINAGE_CLASS]], str(path)), path)
    for axis in ("lat", "lon"):
        ours, theirs = climate[axis].to_numpy(), other[axis].to_numpy()
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=1e-4):
            raise ForcingError(f"{path}: its {axis} differs from that of the climate.")
    index = drainage_of(other, str(path))
    return climate.assign({DRAINAGE_CLASS: (("lat", "lon"), index.to_numpy())})


def check_ranges(small: xr.Dataset, status: np.ndarray) -> None:
    """Refuse a climate that holds an impossible value in a usable cell (status 0).

    Raises
    ------
    ForcingError
        Naming the first such value and its place.
    """
    for variable in _inputs(small):
        values = small[variable.name].to_numpy()
        wrong = (status == 0) & ~((values >= variable.lower) & (values <= variable.upper))
        _refuse(
            wrong,
            values,
            variable.name,
            variable.unit,
            small,
            f"expected {variable.lower:g} to {variable.upper:g}",
        )
    both = small["liquid_saturation"] + small["frozen_saturation"]
    # Both are rounded to float32 or a few digits in files.
    _refuse(
        (status == 0) & (both.to_numpy() > 1.001),
        both.to_numpy(),
        "liquid_saturation + frozen_saturation",
        "1",
        small,
        "expected at most 1",
    )
    if "nbedrock" in small:
        n = small["nbedrock"].to_numpy()
        _refuse((status == 0) & (n != np.round(n)), n, "nbedrock", "1", small, "a whole number")


def _refuse(
    wrong: np.ndarray, values: np.ndarray, name: str, unit: str, where: xr.Dataset, expected: str
) -> None:
    if not wrong.any():
        return
    i, j = (int(k) for k in np.argwhere(wrong)[0])
    raise ForcingError(
        f"{name} = {values[i, j]:.6g} {unit} at lat {float(where['lat'][i]):g}, lon "
        f"{float(where['lon'][j]):g}; {expected} ({int(wrong.sum())} such cells)."
    )
