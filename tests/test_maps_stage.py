"""`proda map` and `proda totals` on a tiny twin world: network, defaults, mean of sites, faults."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import ndtr, ndtri
from typer.testing import CliRunner

import proda
from proda import files
from proda.cli import app
from proda.drivers.climate import from_climate
from proda.drivers.climate_input import open_climate
from proda.drivers.covariates import at_sites, open_covariates
from proda.errors import LearningError, MapError, ParameterError
from proda.learning.learn import learn
from proda.learning.learning_settings import LearningSettings, study
from proda.learning.network_folder import load_ensemble, save_ensemble
from proda.learning.residuals import write_residuals
from proda.maps.cells import land_cells
from proda.maps.map_from_files import map_default, map_mean, map_network
from proda.maps.network_parameters import NetworkParameters, cell_covariates
from proda.maps.reference_maps import against_references, beside, reference_maps
from proda.maps.totals import open_map, totals
from proda.study.twin import make_twin_world, open_twin_world
from tests.test_docs_commands import blocks, commands

pytestmark = pytest.mark.usefixtures("small_blocks")

SITES = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A world of few cells, its forcing, synthetic posteriors about the truth, and a network."""
    folder = tmp_path_factory.mktemp("twin")
    world = make_twin_world(folder / "world", resolution=15.0, n_sites=SITES, models=("clm5",))
    forcing = from_climate(open_climate(world.climate))
    files.write_zarr(forcing, folder / "forcing.zarr")
    posterior = posteriors(world, folder)
    grid = open_covariates(world.covariates)
    sites = pd.DataFrame({n: posterior[n].to_numpy() for n in ("site", "latitude", "longitude")})
    table, _ = at_sites(grid, sites)
    settings = LearningSettings(members=3, epochs=15, hidden=(16,), target="posterior_mean")
    learned = learn(table, posterior, settings, folds=3, fold_members=2)
    save_ensemble(learned.ensemble, folder / "network")
    files.write_netcdf(posterior, folder / "kept.nc")
    map_network(
        folder / "forcing.zarr",
        folder / "map.nc",
        network=folder / "network",
        covariates=world.covariates,
    )
    return world, folder


def posteriors(world, folder):
    """Gaussian posteriors as wide as a twentieth of the prior, at the sites of the world."""
    model = proda.load_model("clm5")
    profiles = pd.read_parquet(world.profiles / "profiles.parquet").iloc[:SITES]
    with open_map(world.truth("clm5")) as truth:
        at = {
            "lat": xr.DataArray(profiles["lat"], dims="site"),
            "lon": xr.DataArray(profiles["lon"], dims="site"),
        }
        near = truth.sel(at, method="nearest")
        true = np.stack([near[f"param_{row.name}"] for row in model.rows], axis=1)
    lower, upper = (np.array([getattr(r, n) for r in model.rows]) for n in ("lower", "upper"))
    noise = 0.05 * np.random.default_rng(0).standard_normal(true.shape)
    mean = np.clip((true - lower) / (upper - lower) + noise, 0.02, 0.98)
    dims = ("site", "parameter")
    return xr.Dataset(
        {
            "posterior_mean": (dims, lower + mean * (upper - lower)),
            "posterior_sd": (dims, np.broadcast_to(0.05 * (upper - lower), true.shape)),
        },
        {
            "site": profiles["profile_id"].to_numpy(object),
            "latitude": ("site", profiles["lat"].to_numpy()),
            "longitude": ("site", profiles["lon"].to_numpy()),
            "parameter": [row.name for row in model.rows],
            "lower": ("parameter", lower),
            "upper": ("parameter", upper),
        },
        {"model": "clm5", "variant": "default"},
    )


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def test_network_map_holds_the_networks_prediction_at_every_cell(made):
    world, folder = made
    networks = load_ensemble(folder / "network")
    grid = open_covariates(world.covariates)
    with open_map(folder / "map.nc") as found:
        cells = land_cells(files.open_dataset(folder / "forcing.zarr"))
        assert len(cells) == world.land_cells == int((found["reason"] == 0).sum())
        table = grid.table(cells.row, cells.column)
        expected = networks.predict(table, draws=True)["draws"]
        for k, row in enumerate(proda.load_model("clm5").rows):
            there = found[f"param_{row.name}"].to_numpy()[cells.row, cells.column]
            np.testing.assert_allclose(
                there, expected.isel(parameter=k).mean("member"), rtol=1e-5, err_msg=row.name
            )
        outside = found["outside_training"].to_numpy()[cells.row, cells.column]
        np.testing.assert_array_equal(outside, networks.predict(table)["flag"])


def test_residuals_beside_the_network_make_joint_draws(made, tmp_path):
    """The map is made again with them, from chunks of its own."""
    world, folder = made
    shutil.copytree(folder / "network", tmp_path / "network")
    networks = load_ensemble(folder / "network")
    residual = np.random.default_rng(0).standard_normal((4, len(networks.parameters)))
    write_residuals(
        xr.Dataset(
            {"residual": (("member", "parameter"), residual)},
            {"parameter": list(networks.parameters)},
            {"model": "clm5", "variant": "default"},
        ),
        tmp_path / "network",
    )
    map_network(
        folder / "forcing.zarr",
        tmp_path / "map.nc",
        network=tmp_path / "network",
        covariates=world.covariates,
    )
    grid = open_covariates(world.covariates)
    with open_map(tmp_path / "map.nc") as found:
        assert found.sizes["realization"] == 4
        cells = land_cells(files.open_dataset(folder / "forcing.zarr"))
        mean = networks.predict(grid.table(cells.row, cells.column))["mean"].to_numpy()
        low, width = networks.lower, networks.upper - networks.lower
        drawn = low + width * ndtr(ndtri((mean - low) / width) + residual[:, None])
        k = networks.parameters.index("q10")
        there = found["param_q10"].to_numpy()[cells.row, cells.column]
        np.testing.assert_allclose(there, drawn[:, :, k].mean(axis=0), rtol=1e-4)
        assert "joint draws" in found.attrs["settings"]


def test_interrupted_network_map_equals_uninterrupted(made, tmp_path):
    world, folder = made
    given = {"network": folder / "network", "covariates": world.covariates, "chunk": 20}
    map_network(folder / "forcing.zarr", tmp_path / "whole.nc", **given)

    def stop(done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_network(folder / "forcing.zarr", tmp_path / "again.nc", **given, progress=stop)
    assert not (tmp_path / "again.nc").exists()
    again = map_network(folder / "forcing.zarr", tmp_path / "again.nc", **given)
    assert 0 < again.result.chunks_reused < again.result.chunks
    with xr.open_dataset(tmp_path / "whole.nc") as a, xr.open_dataset(tmp_path / "again.nc") as b:
        xr.testing.assert_identical(a.drop_attrs(deep=False), b.drop_attrs(deep=False))


def test_cells_without_covariates_are_counted_never_filled_silently(made, tmp_path):
    world, folder = made
    grid = xr.load_dataset(world.covariates)
    lat, lon = np.argwhere(grid["land_mask"].to_numpy() == 1)[:6].T
    ph, mask = grid["ph"].to_numpy(), grid["land_mask"].to_numpy()
    ph[lat[:3], lon[:3]] = np.nan
    mask[lat[3:], lon[3:]] = 0
    grid = grid.assign(ph=grid["ph"].copy(data=ph), land_mask=grid["land_mask"].copy(data=mask))
    files.write_netcdf(grid, tmp_path / "holes.nc")
    holes = {"network": folder / "network", "covariates": tmp_path / "holes.nc"}
    made_ = map_network(folder / "forcing.zarr", tmp_path / "map.nc", **holes)
    assert made_.result.cells_by_reason["no_parameters"] == 6
    assert made_.covariates.lacking["ph"] == 3
    filled = map_network(folder / "forcing.zarr", tmp_path / "filled.nc", **holes, missing="median")
    assert filled.result.cells_by_reason["no_parameters"] == 3
    assert filled.covariates.filled["ph"] == 3
    with open_map(tmp_path / "map.nc") as dataset:
        assert np.isnan(dataset["cSoil"].to_numpy()[lat, lon]).all()
        assert totals(dataset).loc[("globe", "cSoil"), "answered"] < 1.0
    grid["ph"] = grid["ph"] * np.nan
    files.write_netcdf(grid, tmp_path / "none.nc")
    with pytest.raises(MapError, match=r"None of .* land cells has all covariates.*ph"):
        map_network(
            folder / "forcing.zarr",
            tmp_path / "x.nc",
            network=folder / "network",
            covariates=tmp_path / "none.nc",
        )


def test_covariates_of_another_grid_or_lacking_variables_are_refused(made, tmp_path):
    world, folder = made
    grid = xr.load_dataset(world.covariates)
    files.write_netcdf(grid.drop_vars(["ph", "biome"]), tmp_path / "few.nc")
    files.write_netcdf(grid.isel(lat=slice(None, None, 2)), tmp_path / "coarse.nc")
    fine = grid.reindex(lat=np.arange(-90 + 2.5, 90, 5.0)[::-1], method="nearest")
    files.write_netcdf(fine, tmp_path / "fine.nc")
    common = (folder / "forcing.zarr", tmp_path / "x.nc")
    for name, error, words in (
        ("few.nc", LearningError, "lack ph, biome"),
        ("coarse.nc", MapError, "covariates is on another grid: no cell at lat"),
        ("fine.nc", MapError, "cells are 5 degrees apart along lat, those of the map 15"),
    ):
        with pytest.raises(error, match=words):
            map_network(*common, network=folder / "network", covariates=tmp_path / name)
    with pytest.raises(LearningError, match="for the model clm5, not compas"):
        map_network(
            *common, network=folder / "network", covariates=world.covariates, model="compas"
        )
    with pytest.raises(LearningError, match="for the variant default, not published"):
        map_network(
            *common, network=folder / "network", covariates=world.covariates, variant="published"
        )
    assert not (tmp_path / "x.nc").exists()


def test_members_outside_the_bounds_have_no_answer(made):
    """Networks with unbounded outputs may leave the prior, as the study's can."""
    world, folder = made
    bounded = load_ensemble(folder / "network")
    networks = dataclasses.replace(
        bounded,
        networks=dataclasses.replace(bounded.networks, bounded=False),
        calibration=None,
        settings=study(),
    )
    cells = land_cells(files.open_dataset(folder / "forcing.zarr"))
    known = cell_covariates(open_covariates(world.covariates), cells, networks)
    which = np.arange(len(cells))
    source = NetworkParameters(networks, known, draws=False)
    model = proda.load_model("clm5")
    raw = networks.predict(known.table)["parameters"].to_numpy()
    limits = np.array([row.limits("prior") for row in model.rows])
    left = ((raw < limits[:, 0]) | (raw > limits[:, 1])).any(axis=2)
    assert left.any()
    _, answered = source.at(model, which, cells.forcing(which), "prior")
    np.testing.assert_array_equal(answered, ~left)


def test_default_and_mean_maps(made, tmp_path):
    world, folder = made
    store = folder / "forcing.zarr"
    map_default(store, tmp_path / "plain.nc", model="clm5", b=0.95)
    grid = xr.load_dataset(world.covariates)[["biome"]]
    files.write_netcdf(grid, tmp_path / "types.nc")
    names = str(grid["biome"].attrs["flag_meanings"]).split()
    pd.DataFrame({"type": names, "b": 0.95}).to_csv(tmp_path / "b.csv", index=False)
    types = {"plant_types": tmp_path / "types.nc", "plant_type_variable": "biome"}
    map_default(store, tmp_path / "types_map.nc", model="clm5", **types, b_table=tmp_path / "b.csv")
    plain, by_type = (open_map(tmp_path / n).load() for n in ("plain.nc", "types_map.nc"))
    np.testing.assert_array_equal(plain["cSoil"], by_type["cSoil"])
    pd.DataFrame({"type": names[1:], "b": 0.95}).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(ParameterError, match=f"no plant functional type .*{names[0]}"):
        map_default(store, tmp_path / "x.nc", model="clm5", **types, b_table=tmp_path / "few.csv")
    with pytest.raises(MapError, match="need the name of their variable"):
        map_default(store, tmp_path / "x.nc", model="clm5", plant_types=tmp_path / "types.nc")
    map_mean(store, tmp_path / "mean.nc", kept=folder / "kept.nc")
    posterior = xr.load_dataset(folder / "kept.nc")
    with open_map(tmp_path / "mean.nc") as found:
        there = found["param_q10"].to_numpy()
        expected = float(posterior["posterior_mean"].sel(parameter="q10").mean())
        np.testing.assert_allclose(there[np.isfinite(there)], expected, rtol=1e-6)
    with pytest.raises(MapError, match="for the model clm5, not compas"):
        map_mean(store, tmp_path / "x.nc", kept=folder / "kept.nc", model="compas")
    with pytest.raises(MapError, match="no posteriors of sites"):
        map_mean(store, tmp_path / "x.nc", kept=world.covariates)


def test_commands_of_the_page_on_maps(made, monkeypatch):
    world, folder = made
    monkeypatch.chdir(folder)
    truth = xr.load_dataset(world.truth("clm5"))
    other = truth[["cSoilAbove1m"]].rename(cSoilAbove1m="soc_0_100_other")
    files.write_netcdf(other, "reference.nc")
    shutil.copy(world.covariates, "covariates.nc")
    printed = []
    for words in commands("maps.md"):
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (words, done.output, done.exception)
        printed.append(done.stdout)
    for words in ("feasible", "with all covariates", "0-200 cm", "5 %"):
        assert words in printed[0]
    for name in ("map_cSoilAbove1m", "latitude_cSoil", "against_soc_0_100_other"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5000
    assert "soc_0_100_other" in printed[1]
    for words in ("correlation of the logarithms", "soc_0_100_other", "clm5 / default"):
        assert words in printed[3]
    done = run("totals", world.truth("clm5"), "--output", "totals.csv")
    assert done.exit_code == 0, (done.output, done.exception)
    table = pd.read_csv("totals.csv").set_index(["stock", "map", "zone"])["mean"]
    whole = float(totals(open_map(world.truth("clm5"))).loc[("globe", "cSoil"), "mean"])
    assert table["cSoil", "truth_clm5", "globe"] == pytest.approx(whole, rel=1e-9)


def test_page_on_the_twin_world(tmp_path, monkeypatch, capsys):
    """Both models' truth, then every command up to the assimilation."""
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("twin.md", "python")
    names = {}
    exec(example, names)
    assert set(names["world"].spread) == {"clm5", "compas"}
    assert "cSoilAbove1m" in capsys.readouterr().out
    for words in commands("twin.md"):
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (words, done.output, done.exception)
    built = pd.read_parquet("profiles/profiles.parquet")
    with xr.open_dataset("sites.nc") as sites:
        assert sites["site"].to_numpy().tolist() == built["profile_id"].tolist()
        assert float(sites["distance_km"].max()) < 60.0
    assert {"treated", "too_shallow"} <= set(pd.read_parquet("profiles/rejected.parquet")["reason"])


def test_references_are_summed_with_the_maps_own_weights(made):
    world, _ = made
    with open_map(world.truth("clm5")) as opened:
        truth = opened.load()
    found = reference_maps(truth[["cSoilAbove1m", "soc_0_30"]])
    assert set(found) == {("cSoilAbove1m", "cSoilAbove1m"), ("soc_0_30", "soc_0_30")}
    other = {("cSoilAbove1m", "twice"): 2.0 * truth["cSoilAbove1m"].assign_attrs(units="kg m-2")}
    table = beside({"truth": truth}, other)["mean"]
    for zone in ("globe", "boreal", "tropics"):
        mine, theirs = (table["cSoilAbove1m", name, zone] for name in ("truth", "twice"))
        assert theirs == pytest.approx(2 * mine, rel=1e-6)
    against = against_references({"truth": truth}, other)
    row = against.loc[("cSoilAbove1m", "truth", "twice", "globe")]
    assert row["relative_bias"] == pytest.approx(-0.5)
    assert row["r_log"] == pytest.approx(1.0)
    with pytest.raises(MapError, match="has no variable nowhere"):
        reference_maps(truth, ["nowhere"])
    with pytest.raises(MapError, match="does not follow from its name; give STOCK=residence_time"):
        reference_maps(truth, ["residence_time"])
    with pytest.raises(MapError, match="states its depth"):
        reference_maps(truth[["residence_time"]])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Give one of --network"),
        (("--default",), "--default needs --model"),
        (("--network", "n"), "--network needs --covariates"),
        (("--default", "--network", "n"), "Give one of --network"),
        (("--default", "--model", "clm5", "--members"), "--members needs --network"),
        (("--mean-of", "k.nc", "--b", "0.9"), "--b needs --default"),
        (("--default", "--model", "clm5", "--bounds", "none"), "--bounds none: expected"),
        (("--default", "--model", "clm5", "--workers", "1", "--cluster", "c"), "not both"),
        (("--default", "--model", "clm5", "--reference-variable", "x"), "needs --reference FILE"),
        (("--default", "--model", "none"), "unknown model"),
    ],
)
def test_wrong_options_are_named(made, tmp_path, words, message):
    _, folder = made
    done = run("map", folder / "forcing.zarr", tmp_path / "x.nc", *words)
    assert isinstance(done.exception, proda.errors.ProdaError)
    assert message.lower() in str(done.exception).lower()
    assert not (tmp_path / "x.nc").exists()


def test_world_is_made_again_the_same_and_opened(made, tmp_path):
    world, _ = made
    assert open_twin_world(world.folder) == world
    again = make_twin_world(tmp_path, resolution=15.0, n_sites=SITES, models=("clm5",))
    for name in ("profiles", "layers"):
        one, two = (pd.read_parquet(w.profiles / f"{name}.parquet") for w in (world, again))
        pd.testing.assert_frame_equal(one, two)
    with open_map(world.truth("clm5")) as a, open_map(again.truth("clm5")) as b:
        np.testing.assert_array_equal(a["cSoil"], b["cSoil"])
    with pytest.raises(MapError, match="must divide 180"):
        make_twin_world(tmp_path, resolution=7.0)
    with pytest.raises(MapError, match="measured_model = compas"):
        make_twin_world(tmp_path, models=("clm5",), measured_model="compas")
    with pytest.raises(proda.errors.FileError, match="not a finished synthetic world"):
        open_twin_world(tmp_path / "profiles")


def test_profiles_measure_the_truth_without_noise(tmp_path):
    """What `proda profiles build` reads back is the truth of the site's cell."""
    from proda.observations.build import build
    from proda.observations.build_summary import read_build
    from proda.observations.profile_settings import from_mapping

    make_twin_world(tmp_path / "w", resolution=15.0, n_sites=20, noise=0.0, models=("clm5",))
    source = {"reader": "tidy", "name": "twin", "folder": str(tmp_path / "w" / "profiles")}
    build(from_mapping({"source": [source]}, "test"), tmp_path / "built")
    _, profiles, layers = read_build(tmp_path / "built")
    assert len(profiles) <= 20
    with open_map(tmp_path / "w" / "truth_clm5.nc") as truth:
        for row in profiles.itertuples():
            part = layers[layers["profile_id"] == row.profile_id]
            column = truth["soc"].sel(lat=row.lat, lon=row.lon, method="nearest").to_numpy()
            measured = (part["soc"] * part["bulk_density"]).to_numpy()
            assert (measured <= 1.01 * 1000 * column.max()).all()
            assert (measured >= 0.99 * 1000 * column[:17].min()).all()
            top = part["lower_depth"].to_numpy()[0]
            within = proda.forcing.CLM5_GRID.thickness_within(0.0, top)
            assert measured[0] * top == pytest.approx(1000 * (column * within).sum(), rel=0.35)
