"""Maps against the models run directly; chunks, restarts, members without an answer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import proda
from proda.blocks.executor import Executor
from proda.errors import FileError, ForcingError, ParameterError
from proda.maps import run_members
from proda.maps.cells import land_cells
from proda.maps.map_plan import most_common
from proda.maps.map_variables import NO_PARAMETERS, STOCKS, TOO_LARGE
from proda.maps.parameter_sources import Default, Everywhere, b_by_type
from proda.maps.run_map import write_map
from proda.simulate import CPU_BLOCK, ages
from tests.map_grids import ensemble, small_grid

pytestmark = pytest.mark.usefixtures("small_blocks")

MEMBERS = 5


@pytest.fixture(scope="module", params=["clm5", "compas"])
def made(request, tmp_path_factory):
    """A map of five members with what went into it, and each member run by the public calls."""
    model = proda.load_model(request.param)
    grid = small_grid()
    cells = land_cells(grid)
    values, predict = ensemble(model, len(cells), MEMBERS)
    path = tmp_path_factory.mktemp("map") / "map.nc"
    result = write_map(model, grid, predict, path, chunk=7)
    forcing = cells.forcing(np.arange(len(cells)))
    named = [{row.name: v[:, j] for j, row in enumerate(model.rows)} for v in values]
    states = [proda.steady_state(model, v, forcing, bounds="physical") for v in named]
    parts = [proda.components(model, v, forcing, bounds="physical") for v in named]
    with xr.open_dataset(path) as opened:
        dataset = opened.load()
    return model, cells, values, predict, result, dataset, states, parts


def too_large(made):
    """Which columns of which members hold a number that the file has no room for."""
    *_, states, parts = made
    numbers = [
        np.column_stack([s["soil_carbon"] / 1000, *(p[n] for n in p.data_vars)])
        for s, p in zip(states, parts, strict=True)
    ]
    fine = np.stack([s["reason"].to_numpy() == 0 for s in states])
    return fine & (np.stack(numbers) >= 1e20).any(axis=2)


def at_cells(dataset, cells, name):
    return dataset[name].transpose("lat", "lon", ...).to_numpy()[cells.row, cells.column]


def test_mean_and_spread_are_those_of_the_members_run_one_by_one(made):
    model, cells, _, _, _, dataset, states, parts = made
    feasible = np.stack([s["reason"].to_numpy() == 0 for s in states]) & ~too_large(made)
    n = feasible.sum(axis=0)
    assert (n == 0).any()  # rough columns: some have no steady state at all,
    assert ((n > 0) & (n < MEMBERS)).any()  # some in a few members,
    assert (n == MEMBERS).any()  # some in all
    grid = proda.forcing.CLM5_GRID
    direct = {"soc": np.stack([s["soil_carbon"].to_numpy() / 1000 for s in states])}
    for stock in STOCKS:
        within = grid.thickness_within(0.0, stock.lower or 8.6)
        direct[stock.name] = (direct["soc"] * within).sum(axis=-1)
    names = [str(v) for v in parts[0].data_vars if v != "reason"]
    assert {"CTE", "K", "V", "XI", "B", "I", "litter_to_soil", "residence_time"} <= set(names)
    assert ("michaelis_over_DOC" in names) == (model.name == "compas")
    direct |= {n: np.stack([p[n].to_numpy() for p in parts]) for n in names}
    answered_first = np.argsort(~feasible, axis=0, kind="stable")
    for name, values in direct.items():
        in_file = {e: at_cells(dataset, cells, name + e) for e in ("", "_sd", "_q05", "_q95")}
        order = answered_first.reshape(MEMBERS, len(cells), *[1] * (values.ndim - 2))
        values = np.take_along_axis(values, order, axis=0)
        for members in np.unique(n):
            here = n == members
            one, found = values[:members, here], {e: v[here] for e, v in in_file.items()}
            if members == 0:
                assert all(np.isnan(v).all() for v in found.values()), name
                continue
            close = {"rtol": 3e-6, "atol": 1e-30, "err_msg": name}
            np.testing.assert_allclose(found[""], one.mean(axis=0), **close)
            np.testing.assert_allclose(found["_q05"], np.quantile(one, 0.05, axis=0), **close)
            np.testing.assert_allclose(found["_q95"], np.quantile(one, 0.95, axis=0), **close)
            if members == 1:
                assert np.isnan(found["_sd"]).all()
            else:  # as exact as the largest value of each cell allows
                largest = np.abs(one).max(axis=(0, *range(2, one.ndim)), keepdims=True)[0]
                scale = np.maximum(largest, 1e-30)
                sd = one.std(axis=0, ddof=1) / scale
                tiny = {**close, "atol": 1e-12}
                np.testing.assert_allclose(found["_sd"] / scale, sd, **tiny)


def test_a_map_holds_ages_if_they_are_asked_for(made, tmp_path):
    model, cells, values, _, _, plain, states, _ = made
    _, predict = ensemble(model, len(cells), MEMBERS)  # its calls are counted by another test
    write_map(model, small_grid(), predict, tmp_path / "ages.nc", chunk=7, ages=True)
    with xr.open_dataset(tmp_path / "ages.nc") as opened:
        found = opened.load()
    assert not [name for name in plain if "mean_age" in name]
    xr.testing.assert_identical(plain["soc"], found["soc"])
    forcing = cells.forcing(np.arange(len(cells)))
    named = [{row.name: v[:, j] for j, row in enumerate(model.rows)} for v in values]
    old = [ages(model, v, forcing, bounds="physical") for v in named]
    every = np.all([s["reason"].to_numpy() == 0 for s in states], axis=0)
    every &= ~too_large(made).any(axis=0)
    assert every.any()
    whole = ("mean_age", "mean_age_soil", "mean_age_0_30", "mean_age_0_100", "transit_time")
    wanted = {name: np.stack([o[name] for o in old]) for name in whole}
    wanted |= {
        f"mean_age_{pool}": np.stack([o["mean_age_by_pool"].sel(pool=pool) for o in old])
        for pool in model.pools
    }
    for name, value in wanted.items():
        assert found[name].attrs["units"] == "yr"
        np.testing.assert_allclose(
            at_cells(found, cells, name)[every], value.mean(axis=0)[every], rtol=3e-6, err_msg=name
        )


def test_reasons_are_counted_and_add_up(made):
    _, cells, _, _, result, dataset, states, _ = made
    reasons = np.stack([s["reason"].to_numpy() for s in states])
    reasons = np.where(too_large(made), TOO_LARGE, reasons)
    assert result.members_by_reason.get("too_large", 0) == too_large(made).sum()
    np.testing.assert_array_equal(
        at_cells(dataset, cells, "n_feasible"), (reasons == 0).sum(axis=0)
    )
    np.testing.assert_array_equal(
        at_cells(dataset, cells, "n_no_steady_state"), (reasons == 1).sum(axis=0)
    )
    np.testing.assert_array_equal(at_cells(dataset, cells, "reason"), most_common(reasons))
    assert sum(result.members_by_reason.values()) == MEMBERS * len(cells)
    assert sum(result.cells_by_reason.values()) == len(cells) + 1  # one without forcing
    assert result.cells_by_reason["no_forcing"] == 1
    assert float(dataset["reason"][0, 1]) == 10
    assert int(dataset["reason"].notnull().sum()) == len(cells) + 1


def test_parameters_are_mapped_too(made):
    model, cells, values, _, _, dataset, _, _ = made
    for j, row in enumerate(model.rows):
        name = f"param_{row.name}"
        mean, sd = values[:, :, j].mean(axis=0), values[:, :, j].std(axis=0, ddof=1)
        np.testing.assert_allclose(at_cells(dataset, cells, name), mean, rtol=1e-6)
        np.testing.assert_allclose(at_cells(dataset, cells, name + "_sd"), sd, rtol=1e-5)
        assert dataset[name].attrs["units"] == row.unit


def test_totals_per_member_are_sums_of_stock_times_land(made):
    _, cells, _, _, _, dataset, states, _ = made
    within = proda.forcing.CLM5_GRID.thickness_within(0.0, 1.0)
    for m, state in enumerate(states):
        stock = (state["soil_carbon"].to_numpy() / 1000 * within).sum(axis=1)
        fine = (state["reason"].to_numpy() == 0) & ~too_large(made)[m]
        expected = (stock * cells.land_area)[fine].sum() * 1e6 / 1e12
        found = dataset["member_carbon"].sel(stock="cSoilAbove1m").isel(realization=m).sum()
        np.testing.assert_allclose(float(found), expected, rtol=1e-12)
        area = float(dataset["member_area"].isel(realization=m).sum())
        np.testing.assert_allclose(area, cells.land_area[fine].sum(), rtol=1e-12)


def test_parameters_are_asked_for_in_chunks_and_each_cell_once(made):
    _, cells, _, predict, result, _, _, _ = made
    probe, *calls = predict.calls
    assert len(probe) <= 24
    assert max(len(c) for c in calls) <= 7
    assert len(calls) == result.chunks
    np.testing.assert_array_equal(np.sort(np.concatenate(calls)), np.arange(len(cells)))


def test_file_follows_cf_and_cmip(made):
    model, _, _, _, _, dataset, _, _ = made
    assert dataset.attrs["Conventions"] == "CF-1.11"
    assert dataset.attrs["model"] == model.name
    assert dataset.attrs["forcing_title"] == "made up"
    for name in ("cSoil", "cSoilAbove1m"):
        attrs = dataset[name].attrs
        assert attrs["units"] == "kg m-2"
        assert attrs["standard_name"] == "soil_mass_content_of_carbon"
        assert attrs["cell_methods"] == "area: mean where land realization: mean"
        assert attrs["cell_measures"] == "area: cell_area"
        assert "standard_name" not in dataset[f"{name}_sd"].attrs
        assert "standard_deviation" in dataset[f"{name}_sd"].attrs["cell_methods"]
    assert dataset["soc"].dims == ("layer", "lat", "lon")
    assert dataset["soc"].attrs["units"] == "kg m-3"
    assert dataset["soc_q05"].attrs["long_name"].endswith("5 % quantile of the ensemble")
    for axis, name in (("lat", "latitude"), ("lon", "longitude")):
        assert dataset[axis].attrs["standard_name"] == name
        bounds = dataset[f"{axis}_bnds"].to_numpy()
        np.testing.assert_allclose(bounds.mean(axis=1), dataset[axis], atol=1e-9)
        np.testing.assert_allclose(bounds[1:, 0], bounds[:-1, 1])
    assert dataset["cell_area"].attrs["standard_name"] == "cell_area"
    assert dataset["land_fraction"].attrs["standard_name"] == "land_area_fraction"
    flags = dataset["reason"].attrs
    assert len(flags["flag_values"]) == len(flags["flag_meanings"].split())
    assert dataset["soc"].encoding["zlib"]
    np.testing.assert_allclose(dataset["depth_bnds"][-1, 1], 8.6)


def same_file(a, b, exact=True):
    with xr.open_dataset(a) as one, xr.open_dataset(b) as two:
        assert set(one.variables) == set(two.variables)
        for name in one.variables:
            x, y = one[name].to_numpy(), two[name].to_numpy()
            if exact or not name.startswith("member_"):
                np.testing.assert_array_equal(x, y, err_msg=name)
            else:  # sums over cells in another order
                np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-20, err_msg=name)


def test_chunk_size_changes_no_number(tmp_path):
    model, grid = proda.load_model("compas"), small_grid()
    _, predict = ensemble(model, len(land_cells(grid)), 3)
    write_map(model, grid, predict, tmp_path / "a.nc", chunk=1000)
    write_map(model, grid, predict, tmp_path / "b.nc", chunk=4)
    same_file(tmp_path / "a.nc", tmp_path / "b.nc", exact=False)
    in_memory = small_grid(dask=False)
    write_map(model, in_memory, predict, tmp_path / "c.nc", chunk=4)
    same_file(tmp_path / "a.nc", tmp_path / "c.nc", exact=False)


class StoppedError(Exception):
    pass


def stop_after(n):
    def progress(done, total):
        if done >= n:
            raise StoppedError

    return progress


def test_interrupted_run_goes_on_and_ends_in_the_same_bits(tmp_path):
    model, grid = proda.load_model("clm5"), small_grid()
    n = len(land_cells(grid))
    _, predict = ensemble(model, n, 3)
    write_map(model, grid, predict, tmp_path / "whole.nc", chunk=6)
    broken = tmp_path / "broken.nc"
    with pytest.raises(StoppedError):
        write_map(
            model,
            grid,
            predict,
            broken,
            chunk=6,
            progress=stop_after(12),
            settings={"seeds": (1, 2)},
        )
    assert not broken.exists()
    before = len(predict.calls)
    seen = []
    result = write_map(
        model,
        grid,
        predict,
        broken,
        chunk=6,
        settings={"seeds": (1, 2)},
        progress=lambda *done: seen.append(done),
    )
    assert result.chunks_reused == 2
    assert len(predict.calls) - before == result.chunks - 2 + 1  # and one look at a few cells
    assert seen[:2] == [(12, n), (18, n)]
    assert seen[-1] == (n, n)
    same_file(tmp_path / "whole.nc", broken)
    assert not (tmp_path / "broken.nc.chunks").exists()


def test_damaged_chunk_is_named_and_made_again(tmp_path):
    model, grid = proda.load_model("compas"), small_grid()
    _, predict = ensemble(model, len(land_cells(grid)), 2)
    write_map(model, grid, predict, tmp_path / "a.nc", chunk=9, keep_chunks=True)
    (tmp_path / "a.nc").rename(tmp_path / "first.nc")
    chunk = tmp_path / "a.nc.chunks" / "00001.npz"
    chunk.write_bytes(chunk.read_bytes()[:-40])
    result = write_map(model, grid, predict, tmp_path / "a.nc", chunk=9)
    assert result.chunks_reused == result.chunks - 1
    assert len(result.chunks_redone) == 1
    assert "00001.npz: incomplete" in result.chunks_redone[0]
    same_file(tmp_path / "first.nc", tmp_path / "a.nc")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"chunk": 8},
            r"00000\.npz was written with other settings or data \(chunk: 9 before, 8 now\)",
        ),
        ({"bounds": "prior"}, "bounds: physical before, prior now"),
        ({"settings": {"network": "b"}}, "given: .* before, .*'b'"),
        ({"quantiles": (0.1, 0.9)}, "quantiles"),
        ({"parameters": 77}, "parameters: [0-9a-f]{12}... before"),
        ({"forcing": 1}, "forcing: [0-9a-f]{12}... before"),
        ({"outside": True}, "outside_training"),
    ],
)
def test_chunks_of_another_run_are_refused_by_name(tmp_path, change, named):
    model, grid = proda.load_model("compas"), small_grid()
    cells = len(land_cells(grid))
    _, predict = ensemble(model, cells, 2)
    arguments = {"chunk": 9, "settings": {"network": "a", "seeds": (1, 2)}}
    with pytest.raises(StoppedError):
        write_map(model, grid, predict, tmp_path / "a.nc", progress=stop_after(9), **arguments)
    if "parameters" in change:
        _, predict = ensemble(model, cells, 2, seed=change.pop("parameters"))
    if change.pop("forcing", None):
        grid["soil_temperature"] = grid["soil_temperature"] + np.float32(0.1)
    if change.pop("outside", None):
        change["outside_training"] = np.ones(cells, bool)
    with pytest.raises(FileError, match=named):
        write_map(model, grid, predict, tmp_path / "a.nc", **(arguments | change))


def test_cells_without_parameters_are_counted_not_filled(tmp_path):
    model, grid = proda.load_model("compas"), small_grid()
    cells = land_cells(grid)
    values, predict = ensemble(model, len(cells), 3)
    whole = write_map(model, grid, predict, tmp_path / "whole.nc")
    values[:, 4] = np.nan  # no member knows cell 4
    values[1, 6] = np.nan  # one does not know cell 6
    outside = np.arange(len(cells)) % 3 == 0
    result = write_map(model, grid, predict, tmp_path / "a.nc", outside_training=outside)
    assert result.members_by_reason["no_parameters"] == 4
    assert "no_parameters" not in whole.members_by_reason
    with xr.open_dataset(tmp_path / "a.nc") as dataset:
        assert at_cells(dataset, cells, "reason")[4] == NO_PARAMETERS
        assert np.isnan(at_cells(dataset, cells, "cSoil")[4])
        assert np.isnan(at_cells(dataset, cells, "param_tau_mic")[4])
        assert at_cells(dataset, cells, "n_feasible")[6] <= 2
        known = np.delete(values[:, 6], 1, axis=0)
        names = [row.name for row in model.rows]
        np.testing.assert_allclose(
            at_cells(dataset, cells, "param_tau_mic")[6],
            known[:, names.index("tau_mic")].mean(),
            rtol=1e-6,
        )
        np.testing.assert_array_equal(at_cells(dataset, cells, "outside_training"), outside)


def test_bad_parameters_are_named(tmp_path):
    model, grid = proda.load_model("compas"), small_grid()
    cells = land_cells(grid)
    values, predict = ensemble(model, len(cells), 2)
    place = rf"{cells.latitude[5]:g}[NS] {abs(cells.longitude[5]):g}[EW]"
    for value, words in ((np.nan, "q10 is missing .*member 2"), (-1.0, "q10 = -1")):
        bad = values.copy()
        bad[1, 5, [row.name for row in model.rows].index("q10")] = value
        with pytest.raises(ParameterError, match=words) as error:
            write_map(model, grid, lambda c, bad=bad: bad[:, c], tmp_path / "a.nc")
        assert place.replace("[NS]", "N").replace("[EW]", "W") in str(error.value)
    with pytest.raises(ParameterError, match=r"shape .*; expected \(member, cell, parameter\)"):
        write_map(model, grid, lambda c: values[0][c], tmp_path / "a.nc")
    with pytest.raises(ParameterError, match="outside_training has the shape"):
        write_map(model, grid, predict, tmp_path / "a.nc", outside_training=np.ones(3, bool))
    with pytest.raises(ParameterError, match="settings cannot be written as JSON"):
        write_map(model, grid, predict, tmp_path / "a.nc", settings={"a": np.ones(2)})
    with pytest.raises(FileError, match=r"the folder .* does not exist"):
        write_map(model, grid, predict, tmp_path / "no" / "a.nc")
    assert not list(tmp_path.iterdir())


def test_default_parameterisation(model, tmp_path):
    grid = small_grid()
    cells = land_cells(grid)
    b = np.linspace(0.9, 0.97, len(cells))
    write_map(model, grid, Default(b=b), tmp_path / "a.nc", chunk=10)
    forcing = cells.forcing(np.arange(len(cells)))
    own = "b" in [r.name for r in model.rows if np.isnan(r.default)]
    values = proda.default_parameters(model, forcing, b=b if own else None)
    direct = proda.steady_state(model, values, forcing, bounds="physical")
    fine = direct["reason"].to_numpy() == 0
    with xr.open_dataset(tmp_path / "a.nc") as dataset:
        soc = at_cells(dataset, cells, "soc")
        np.testing.assert_allclose(soc[fine], direct["soil_carbon"][fine] / 1000, rtol=3e-6)
        assert np.isnan(soc[~fine]).all()
        assert "soc_sd" not in dataset  # one member has no spread
        for name in values.data_vars:
            assert dataset[f"param_{name}"].dims[-2:] == ("lat", "lon")
            assert ("layer" in dataset[f"param_{name}"].dims) == ("layer" in values[name].dims)
            np.testing.assert_allclose(
                at_cells(dataset, cells, f"param_{name}"), values[name], rtol=1e-6
            )


def test_one_set_of_parameters_everywhere(tmp_path):
    model, grid = proda.load_model("compas"), small_grid()
    values = {row.name: row.default for row in model.rows}
    write_map(model, grid, Everywhere(values), tmp_path / "a.nc")
    write_map(model, grid, Default(), tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as two:
        np.testing.assert_array_equal(one["cSoil"], two["cSoil"])
    with pytest.raises(ParameterError, match="Missing parameters: tau_mic"):
        values.pop("tau_mic")
        write_map(model, grid, Everywhere(values), tmp_path / "c.nc")


def test_b_by_plant_functional_type():
    types = np.array(["crop", "grass", "crop"])
    np.testing.assert_array_equal(
        b_by_type(types, {"crop": 0.96, "grass": 0.94}), [0.96, 0.94, 0.96]
    )
    np.testing.assert_array_equal(b_by_type(np.array([3, 1]), {1: 0.9, 3: 0.95}), [0.95, 0.9])
    with pytest.raises(ParameterError, match=r"no plant functional type crop \(2 cells\)"):
        b_by_type(types, {"grass": 0.94})


def test_land_cells_of_any_order_of_axes():
    grid = small_grid()
    cells = land_cells(grid)
    index = np.random.default_rng(0).permutation(len(cells))
    forcing = cells.forcing(index)
    for name in ("soil_temperature", "litter_input", "nbedrock"):
        values = grid[name].to_numpy()[cells.row, cells.column][index]
        np.testing.assert_array_equal(getattr(forcing, name), values)
    turned = grid.transpose(..., "lon", "lat").assign_coords(lon=(grid["lon"] % 360))
    again = land_cells(turned)
    np.testing.assert_array_equal(again.latitude, cells.latitude)
    np.testing.assert_allclose(again.longitude, cells.longitude)
    np.testing.assert_array_equal(again.forcing(index).soil_temperature, forcing.soil_temperature)
    back = cells.on_grid(np.arange(float(len(cells))))
    np.testing.assert_array_equal(back[cells.row, cells.column], np.arange(len(cells)))
    assert np.isnan(back).sum() == back.size - len(cells)


def test_faults_of_the_grid_are_named():
    grid = small_grid()
    with pytest.raises(ForcingError, match="no variable `status`"):
        land_cells(grid.drop_vars("status"))
    with pytest.raises(ForcingError, match="lacks w_scalar"):
        land_cells(grid.drop_vars("w_scalar"))
    with pytest.raises(ForcingError, match="No cell"):
        land_cells(grid.assign(status=grid["status"] * 0 + 1))
    with pytest.raises(ForcingError, match=r"land_fraction is 1.*expected 0 to 1"):
        land_cells(grid.assign(land_fraction=grid["land_fraction"] + 1))
    bare = land_cells(grid.drop_vars(["land_fraction", "cell_area"]))
    assert not bare.land_fraction_given
    np.testing.assert_array_equal(bare.land_fraction, 1.0)
    np.testing.assert_allclose(bare.area, grid["cell_area"], rtol=1e-6)


def test_workers_give_the_same_map(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    model, grid = proda.load_model("compas"), small_grid()
    _, predict = ensemble(model, len(land_cells(grid)), 2)
    write_map(model, grid, predict, tmp_path / "a.nc", chunk=5)
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as client:
        write_map(
            model, grid, predict, tmp_path / "b.nc", chunk=5, executor=Executor(client=client)
        )
    same_file(tmp_path / "a.nc", tmp_path / "b.nc")
    settings = json.loads(xr.open_dataset(tmp_path / "b.nc").attrs["settings"])
    assert settings["members"] == 2
    monkeypatch.setattr(run_members, "CPU_BLOCK", CPU_BLOCK)  # as other processes have it
    write_map(model, grid, predict, tmp_path / "c.nc", chunk=20, executor=Executor(workers=2))
    write_map(model, grid, predict, tmp_path / "d.nc", chunk=20)
    same_file(tmp_path / "c.nc", tmp_path / "d.nc")
