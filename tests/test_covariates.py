import numpy as np
import pandas as pd
import pytest
import xarray as xr

from proda.drivers import covariates
from proda.errors import CovariateError

LAT, LON = np.array([60.0, 0.0]), np.array([10.0, 190.0, 350.0])


def made_grid():
    climate = {
        "units": "1",
        "long_name": "zone",
        "flag_values": np.array([1, 2, 5], np.int8),
        "flag_meanings": "Af Bs Dfc",
        "licence": "free",
    }
    return xr.Dataset(
        {
            "land_mask": (("lat", "lon"), np.array([[1, 1, 0], [1, 1, 1]], np.int8)),
            "cell_area": (("lat", "lon"), np.ones((2, 3))),
            "elevation": (("lat", "lon"), [[100.0, np.nan, 5], [7, 8, 9]], {"units": "m"}),
            "zone": (("lat", "lon"), [[1.0, 2, 1], [5, np.nan, 2]], climate),
        },
        coords={"lat": LAT, "lon": LON},
    )


@pytest.fixture
def grid(tmp_path):
    made_grid().to_netcdf(tmp_path / "c.nc")
    return covariates.open_covariates(tmp_path / "c.nc")


def test_predictors_are_told_from_what_describes_the_cell(grid):
    assert [c.name for c in grid.covariates] == ["elevation", "zone"]
    assert grid.covariates[0].unit == "m"
    assert grid.covariates[1].classes == {1: "Af", 2: "Bs", 5: "Dfc"}


def test_the_grid_and_its_own_centres_as_sites_are_the_same(grid):
    """One code path: what a network meets on the map is what it met at sites."""
    cells = covariates.on_grid(grid)
    own = pd.DataFrame(
        {
            "site": range(len(cells)),
            "latitude": cells["cell_latitude"],
            "longitude": cells["cell_longitude"],
        }
    )
    at_sites, nearest = covariates.at_sites(grid, own)
    assert (nearest.distance_km < 1e-4).all()
    names = ["cell_latitude", "cell_longitude", "elevation", "zone"]
    pd.testing.assert_frame_equal(at_sites[names], cells[names])


def test_categories_keep_their_meanings_through_parquet(grid, tmp_path):
    table = covariates.on_grid(grid)
    covariates.write_table(table, tmp_path / "t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    assert list(read["zone"].cat.categories) == ["Af", "Bs", "Dfc"]
    assert read["zone"].dropna().tolist() == ["Bs", "Af", "Bs", "Dfc"]
    pd.testing.assert_frame_equal(read, table)
    assert read.attrs["covariates"]["zone"]["kind"] == "category"
    assert read.attrs["covariates"]["elevation"]["units"] == "m"
    assert read.attrs["covariates"]["zone"]["licence"] == "free"


def test_nothing_is_filled_and_missing_shares_are_told(grid):
    table = covariates.on_grid(grid)
    share = covariates.missing_shares(table, grid)
    assert share.to_dict() == {"elevation": 0.2, "zone": 0.2}
    at = table.set_index(["cell_latitude", "cell_longitude"])
    assert np.isnan(at.loc[(60.0, -170.0), "elevation"])
    assert pd.isna(at.loc[(0.0, -170.0), "zone"])
    assert at.loc[(0.0, 10.0), "zone"] == "Dfc"


def test_sites_take_the_nearest_land_cell_or_are_left_out(grid):
    sites = pd.DataFrame(
        {"site": ["a", "b"], "latitude": [59.9, 30.0], "longitude": [350.0, 100.0]}
    )
    table, nearest = covariates.at_sites(grid, sites, 1200)
    assert table["site"].tolist() == ["a"]  # its own cell is sea: the neighbour at 10 E
    assert table["cell_longitude"].tolist() == [10.0]
    assert table["distance_km"][0] == pytest.approx(nearest.distance_km[0])
    assert nearest.counts() == {"taken": 1, "beyond_distance_limit": 1}


def test_a_code_without_a_meaning_is_refused(tmp_path):
    data = made_grid()
    data["zone"][1, 1] = 3
    data.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(CovariateError, match="zone contains the code 3, which its flag_meanings"):
        covariates.open_covariates(tmp_path / "c.nc")


def test_flags_that_do_not_match_are_refused(tmp_path):
    data = made_grid()
    data["zone"].attrs["flag_meanings"] = "Af Bs"
    data.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(CovariateError, match="3 flag_values but 2 different flag_meanings"):
        covariates.open_covariates(tmp_path / "c.nc")


def test_other_dimensions_and_endings_are_refused(tmp_path, grid):
    data = made_grid()
    data["elevation"] = data["elevation"].expand_dims(time=2)
    data.to_netcdf(tmp_path / "d.nc")
    with pytest.raises(CovariateError, match="elevation has the dimensions"):
        covariates.open_covariates(tmp_path / "d.nc")
    with pytest.raises(CovariateError, match=r"written as \.parquet"):
        covariates.write_table(covariates.on_grid(grid), tmp_path / "t.csv")


def test_without_a_mask_a_cell_counts_if_anything_is_given(tmp_path):
    data = made_grid().drop_vars("land_mask")
    data["elevation"][1, 1] = np.nan  # where zone is missing too
    data.to_netcdf(tmp_path / "c.nc")
    grid = covariates.open_covariates(tmp_path / "c.nc")
    assert grid.usable.sum() == 5
    assert len(covariates.on_grid(grid)) == 5
