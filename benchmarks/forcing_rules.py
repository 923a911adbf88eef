"""What each rule of the forcing that is estimated from climate changes.

    python -m benchmarks.forcing_rules CLIMATE.nc COVARIATES.nc SITES.nc FOLDER

SITES.nc is forcing at sites (`proda forcing at-sites`). One rule after another is added to
`science9`. Prints what each does to all land cells and to the sites, the total of soil carbon at
the models' defaults, and writes FOLDER/NAME.nc, the forcing at the sites, for a training run.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from proda.column.column import prepare
from proda.default_b import MEAN_B
from proda.drivers import climate as driver
from proda.drivers.climate_input import join_drainage, open_climate
from proda.drivers.forcing_rules import RULES, ClimateRules
from proda.forcing import FORCING_VARIABLES, Forcing
from proda.models.registry import load_model

OLD = RULES["science9"]
STEPS: dict[str, ClimateRules] = {"science9": OLD}
for _name, _change in (
    ("snow", {"winter_snow": True}),
    ("active_layer", {"stefan_active_layer": True}),
    ("water", {"psi_min_mpa": RULES["standard"].psi_min_mpa}),
    ("input", {"npp_floor": RULES["standard"].npp_floor}),
    ("oxygen", {"drainage_oxygen": True}),
):
    STEPS[_name] = replace(list(STEPS.values())[-1], **_change)
EVERY = 12
"""Every so many land cells for the totals of soil carbon."""


def columns(cells: dict[str, np.ndarray], latitude: np.ndarray, rules: ClimateRules) -> dict:
    return driver.estimate_columns(cells, latitude, rules=rules)


def describe(found: dict, cells: dict[str, np.ndarray]) -> str:
    """Shares of columns, as one row of the table."""
    summer = cells["tmax_warmest_month"] - 5 > 0
    frozen = ~(found["soil_temperature"] > 273.15).any(axis=(1, 2))
    top = found["w_scalar"][:, 4]  # 0.26 m
    thawed = found["soil_temperature"][:, 4] > 273.15
    floor = thawed.any(1) & (np.where(thawed, top, 0.0).max(1) <= 0.0501)
    arid = cells["precipitation_annual"] < 250
    total = found["litter_input"].sum(1)
    alt = found["altmax"][:, 0]
    permafrost = alt < 8.6
    numbers = [
        frozen.sum(),
        (frozen & summer).sum(),
        (alt == 0).sum(),
        np.median(alt[permafrost]) if permafrost.any() else np.nan,
        f"{floor.mean():.1%}",
        f"{floor[arid].mean():.1%}",
        (total < 5).sum(),
        f"{(found['o_scalar'][:, 7, 0] < 1).mean():.1%}",
    ]
    return " | ".join(f"{n:.2f}" if isinstance(n, float) else str(n) for n in numbers)


def stock(found: dict, sites: Forcing, area: np.ndarray) -> dict[str, float]:
    """Total of soil carbon, Pg, at each model's registered defaults."""
    values = {
        v.name: np.asarray(found[v.name])[::EVERY].astype(getattr(sites, v.name).dtype)
        for v in FORCING_VARIABLES
    }
    column = prepare(replace(sites, **values))
    totals = {}
    for name in ("clm5", "compas"):
        model = load_model(name)
        defaults = jax.vmap(model.default_values)(column)
        if np.isnan(defaults["b"]).any():
            defaults["b"] = np.full(len(area[::EVERY]), MEAN_B)
        state = jax.jit(jax.vmap(model.steady_state))(defaults, column)
        carbon = np.asarray(state.soil_carbon) @ sites.grid.thickness
        good = np.isfinite(carbon)
        totals[name] = float(
            (carbon[good] * area[::EVERY][good]).sum() / area[::EVERY].sum() * area.sum() / 1e15
        )
    return totals


def main() -> None:
    climate_file, covariates, site_file, folder = sys.argv[1:5]
    out = Path(folder)
    data = join_drainage(open_climate(climate_file), covariates)
    used = [n for n in data.data_vars if n not in ("land_mask", "land_fraction", "cell_area")]
    land = data["land_mask"].to_numpy() == 1
    everywhere = {str(n): data[n].to_numpy()[land].astype(np.float64) for n in used}
    lat = np.broadcast_to(data["lat"].to_numpy()[:, None], land.shape)
    area = (data["cell_area"] * data["land_fraction"]).to_numpy()[land].astype(float) * 1e6
    template = xr.load_dataset(site_file)
    rows, cols = (
        np.abs(data[a].to_numpy()[None] - template[f"cell_{b}"].to_numpy()[:, None]).argmin(1)
        for a, b in (("lat", "latitude"), ("lon", "longitude"))
    )
    at_sites = {str(n): data[n].to_numpy()[rows, cols].astype(np.float64) for n in used}
    print(
        "| rules | where | frozen all year | of these air of the warmest month > 0 C "
        "| active layer 0 | its median in permafrost, m | W at floor when thawed | of arid "
        "| input < 5 | O < 1 at 0.8 m | input, Pg yr-1 |"
    )
    for name, rules in STEPS.items():
        found = columns(everywhere, lat[land], rules)
        total = (found["litter_input"].sum(1) * area).sum() / 1e15
        print(f"| {name} | cells | {describe(found, everywhere)} | {total:.2f} |", flush=True)
        here = columns(at_sites, lat[rows, cols], rules)
        print(f"| {name} | sites | {describe(here, at_sites)} | |", flush=True)
        changed = template.copy()
        for variable in FORCING_VARIABLES:
            old = template[variable.name]
            changed[variable.name] = old.copy(data=np.asarray(here[variable.name], old.dtype))
        if name == "science9":  # the same columns as the file was made of
            np.testing.assert_allclose(
                changed["w_scalar"], template["w_scalar"], rtol=1e-5, atol=1e-6
            )
        changed.to_netcdf(out / f"{name}.nc")
        if name in ("science9", "oxygen"):
            few = Forcing.from_dataset(template.isel(site=slice(0, len(area[::EVERY]))))
            print(
                name,
                "total of soil carbon at the defaults, Pg:",
                stock(found, few, area),
                flush=True,
            )


if __name__ == "__main__":
    main()
