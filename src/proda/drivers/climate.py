"""Forcing estimated from annual climate, for users without CLM output.

Equations: docs/theory.md#forcing-estimated-from-climate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from proda.drivers import grids
from proda.drivers.climate_input import (
    CLIMATE_VARIABLES,
    DRAINAGE_CLASS,
    MIAMI_VARIABLES,
    OPTIONAL,
    check_ranges,
)
from proda.drivers.forcing_rules import RULES, ClimateRules
from proda.drivers.forcing_settings import W_FLOOR
from proda.drivers.soil_physics import (
    DRAINAGE,
    FREEZING_K,
    PSI_MIN_DECOMPOSERS_MPA,
    PSI_MIN_MPA,
    SNOW_DAMPING,
    active_layer_depth,
    air_wave,
    annual_amplitude,
    freezing_potential,
    miami_npp,
    oxygen_scalar,
    soil_temperature,
    soil_temperature_under_snow,
    stefan_depth,
    thawing_index,
    water_potential,
    water_scalar,
)
from proda.errors import ForcingError
from proda.forcing import N_MONTHS
from proda.grid import CLM5_GRID, Grid

BLOCK = (30, 180)
"""Rows and columns of the grid that are computed and stored together."""


def litter_inputs(
    npp: Float[np.ndarray, "*n"],
    metabolic: Float[np.ndarray, "*n"],
    structural: Float[np.ndarray, "*n"],
) -> Float[np.ndarray, "*n litter"]:
    """Annual carbon input to CWD, metabolic, cellulose and lignin litter.

    Structural litter is two parts cellulose and one part lignin litter; coarse woody debris
    receives the rest of NPP, or nothing where litter exceeds NPP. All in one unit
    (docs/theory.md#forcing-estimated-from-climate).
    """
    woody = np.maximum(npp - metabolic - structural, 0.0)
    return np.stack([woody, metabolic, structural * (2 / 3), structural / 3], axis=-1)


def estimate_columns(
    climate: Mapping[str, Float[np.ndarray, " n"]],
    latitude: Float[np.ndarray, " n"],
    w_floor: float = W_FLOOR,
    grid: Grid = CLM5_GRID,
    rules: ClimateRules = RULES["standard"],
) -> dict[str, np.ndarray]:
    """Estimate the forcing of n columns from their annual climate.

    Equations: docs/theory.md#forcing-estimated-from-climate.

    Parameters
    ----------
    climate
        :data:`CLIMATE_VARIABLES` in their units; may also contain :data:`MIAMI_VARIABLES`,
        :data:`OPTIONAL` and the drainage class (:func:`climate_input.drainage_of`).
    latitude
        Degrees north.
    w_floor
        Minimum of the water scalar.
    rules
        Rules of the estimate.

    Returns
    -------
    dict
        The variables of the forcing registry with n as first dimension.
    """
    n = len(latitude)
    profile = (n, len(grid), N_MONTHS)
    temperature = _temperature(climate, latitude, rules, grid)
    npp, metabolic, structural = raise_to_floor(climate, rules.npp_floor)
    active = _active_layer(climate, temperature, rules, grid)
    sand = 100 * climate["sand_fraction_testbed"]
    return {
        "soil_temperature": temperature,
        "w_scalar": _water(climate, temperature, w_floor, rules),
        "o_scalar": np.broadcast_to(_oxygen(climate, rules, grid), profile),
        "n_scalar": np.broadcast_to(_given(climate, "n_scalar", 1.0), profile),
        "sand": np.repeat(sand[:, None], len(grid), axis=1),
        "nbedrock": np.asarray(climate.get("nbedrock", np.full(n, float(len(grid))))),
        "altmax": active,
        "altmax_lastyear": active,
        "litter_input": litter_inputs(npp, metabolic, structural),
    }


def _temperature(
    climate: Mapping[str, np.ndarray], latitude: np.ndarray, rules: ClimateRules, grid: Grid
) -> np.ndarray:
    mean, tmax, tmin = (
        climate[n] for n in ("soil_temperature_mean", "tmax_warmest_month", "tmin_coldest_month")
    )
    if not rules.winter_snow:
        return soil_temperature(mean, annual_amplitude(tmax, tmin), latitude, grid)
    winter = np.where(tmin < 0, SNOW_DAMPING, 1.0)
    return soil_temperature_under_snow(mean, air_wave(tmax, tmin)[1], winter, latitude, grid)


def _active_layer(
    climate: Mapping[str, np.ndarray], temperature: np.ndarray, rules: ClimateRules, grid: Grid
) -> np.ndarray:
    depth = active_layer_depth(temperature, grid)
    if rules.stefan_active_layer:
        index = thawing_index(
            *air_wave(climate["tmax_warmest_month"], climate["tmin_coldest_month"])
        )
        saturation = climate["liquid_saturation"] + climate["frozen_saturation"]
        sand = 100 * climate["sand_fraction_testbed"]
        depth = np.maximum(depth, stefan_depth(index, saturation, sand, grid))
    return np.repeat(depth[:, None], N_MONTHS, axis=1)


def _water(
    climate: Mapping[str, np.ndarray], temperature: np.ndarray, w_floor: float, rules: ClimateRules
) -> np.ndarray:
    liquid, frozen, sand, clay = (
        climate[name][:, None, None]
        for name in (
            "liquid_saturation",
            "frozen_saturation",
            "sand_fraction_testbed",
            "clay_fraction_testbed",
        )
    )
    # The annual mean includes ice; in a layer and month above 0 C it has melted.
    wet = water_scalar(
        water_potential(liquid + frozen, 100 * sand, 100 * clay), w_floor, rules.psi_min_mpa
    )
    cold = water_scalar(water_potential(liquid, 100 * sand, 100 * clay), w_floor, rules.psi_min_mpa)
    # Frost keeps CLM5's limit (-2 MPa, 1.6 K below freezing) for any limit of dry soil.
    frost = water_scalar(freezing_potential(temperature), w_floor)
    return np.where(temperature > FREEZING_K, wet, np.minimum(cold, frost))


def _oxygen(climate: Mapping[str, np.ndarray], rules: ClimateRules, grid: Grid) -> np.ndarray:
    drainage = climate.get(DRAINAGE_CLASS)
    if drainage is None or not rules.drainage_oxygen:
        return _given(climate, "o_scalar", 1.0)
    # A cell without a class counts as well drained; the attributes state their number.
    index = np.nan_to_num(drainage, nan=list(DRAINAGE).index("well")).astype(int)
    table, share = np.array(list(DRAINAGE.values()))[index].T
    return oxygen_scalar(table, share, grid)[:, :, None]


def raise_to_floor(
    climate: Mapping[str, Float[np.ndarray, "*n"]], floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NPP, metabolic and structural litter, NPP being at least `floor` times the Miami model's.

    Where carbon input (NPP, or litter if that is larger) is below the floor, the difference is
    added to NPP and to both kinds of litter in equal parts. Nothing changes where the climate does
    not have :data:`MIAMI_VARIABLES`.
    """
    npp, metabolic, structural = (
        climate[n] for n in ("npp", "metabolic_litter_input", "structural_litter_input")
    )
    if floor == 0 or not all(v.name in climate for v in MIAMI_VARIABLES):
        return npp, metabolic, structural
    least = floor * miami_npp(climate["air_temperature_mean"], climate["precipitation_annual"])
    lacks = np.maximum(least - np.maximum(npp, metabolic + structural), 0.0)
    return npp + lacks, metabolic + lacks / 2, structural + lacks / 2


def _given(climate: Mapping[str, np.ndarray], name: str, default: float) -> np.ndarray:
    values = climate.get(name)
    return np.float64(default) if values is None else values[:, None, None]  # type: ignore[return-value]


_REFERENCES = (
    "Clapp and Hornberger 1978; Cosby et al. 1984; Andren and Paustian 1987; "
    "Orchard and Cook 1983; Niu and Yang 2006; Smith and Riseborough 2002; Zhang 2005; "
    "Nelson et al. 1997; Manzoni et al. 2012; Lieth 1975; Lawrence et al. 2019; "
    "Riley et al. 2011; Soil Science Division Staff 2017"
)
"""Sources of the rules, for the attributes of the forcing."""


def from_climate(
    climate: xr.Dataset,
    w_floor: float = W_FLOOR,
    source: str = "",
    rules: ClimateRules = RULES["standard"],
) -> xr.Dataset:
    """Estimate forcing for every usable cell of a grid; lazy, block by block (Dask).

    Parameters
    ----------
    climate
        As :func:`proda.drivers.climate_input.open_climate` returns it; `land_mask` (1 = use) limits
        the cells, and `land_fraction` and `cell_area` are carried along, where the file has them.
    w_floor
        Minimum of the water scalar: with 0, soil that is frozen or dry all year has no steady
        state.
    source
        Where the climate comes from, for the attributes.
    rules
        Rules of the estimate; the attributes state them.

    Returns
    -------
    xarray.Dataset
        The forcing variables (lat, lon, ...) in float32, `status` (why a cell has none), and the
        variables for area-weighted totals. Write it with :func:`proda.files.write_zarr`.

    Raises
    ------
    ForcingError
        Naming the first value outside its range, with its place; or if the climate has both an
        oxygen scalar and a drainage class.
    """
    _check_arguments(climate, w_floor, rules)
    rows, columns = BLOCK
    names = [v.name for v in CLIMATE_VARIABLES] + [n for n in OPTIONAL if n in climate]
    if rules.npp_floor > 0 and all(v.name in climate for v in MIAMI_VARIABLES):
        names += [v.name for v in MIAMI_VARIABLES]
    small = climate[names]
    status, missing = _status(climate, small)
    _refuse_no_usable_cell(status, missing)
    check_ranges(small, status)
    if rules.drainage_oxygen and DRAINAGE_CLASS in climate:
        small[DRAINAGE_CLASS] = climate[DRAINAGE_CLASS]
    small["status"] = (("lat", "lon"), status)
    template = grids.forcing_template(small, rows, columns)
    attrs = template.isel(lat=[0], lon=[0]).compute()
    result = small.chunk(lat=rows, lon=columns).map_blocks(
        _estimate_block,
        kwargs={"w_floor": w_floor, "rules": rules, "attrs": attrs},
        template=template,
    )
    area, note = _cell_area(climate, status == 0)
    if area is not None:
        result["cell_area"] = area.astype(np.float32)
    if "land_fraction" in climate:
        grids.check_usable(climate["land_fraction"], "land_fraction", status == 0)
        result["land_fraction"] = climate["land_fraction"]
    excess = float(np.mean(_litter_exceeds_npp(small)[status == 0])) if (status == 0).any() else 0
    result.attrs = {
        "Conventions": "CF-1.11",
        "title": "Soil forcing estimated from annual climate",
        "estimated": "yes",
        "source": source or str(climate.attrs.get("title", "climate data set of the user")),
        "comment": _comment(climate, small, excess),
        "rules": _rules_in_words(small, status, rules),
        "w_scalar_floor": w_floor,
        "missing_by_variable": json.dumps(missing),
        **({grids.NOTES: note} if note else {}),
        "references": _REFERENCES,
    }
    return result


def _check_arguments(climate: xr.Dataset, w_floor: float, rules: ClimateRules) -> None:
    """Refuse two sources of oxygen, and a floor of the water scalar outside its range."""
    if rules.drainage_oxygen and "o_scalar" in climate and DRAINAGE_CLASS in climate:
        raise ForcingError(
            f"The climate has o_scalar and {DRAINAGE_CLASS}, and oxygen follows either; "
            "leave out one of them."
        )
    if not 0 <= w_floor < 1:
        raise ForcingError(f"The floor of the water scalar is {w_floor:g}; expected 0 to below 1.")


def _refuse_no_usable_cell(status: np.ndarray, missing: dict[str, int]) -> None:
    """Refuse a climate without a usable cell, and name the causes."""
    if not (status == 0).any():
        lacking = "; ".join(f"{n} is missing in {k:,}" for n, k in missing.items())
        raise ForcingError(
            f"No cell of the climate is usable: {int((status == 1).sum()):,} of {status.size:,} "
            f"cells are not land{', and of the others ' + lacking if lacking else ''}."
        )


def _comment(climate: xr.Dataset, small: xr.Dataset, excess: float) -> str:
    """Describe how the forcing was estimated; `excess`: share of cells where litter exceeds NPP."""
    return (
        "ESTIMATE, not model output: temperature is an annual wave damped with depth; the "
        "water scalar comes from annual mean saturation (Clapp and Hornberger; Cosby 1984) "
        "and freezing, and has no season apart from freezing; active layer from that "
        "temperature. "
        + "; ".join(
            f"{n} " + ("from the climate file" if n in climate else f"= {_constant(n)}")
            for n in OPTIONAL
            if not (n == "o_scalar" and DRAINAGE_CLASS in small)
        )
        + f". Litter exceeds NPP, so that coarse woody debris is 0, in {excess:.1%} of cells."
    )


def _cell_area(climate: xr.Dataset, usable: np.ndarray) -> tuple[xr.DataArray | None, str]:
    """Area of the cells, km2, given or from their centres; else None and the reason."""
    notes = str(climate.attrs.get(grids.NOTES, ""))
    if "cell_area" in climate:
        area = climate["cell_area"].transpose("lat", "lon")
        grids.check_usable(area, "cell_area", usable)
        return area, notes
    lat, lon = climate["lat"].to_numpy(), climate["lon"].to_numpy()
    values = grids.area_on_sphere(lat, lon)
    if values is None:
        return None, f"{notes} {grids.AREA_UNKNOWN}".strip()
    attrs = {"units": "km2", "long_name": "area of the grid cell"}
    return xr.DataArray(values, dims=("lat", "lon"), attrs=attrs), notes


def _rules_in_words(small: xr.Dataset, status: np.ndarray, rules: ClimateRules) -> str:
    """Describe the rules that were used, and those that could not be used without a variable."""
    name = next((k for k, v in RULES.items() if v == rules), "chosen one by one")
    dry = f"decomposition ends at {rules.psi_min_mpa:g} MPa in dry soil"
    words = [
        f"rules: {name}",
        "snow damps the winter half of the annual wave to 0.6 (Smith and Riseborough 2002; "
        "Zhang 2005)"
        if rules.winter_snow
        else "snow damps the whole annual wave to 0.6",
        "active layer not above Stefan's thaw depth (Nelson et al. 1997)"
        if rules.stefan_active_layer
        else "active layer from the temperature alone",
        f"{dry} ({_END_OF_DECOMPOSITION.get(rules.psi_min_mpa, 'chosen')})",
    ]
    usable = status == 0
    if rules.npp_floor > 0 and "precipitation_annual" in small:
        cells = {str(n): small[n].to_numpy()[usable].astype(np.float64) for n in small.data_vars}
        raised = np.mean(raise_to_floor(cells, rules.npp_floor)[0] > cells["npp"])
        words.append(
            f"NPP at least {rules.npp_floor:g} of the Miami model's (Lieth 1975), which "
            f"raised {raised if usable.any() else 0:.1%} of cells"
        )
    elif rules.npp_floor > 0:
        words.append(
            "NPP without a floor, because the climate lacks "
            + " or ".join(v.name for v in MIAMI_VARIABLES)
        )
    if DRAINAGE_CLASS in small:
        absent = int(np.isnan(small[DRAINAGE_CLASS].to_numpy()[usable]).sum())
        words.append(
            "oxygen from the drainage class, which is a soil map (depths of free water: "
            "Soil Science Division Staff 2017; minimum of 0.2: Riley et al. 2011)"
            + (f"; {absent:,} cells without one have 1" if absent else "")
        )
    elif rules.drainage_oxygen and "o_scalar" not in small:
        words.append(f"oxygen 1 everywhere, because the climate lacks {DRAINAGE_CLASS}")
    return "; ".join(words)


_END_OF_DECOMPOSITION = {
    PSI_MIN_DECOMPOSERS_MPA: "Manzoni et al. 2012",
    PSI_MIN_MPA: "CLM5, Lawrence et al. 2019",
}
"""Source of a potential at which decomposition ends."""


def _constant(name: str) -> str:
    value = OPTIONAL[name]
    return f"{value:g}" if value is not None else f"{len(CLM5_GRID)}"


def _litter_exceeds_npp(small: xr.Dataset) -> np.ndarray:
    litter = small["metabolic_litter_input"] + small["structural_litter_input"]
    return (litter > small["npp"]).to_numpy()


def _status(climate: xr.Dataset, small: xr.Dataset) -> tuple[np.ndarray, dict[str, int]]:
    """Code per cell, and the number of land cells that lack each variable."""
    absent = {n: np.isnan(small[n].transpose("lat", "lon").to_numpy()) for n in small.data_vars}
    stacked = np.stack(list(absent.values()))
    # Without a mask, a cell where nothing is given is sea.
    masked = "land_mask" in climate
    land = grids.is_land(climate["land_mask"]) if masked else ~stacked.all(axis=0)
    status = np.where(stacked.any(axis=0), 2, 0)
    status[~land] = 1
    missing = {str(n): int((a & land).sum()) for n, a in absent.items()}
    return status.astype(np.int8), {n: k for n, k in missing.items() if k}


def _estimate_block(
    block: xr.Dataset, w_floor: float, rules: ClimateRules, attrs: xr.Dataset
) -> xr.Dataset:
    status = block["status"].to_numpy()
    usable = status == 0
    climate = {
        str(name): block[name].to_numpy()[usable].astype(np.float64)
        for name in block.data_vars
        if name != "status"
    }
    latitude = np.broadcast_to(block["lat"].to_numpy()[:, None], status.shape)[usable]
    columns: Mapping[str, Any] = estimate_columns(climate, latitude, w_floor, rules=rules)
    return grids.scatter(block, status, columns, attrs)
