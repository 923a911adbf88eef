import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from proda import files
from proda.drivers import clm, grids, nearest_cells
from proda.drivers.forcing_summary import litter_totals, status_counts
from proda.drivers.history import scan
from proda.drivers.site_tables import as_sites
from proda.drivers.soil_physics import water_scalar
from proda.errors import FileError, ForcingError
from proda.forcing import FORCING_VARIABLES, Forcing
from tests import clm_files as made

EAST = made.LON[made.LON < 180]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clm")
    made.write_surface(folder / "surface.nc")
    made.write_history(folder)
    return folder


@pytest.fixture(scope="module")
def history(folder):
    return sorted(folder.glob("run.*.nc"))


@pytest.fixture(scope="module")
def forcing(folder, history):
    out = folder / "forcing.zarr"
    files.write_zarr(clm.from_clm(history, folder / "surface.nc"), out)
    return files.open_dataset(out).load()


def at(forcing, name, row, column):
    """Values of a cell by its position in the history files."""
    lon = (made.LON[column] + 180) % 360 - 180
    return forcing[name].sel(lat=made.LAT[row], lon=lon).to_numpy()


def test_longitudes_ascend_and_layers_are_cut(forcing):
    np.testing.assert_array_equal(forcing["lon"], [-180, -120, -60, 0, 60, 120])
    assert forcing["soil_temperature"].dims == ("lat", "lon", "layer", "month")
    assert forcing.sizes["layer"] == 20


def test_temperature_is_the_mean_of_its_month_over_the_years(forcing):
    """Stamps lie at the END of the month: reading them as they are would shift all by one."""
    found = at(forcing, "soil_temperature", 2, 4)
    for month in (1, 2, 12):
        per_year = [made.values("TSOI", y, month)[:20, 2, 4] for y in (1901, 1902)]
        np.testing.assert_allclose(found[:, month - 1], np.mean(per_year, axis=0), rtol=1e-6)


def test_the_scalar_is_made_before_averaging(forcing):
    found = at(forcing, "w_scalar", 0, 5)
    psi = [made.values("SOILPSI", y, 3)[:20, 0, 5] for y in (1901, 1902)]
    expected = np.mean([water_scalar(p, 0.0) for p in psi], axis=0)
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-6)


def test_litter_is_the_sum_over_the_months_of_a_365_day_year(forcing):
    found = at(forcing, "litter_input", 1, 3)
    year = sum(
        made.values("LITFALL", 1901, m)[1, 3] * made.DAYS[m - 1] * 86400 for m in range(1, 13)
    )
    wood = made.values("WOODC_LOSS", 1901, 1)[1, 3] * 365 * 86400
    np.testing.assert_allclose(found, [wood, 0.25 * year, 0.5 * year, 0.25 * year], rtol=1e-6)


def test_bedrock_and_sand_come_from_surface_data(forcing):
    for row, layers in enumerate([6, 9, 17, 20]):
        if (row, 0) != made.SEA:
            assert at(forcing, "nbedrock", row, 0) == layers
    sand = at(forcing, "sand", 0, 0)
    assert sand[0] == 10
    assert sand[-1] == 100


def test_cells_add_up_and_the_sea_is_the_only_one_left_out(forcing):
    counts = status_counts(forcing)
    assert counts["usable"] == 23
    assert counts["outside_land"] == 1
    assert sum(counts.values()) == forcing["status"].size


def test_area_weighted_litter_equals_the_sources(forcing):
    """Area-weighted total of the source, reckoned from the files' own numbers, to 1e-5."""
    weights = forcing["cell_area"].to_numpy()[:, :1] * np.ones(6)
    total = 0.0
    for m in range(1, 13):
        rate = made.values("LITFALL", 1901, m) + made.values("WOODC_LOSS", 1901, m)
        rate = rate * made.DAYS[m - 1] * 86400
        rate[made.SEA] = 0
        total += (rate * weights).sum() * 1e6 / 1e15
    assert sum(litter_totals(forcing).values()) == pytest.approx(total, rel=1e-5)


def test_attributes_say_what_was_used(forcing):
    assert forcing.attrs["estimated"] == "no"
    assert forcing.attrs["climatology_years"].startswith("1901-1902")
    assert forcing.attrs["litter_input_from"].startswith("litterfall: CWD = +1 WOODC_LOSS")
    assert forcing.attrs["w_scalar_from"] == "SOILPSI, floor 0"
    assert forcing.attrs["nbedrock_from"] == "zbedrock of surface.nc"


def test_sites_of_it_are_forcing(forcing):
    table = pd.DataFrame({"site": ["a", "b"], "lat": [44.0, 1.0], "lon": [-61.0, 119.0]})
    sites = as_sites(table)
    dataset, _ = nearest_cells.forcing_at_sites(forcing, sites, 7000)
    checked = Forcing.from_dataset(dataset)
    assert list(checked.site) == ["a", "b"]  # (0 N, 120 E) is the sea: "b" takes a neighbour
    assert dataset["cell_latitude"].to_numpy()[0] == 45.0
    assert dataset["cell_longitude"].to_numpy()[0] == -60.0
    for variable in FORCING_VARIABLES:
        assert np.isfinite(getattr(checked, variable.name)).all()


def test_blocks_do_not_change_anything(forcing, folder, history, monkeypatch):
    monkeypatch.setattr(clm, "BLOCK_BYTES", 1.0)
    xr.testing.assert_identical(
        clm.from_clm(history, folder / "surface.nc").compute()["soil_temperature"],
        forcing["soil_temperature"],
    )


def test_progress_counts_every_file_of_every_block(folder, history, monkeypatch):
    monkeypatch.setattr(clm, "BLOCK_BYTES", 1)  # one row at a time
    seen = []
    clm.from_clm(
        history, folder / "surface.nc", on_read=lambda *counts: seen.append(counts)
    ).compute(scheduler="threads")
    total = len(history) * 4
    assert seen == [(i, total) for i in range(1, total + 1)]


def test_without_bounds_a_stamp_on_the_first_is_the_month_before(tmp_path):
    path = tmp_path / "one.nc"
    made.write_month(path, [(1901, 1), (1901, 12)], bounds=False)
    assert set(scan([path], ["TSOI"]).field("TSOI").records) == {(1901, 1), (1901, 12)}


def test_stamps_inside_a_month_are_that_month(tmp_path):
    path = tmp_path / "one.nc"
    made.write_month(path, [(1901, 3)], bounds=False)
    with netCDF4.Dataset(path, "a") as file:
        file["time"][:] = 73.5
    assert set(scan([path], ["TSOI"]).field("TSOI").records) == {(1901, 3)}


@pytest.mark.parametrize("kind", ["NETCDF3_64BIT_OFFSET", "NETCDF4_CLASSIC"])
def test_one_variable_per_file_in_other_formats_gives_the_same(tmp_path, forcing, folder, kind):
    months = [(y, m) for y in (1901, 1902) for m in range(1, 13)]
    paths = []
    for name in made.STANDARD:
        paths.append(tmp_path / f"run.{name}.nc")
        made.write_month(paths[-1], months, [name], kind=kind)
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    for variable in FORCING_VARIABLES:
        xr.testing.assert_allclose(found[variable.name], forcing[variable.name], rtol=1e-6)


def test_a_missing_variable_is_named(tmp_path, folder):
    paths = made.write_history(
        tmp_path, (1901, 1901), names=[n for n in made.STANDARD if n != "O_SCALAR"]
    )
    with pytest.raises(
        ForcingError, match=r"no monthly variable O_SCALAR .*run\.clm2\.h0\.1901-01\.nc"
    ):
        clm.from_clm(paths, folder / "surface.nc")


def test_a_variable_missing_in_one_file_is_named_with_its_month(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901))
    made.write_month(paths[4], [(1901, 5)], [n for n in made.STANDARD if n != "FPI_vr"])
    with pytest.raises(ForcingError, match="FPI_vr lacks May of 1901"):
        clm.from_clm(paths, folder / "surface.nc")


def test_missing_months_and_years_are_named(history, folder):
    with pytest.raises(ForcingError, match="TSOI lacks Mar, Jul of 1901"):
        clm.from_clm(
            [p for p in history if p.stem[-7:] not in ("1901-03", "1901-07")], folder / "surface.nc"
        )
    with pytest.raises(ForcingError, match="TSOI lacks all of 1903"):
        clm.from_clm(history, folder / "surface.nc", years=(1901, 1903))


def test_a_gap_between_years_is_named(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901)) + made.write_history(tmp_path, (1903, 1903))
    with pytest.raises(ForcingError, match="TSOI lacks all of 1902"):
        clm.from_clm(paths, folder / "surface.nc")


def test_a_month_twice_names_both_files(tmp_path, history, folder):
    made.write_month(tmp_path / "again.nc", [(1901, 5)])
    with pytest.raises(ForcingError, match=r"May 1901 appears twice.*1901-05\.nc.*again\.nc"):
        clm.from_clm([*history, tmp_path / "again.nc"], folder / "surface.nc")


def test_years_may_be_chosen(history, folder):
    found = clm.from_clm(history, folder / "surface.nc", years=(1902, 1902)).compute()
    assert at(found, "soil_temperature", 0, 0)[0, 0] == pytest.approx(261.5)


def test_daily_records_are_refused(tmp_path):
    path = tmp_path / "daily.nc"
    made.write_month(path, [(1901, 5)])
    with netCDF4.Dataset(path, "a") as file:
        file["time_bounds"][:] = [[120, 121]]
    with pytest.raises(ForcingError, match=r"daily\.nc: a record covers 1 days"):
        scan([path], ["TSOI"])


def test_a_wrong_unit_is_named(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901), units={"TSOI": "degC"})
    with pytest.raises(ForcingError, match=r"TSOI is in 'degC'.*expected 'K'"):
        clm.from_clm(paths, folder / "surface.nc")


def test_another_vertical_grid_is_refused(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901))
    for path in paths:
        with netCDF4.Dataset(path, "a") as file:
            file["levgrnd"][:] = 0.025 * (np.exp(0.5 * (np.arange(1, 26) - 0.5)) - 1)
    with pytest.raises(ForcingError, match="those of CLM5 lie at"):
        clm.from_clm(paths, folder / "surface.nc")


def test_surface_data_of_another_grid_are_refused(history, tmp_path):
    surface = made.write_surface(tmp_path / "shifted.nc", shift=30.0)
    with pytest.raises(ForcingError, match="LONGXY differs"):
        clm.from_clm(history, surface)


def test_missing_surface_data_are_named(history):
    with pytest.raises(ForcingError, match=r"nbedrock \(or zbedrock\) and CELLSAND"):
        clm.from_clm(history)


@pytest.mark.parametrize(
    "kind", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]
)
@pytest.mark.parametrize("share", [0.02, 0.6, 0.999])
def test_a_file_cut_short_is_named_and_leaves_nothing(tmp_path, folder, kind, share):
    paths = made.write_history(tmp_path, (1901, 1901), kind=kind)
    content = paths[6].read_bytes()
    paths[6].write_bytes(content[: int(share * len(content))])
    out = tmp_path / "out.zarr"
    with pytest.raises(FileError, match=r"1901-07\.nc"):
        files.write_zarr(clm.from_clm(paths, folder / "surface.nc"), out)
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == []


def test_a_file_that_is_no_netcdf_is_named(history, tmp_path, folder):
    (tmp_path / "text.nc").write_text("not netCDF")
    with pytest.raises(FileError, match=r"text\.nc: not a readable netCDF"):
        clm.from_clm([*history, tmp_path / "text.nc"], folder / "surface.nc")
    with pytest.raises(FileError, match="there is no such file"):
        clm.from_clm([*history, tmp_path / "absent.nc"], folder / "surface.nc")


def test_a_cell_without_one_variable_is_left_out_and_says_which(tmp_path, folder):
    def change(name, data):
        if name == "O_SCALAR":
            data[3, 3, 1] = made.FILL

    paths = made.write_history(tmp_path, (1901, 1901), change=change)
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    assert at(found, "status", 3, 1) == 2
    assert at(found, "missing", 3, 1) == 2 ** [v.name for v in FORCING_VARIABLES].index("o_scalar")
    assert np.isnan(at(found, "soil_temperature", 3, 1)).all()
    assert status_counts(found)["usable"] == 22


def test_negative_litter_is_left_out_not_clipped(tmp_path, folder):
    def change(name, data):
        if name == "LITFALL":
            data[0, 0] = -1e-6

    paths = made.write_history(tmp_path, (1901, 1901), change=change)
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    assert at(found, "status", 0, 0) == 3


def test_an_impossible_scalar_is_refused_with_its_place(tmp_path, folder):
    def change(name, data):
        if name == "O_SCALAR":
            data[3, 2, 5] = 1.5

    paths = made.write_history(tmp_path, (1901, 1901), change=change)
    with pytest.raises(ForcingError, match=r"O_SCALAR\) = 1\.5 1 at lat 45, lon -60, {'layer': 4"):
        clm.from_clm(paths, folder / "surface.nc").compute()


def test_the_scalar_itself_is_preferred_to_the_potential(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901), names=[*made.STANDARD, "W_SCALAR"])
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    assert found.attrs["w_scalar_from"] == "W_SCALAR"
    assert at(found, "w_scalar", 0, 0)[2, 4] == pytest.approx(0.12)


TURNOVER = (
    "CWDC_LOSS",
    "LITR1_HR",
    "LITR1C_TO_SOIL1C",
    "LITR2_HR",
    "LITR2C_TO_SOIL1C",
    "CWDC_TO_LITR2C",
    "LITR3_HR",
    "LITR3C_TO_SOIL2C",
    "CWDC_TO_LITR3C",
)


def test_turnover_comes_before_litterfall(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901), names=[*made.STANDARD, *TURNOVER])
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    assert found.attrs["litter_input_from"].startswith("turnover")
    year = 365 * 86400 * 1e-6
    np.testing.assert_allclose(
        at(found, "litter_input", 0, 0), [3 * year, 3 * year, 8 * year, 5 * year], rtol=1e-6
    )


def test_npp_needs_shares(tmp_path, folder):
    names = [n for n in made.STANDARD if n not in ("LITFALL", "WOODC_LOSS")]
    paths = made.write_history(tmp_path, (1901, 1901), names=[*names, "NPP"])
    with pytest.raises(
        ForcingError, match=r"turnover lacks CWDC_LOSS.*litterfall lacks WOODC_LOSS"
    ):
        clm.from_clm(paths, folder / "surface.nc")
    with pytest.raises(ForcingError, match="give the shares of CWD, ML, CL, LL"):
        clm.from_clm(paths, folder / "surface.nc", litter_inputs="npp")
    with pytest.raises(ForcingError, match="add up to 1"):
        clm.from_clm(paths, folder / "surface.nc", npp_shares=[0.2, 0.2, 0.2, 0.2])
    found = clm.from_clm(paths, folder / "surface.nc", npp_shares=[0.1, 0.2, 0.3, 0.4]).compute()
    year = 365 * 86400 * 1e-5
    expected = np.array([0.1, 0.2, 0.3, 0.4]) * year
    np.testing.assert_allclose(at(found, "litter_input", 0, 0), expected, rtol=1e-6)


def test_a_recipe_of_the_user_integrates_fluxes_per_volume(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901), names=[*made.STANDARD, "FLUX_vr"])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[CWD]\nWOODC_LOSS = 1\n[ML]\nFLUX_vr = 0.5\n[CL]\nFLUX_vr = 1\n[LL]\nLITFALL = 0.1\n"
    )
    found = clm.from_clm(paths, folder / "surface.nc", litter_inputs=str(recipe)).compute()
    year = 365 * 86400 * 1e-6 * 8.6
    np.testing.assert_allclose(at(found, "litter_input", 0, 0)[1:3], [0.5 * year, year], rtol=1e-6)
    recipe.write_text("[CWD]\nWOODC_LOSS = 'x'\n[ML]\n[CL]\n[LL]\n")
    with pytest.raises(ForcingError, match=r"\[CWD\] needs lines of the form"):
        clm.from_clm(paths, folder / "surface.nc", litter_inputs=str(recipe))
    with pytest.raises(ForcingError, match="not auto, turnover"):
        clm.from_clm(paths, folder / "surface.nc", litter_inputs="nothing")


def test_area_and_land_fraction_of_the_files_weigh_the_totals(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901))
    area = np.arange(1.0, 25.0).reshape(4, 6)
    with netCDF4.Dataset(paths[0], "a") as file:
        for name, values in (("area", area), ("landfrac", area / 24)):
            variable = file.createVariable(name, "f4", ("lat", "lon"), fill_value=made.FILL)
            values = np.ma.masked_array(values, mask=np.zeros((4, 6), bool))
            values[made.SEA] = np.ma.masked
            variable[:] = values
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    assert at(found, "cell_area", 2, 5) == 18.0
    assert at(found, "land_fraction", *made.SEA) == 0.0
    carbon = found["litter_input"].sum("litter")
    weighted = float((carbon * found["cell_area"] * found["land_fraction"]).sum()) * 1e6 / 1e15
    assert sum(litter_totals(found).values()) == pytest.approx(weighted, rel=1e-6)


def test_neither_scalar_nor_potential_is_an_error_that_names_both(tmp_path, folder):
    names = [n for n in made.STANDARD if n != "SOILPSI"]
    paths = made.write_history(tmp_path, (1901, 1901), names=names)
    with pytest.raises(ForcingError, match=r"no monthly variable W_SCALAR \(or SOILPSI\)"):
        clm.from_clm(paths, folder / "surface.nc")


def test_area_in_m2_and_land_in_per_cent_give_the_same(tmp_path, folder):
    paths = made.write_history(tmp_path, (1901, 1901))
    area = grids.cell_area(made.LAT, made.LON)
    with netCDF4.Dataset(paths[0], "a") as file:
        for name, values, unit in (("area", area * 1e6, "m^2"), ("landfrac", 0 * area + 50, "%")):
            variable = file.createVariable(name, "f8", ("lat", "lon"))
            variable[:], variable.units = values, unit
    with netCDF4.Dataset(folder / "surface.nc", "a") as file:
        file["zbedrock"].units = "cm"
        file["zbedrock"][:] = 100 * file["zbedrock"][:]
        file["PCT_SAND"].units = "1"
        file["PCT_SAND"][:] = file["PCT_SAND"][:] / 100
    found = clm.from_clm(paths, folder / "surface.nc").compute()
    np.testing.assert_allclose(found["land_fraction"], 0.5)
    np.testing.assert_allclose(found["cell_area"].sel(lon=0), area[:, 0], rtol=1e-6)
    right = clm.from_clm(paths, made.write_surface(tmp_path / "s.nc")).compute()
    for name in ("nbedrock", "sand"):
        np.testing.assert_allclose(found[name], right[name], rtol=1e-6)
    with netCDF4.Dataset(paths[0], "a") as file:
        file["area"].units = "steradian"
    with pytest.raises(ForcingError, match=r"area is in 'steradian'"):
        clm.from_clm(paths, folder / "surface.nc")
