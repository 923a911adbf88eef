"""The drivers on the real data; skipped where these are absent."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from proda.drivers import climate, covariates, nearest_cells
from proda.drivers.climate_input import open_climate
from proda.drivers.forcing_rules import RULES
from proda.drivers.forcing_summary import litter_totals, status_counts
from proda.drivers.site_tables import read_sites
from proda.drivers.soil_physics import freezing_potential, water_scalar
from proda.forcing import Forcing

pytestmark = pytest.mark.data

MM_TO_MPA = 9.81e-6


def real(folder, name):
    path = folder / name
    if not path.exists():
        pytest.skip(f"no real data: {path} is absent (set PRODA_DATA)")
    return path


@pytest.fixture(scope="module")
def coarse(real_data):
    """Forcing on the 2-degree grid, by the same code as at half a degree."""
    opened = open_climate(real(real_data, "grids/climate_2deg.nc"))
    return opened, climate.from_climate(opened).compute()


def test_litter_totals_equal_the_sources_to_1_per_cent(coarse):
    """Against sums taken from the source file, and against its makers' own global totals."""
    opened, raised = coarse
    forcing = climate.from_climate(opened, rules=RULES["science9"]).compute()
    pools = litter_totals(forcing)
    assert 1.0 < sum(litter_totals(raised).values()) / sum(pools.values()) < 1.02  # floor of NPP
    area = (opened["cell_area"] * opened["land_fraction"] * 1e6).where(opened["land_mask"] == 1)
    for variable, found in (
        ("metabolic_litter_input", pools["ML"]),
        ("structural_litter_input", pools["CL"] + pools["LL"]),
    ):
        source = float((opened[variable].astype(float) * area).sum()) / 1e15
        assert found == pytest.approx(source, rel=1e-4)
    assert (pools["ML"], pools["CL"] + pools["LL"]) == pytest.approx((26.7, 25.3), rel=0.01)


def test_half_degree_totals_equal_those_stated_in_the_file(real_data):
    """Rows of the half-degree grid are estimated without their soil: totals need litter only."""
    opened = open_climate(real(real_data, "grids/climate_halfdeg.nc"))
    stated = json.loads(opened.attrs["global_totals"])["halfdeg_land_mask_times_land_fraction_PgC"]
    litter = climate.litter_inputs(
        *(
            opened[n].to_numpy().astype(float)
            for n in ("npp", "metabolic_litter_input", "structural_litter_input")
        )
    )
    forcing = xr.Dataset(
        {
            "litter_input": (("lat", "lon", "litter"), litter),
            "status": (("lat", "lon"), np.where(opened["land_mask"] == 1, 0, 1)),
            "cell_area": opened["cell_area"],
            "land_fraction": opened["land_fraction"],
        }
    )
    pools = litter_totals(forcing)
    assert pools["ML"] == pytest.approx(stated["met"], rel=0.001)
    assert pools["CL"] + pools["LL"] == pytest.approx(stated["stru"], rel=0.001)
    assert status_counts(forcing)["usable"] == 62399


def test_every_land_cell_has_forcing(coarse):
    opened, forcing = coarse
    counts = status_counts(forcing)
    assert counts["usable"] == int((opened["land_mask"] == 1).sum()) == 2970
    assert sum(counts.values()) == forcing["status"].size


def test_profiles_at_sites_are_forcing(coarse, real_data):
    """At two degrees a cell's centre is up to 180 km away."""
    _, forcing = coarse
    table = (
        read_sites(real(real_data, "profiles/profiles.parquet")).iloc[::20].reset_index(drop=True)
    )
    dataset, nearest = nearest_cells.forcing_at_sites(forcing, table, 200)
    assert sum(nearest.counts().values()) == len(table)
    assert len(Forcing.from_dataset(dataset)) == len(nearest.sites) > 0.9 * len(table)


@pytest.fixture(scope="module")
def clm(real_data):
    return xr.open_dataset(real(real_data, "grids/clm51_sparse.nc"))


def test_the_water_scalar_of_clms_own_potential(clm):
    """SMP -> W by our formula against CLM's W_SCALAR.

    Meaningful only where both speak of the same soil: in cells that are vegetated land alone (the
    grid mean of W_SCALAR also holds glaciers and crops), above bedrock, and above freezing (SMP
    of frozen soil is that of all its water).
    """
    alone = clm["PCT_LANDUNIT"].isel(landunit=0) > 99
    same = alone & (clm["layer"] <= clm["nbedrock_inferred"]) & (clm["TSOI"] > 273.15)
    ours = water_scalar(clm["SMP"].to_numpy() * MM_TO_MPA, floor=0.0)
    difference = np.abs(ours - clm["W_SCALAR"].to_numpy())[same.transpose(*clm["SMP"].dims)]
    assert difference.size > 300
    assert np.median(difference) < 0.001
    assert np.quantile(difference, 0.75) < 0.01


def test_freezing_stops_decomposition_where_clm_does(clm):
    """The scalar of the freezing potential bounds CLM's, and both are 0 below about -1.6 C."""
    soil = clm["layer"] <= clm["nbedrock_inferred"]
    t = clm["TSOI"].to_numpy()
    bound = water_scalar(freezing_potential(t), floor=0.0)
    theirs = clm["W_SCALAR"].to_numpy()
    keep = soil.transpose(*clm["TSOI"].dims).to_numpy()
    cold = keep & (t < 273.15 - 1.7)
    assert (bound[cold] == 0).all()
    assert theirs[cold].mean() < 0.01  # a monthly mean of warmer days is not exactly 0
    between = keep & (t < 273.15 - 0.5) & ~cold
    assert abs(theirs[between].mean() - bound[between].mean()) < 0.05


def test_clms_temperature_scalar_is_ours_times_its_normalisation(clm):
    ratio = clm["T_SCALAR"] / 1.5 ** ((clm["TSOI"] - 298.15) / 10)
    assert float(ratio.median()) == pytest.approx(0.8205, rel=1e-3)


def test_covariates_are_missing_as_often_as_their_makers_say(real_data):
    grid = covariates.open_covariates(real(real_data, "grids/covariates_halfdeg.nc"))
    table = covariates.on_grid(grid)
    share = covariates.missing_shares(table, grid)
    assert len(table) == 62399
    assert share["sand_30cm"] == pytest.approx(0.0152, abs=5e-5)
    assert share["sand_100cm"] == pytest.approx(0.0234, abs=5e-5)
    assert share["npp"] == 0
    categories = {c.name for c in grid.covariates if c.classes}
    assert categories == {
        "koppen_class",
        "igbp_pft",
        "texture_class_0cm",
        "texture_class_30cm",
        "texture_class_100cm",
        "depth_class",
        "drainage_class",
        "soil_group_wrb",
    }
    assert isinstance(table["igbp_pft"].dtype, pd.CategoricalDtype)
