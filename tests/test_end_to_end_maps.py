"""Networks that take a summary of the forcing, on grids: prediction, maps, the constant."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest

import proda
from proda import files
from proda.drivers.climate import from_climate
from proda.drivers.climate_input import open_climate
from proda.drivers.covariates import on_grid, open_covariates
from proda.errors import LearningError, MapError
from proda.learning.applicability import fit_range
from proda.learning.boosted_residual import BoostedResidual, read_residual, write_residual
from proda.learning.carbon_baselines import fit_baseline
from proda.learning.conformal import Intervals
from proda.learning.ensemble import Ensemble
from proda.learning.features import fit_features
from proda.learning.forcing_inputs import beside, response
from proda.learning.learning_settings import LearningSettings
from proda.learning.network import initial_network
from proda.learning.network_folder import save_ensemble
from proda.learning.predict import predict_table
from proda.learning.unseen_file import write_unseen
from proda.maps.cells import land_cells
from proda.maps.map_from_files import map_constant, map_network
from proda.maps.totals import open_map
from proda.plots.maps import map_figure
from proda.study.twin import make_twin_world

MODEL = proda.load_model("clm5")
CONSTANT = {row.name: row.middle for row in MODEL.rows}

INTERVALS = Intervals(
    np.array([0.5, 0.6, 0.7]),
    np.array([[-1.0, -2.0], [-1.5, -2.5], [-2.0, -3.0]]),
    np.array([[1.1, 2.1], [1.6, 2.6], [2.1, 3.1]]),
    np.array([[-1.0, -2.0], [-0.9, -1.9], [np.nan, np.nan]]),
    np.array([[1.2, 2.2], [1.3, 2.3], [np.nan, np.nan]]),
)


def made_of(forcing):
    return response(forcing, MODEL, CONSTANT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A world of few cells and a network with drawn weights, which takes the forcing."""
    folder = tmp_path_factory.mktemp("grid")
    world = make_twin_world(folder / "world", resolution=15.0, n_sites=10, models=("clm5",))
    files.write_zarr(from_climate(open_climate(world.climate)), folder / "forcing.zarr")
    grid = open_covariates(world.covariates)
    table, forcing = cells_of(folder, grid)
    features = fit_features(beside(table, made_of(forcing)))
    settings = LearningSettings(members=2, hidden=(8,))
    n = features.encode(beside(table, made_of(forcing))).inputs.shape[1]
    networks = jax.vmap(
        lambda key: initial_network(key, n, jax.numpy.full(len(MODEL.rows), 0.5), settings)
    )(jax.random.split(jax.random.key(0), 2))
    last = 0.1 * jax.random.normal(jax.random.key(1), networks.weights[-1].shape)
    networks = type(networks)(
        (*networks.weights[:-1], last), networks.biases, settings.dropout, settings.bounded
    )
    ensemble = Ensemble(
        networks,
        features,
        fit_range(beside(table, made_of(forcing)), features),
        None,
        "clm5",
        "default",
        tuple(CONSTANT),
        np.array([row.lower for row in MODEL.rows]),
        np.array([row.upper for row in MODEL.rows]),
        settings,
        len(table),
        pd.DataFrame({"member": [0]}),
        CONSTANT,
    )
    rng = np.random.default_rng(2)
    m = 200
    trees = fit_baseline(
        "boosting",
        rng.uniform(-1, 1, (m, n)).astype(np.float32),
        np.arange(m),
        rng.uniform(0, 2, m),
        rng.lognormal(9, 1, m),
    )
    residual = BoostedResidual(0.4, trees, n)

    def further(to):
        intervals = {"network": INTERVALS.as_dict(), "network_and_residual": INTERVALS.as_dict()}
        write_unseen(to, CONSTANT, [0.6], intervals)
        write_residual(to, residual)

    save_ensemble(ensemble, folder / "network", further)
    save_ensemble(ensemble, folder / "other")
    return world, folder, ensemble


@pytest.fixture(scope="module")
def mapped(made):
    """A map of the network, with what the land cells hold."""
    world, folder, _ = made
    result = map_network(
        folder / "forcing.zarr",
        folder / "map.nc",
        network=folder / "network",
        covariates=world.covariates,
        residual=True,
    )
    cells = land_cells(files.open_dataset(folder / "forcing.zarr"))
    with open_map(folder / "map.nc") as opened:
        return result, cells, opened.load()


def cells_of(folder, grid):
    """Covariates and forcing of the cells that have both."""
    cells = land_cells(files.open_dataset(folder / "forcing.zarr"))
    table = on_grid(grid)
    have = {(r, c): i for i, (r, c) in enumerate(zip(cells.row, cells.column, strict=True))}
    place = [have.get(rc, -1) for rc in zip(table["row"], table["column"], strict=True)]
    there = np.array(place) >= 0
    return table[there].reset_index(drop=True), cells.forcing(np.array(place)[there])


def test_prediction_on_a_grid_takes_each_cells_forcing(made):
    world, folder, ensemble = made
    found = predict_table(folder / "network", world.covariates, forcing=folder / "forcing.zarr")
    table, forcing = cells_of(folder, open_covariates(world.covariates))
    own = ensemble.predict(beside(table, made_of(forcing)))
    usable = found["usable"].to_numpy().astype(bool)
    np.testing.assert_array_equal(found["row"].to_numpy()[usable], table["row"])
    np.testing.assert_allclose(found["mean"].to_numpy()[usable], own["mean"], rtol=1e-12)
    with pytest.raises(LearningError, match="on the grid of the covariates"):
        shifted = files.open_dataset(folder / "forcing.zarr").load()
        shifted = shifted.assign_coords(lat=shifted["lat"] + 1.0)
        files.write_netcdf(shifted, folder / "shifted.nc")
        predict_table(folder / "network", world.covariates, forcing=folder / "shifted.nc")


def test_map_takes_the_forcing_and_shows_members(mapped):
    made_map, cells, dataset = mapped
    assert made_map.covariates.covered.any()
    table = made_map.covariates.table
    assert made_map.result.n_members == 2
    own = made_of(cells.forcing(np.arange(len(cells))))
    np.testing.assert_allclose(table[list(own)], own, rtol=1e-12)
    assert "members as trained" in str(dataset.attrs)


def at_cells(mapped, name):
    _, cells, dataset = mapped
    values = dataset[name].transpose("lat", "lon", ...).to_numpy().astype(float)
    return values[cells.row, cells.column]


def expected_error(mapped):
    """Mean carbon and error of ln carbon (cell, layer), from the mean and sd of two members."""
    mean, sd = at_cells(mapped, "soc"), at_cells(mapped, "soc_sd")
    one, two = mean + sd / np.sqrt(2), mean - sd / np.sqrt(2)
    both = (mean > 0.01) & (two > 0)
    spread = np.abs(np.log(np.where(both, one, 1.0) / np.where(both, two, 1.0))) / np.sqrt(2)
    own = np.digitize(proda.forcing.CLM5_GRID.node, [0.3, 1.0])
    return mean, np.sqrt(INTERVALS.scale[own] ** 2 + spread**2), both, own


def test_map_holds_the_interval_of_one_profile(mapped):
    _, cells, dataset = mapped
    forcing = cells.forcing(np.arange(len(cells)))
    cold = (forcing.soil_temperature.mean(axis=(1, 2)) < 281.6).astype(int)
    assert 0 < cold.mean() < 1
    mean, error, both, own = expected_error(mapped)
    assert both.any()
    for end, factors in (("_lower", INTERVALS.low), ("_upper", INTERVALS.high)):
        expected = mean * np.exp(factors[own][:, cold].T * error)
        found = at_cells(mapped, "soc" + end)
        fits = both & (expected < 1e19)
        np.testing.assert_allclose(found[fits], expected[fits], rtol=1e-3)
        np.testing.assert_array_equal(
            np.isnan(found), ~(mean >= 0.01) | (both & ~(expected < 1e20))
        )
        within = proda.forcing.CLM5_GRID.thickness_within(0.0, 1.0)
        whole = (both | (mean == 0.0) | (within == 0)).all(axis=1)
        weight = np.where(both, mean, 0.0) * within
        of_stock = (weight * error).sum(axis=1)[whole] / weight.sum(axis=1)[whole]
        quantile = (INTERVALS.stock_low if end == "_lower" else INTERVALS.stock_high)[1]
        stock = at_cells(mapped, "cSoilAbove1m")[whole] * np.exp(quantile[cold][whole] * of_stock)
        np.testing.assert_allclose(at_cells(mapped, "cSoilAbove1m" + end)[whole], stock, rtol=1e-3)
    assert whole.any()
    assert "cSoil_lower" not in dataset  # no profile measures the whole column
    assert "soc_0_200_lower" not in dataset  # nor, here, two metres
    about = dataset["cSoilAbove1m_upper"].attrs
    assert about["units"] == "kg m-2"
    assert "not for the cell's mean" in about["comment"]
    assert "correlation between the errors" in about["comment"]
    assert "standard_name" not in about
    assert dataset["soc"].attrs["ancillary_variables"] == "soc_lower soc_upper"


def test_residual_is_a_variable_of_its_own_and_says_what_it_is(made, mapped):
    _, folder, ensemble = made
    result, cells, dataset = mapped
    residual = read_residual(folder / "network")
    mean = at_cells(mapped, "soc")
    inputs = ensemble.features.encode(result.covariates.table).inputs
    usable = ensemble.features.encode(result.covariates.table).usable
    cell = np.flatnonzero(usable & np.isfinite(mean[:, 0]))[-1]
    bedrock = cells.forcing(np.arange(len(cells))).nbedrock[cell]
    node = proda.forcing.CLM5_GRID.node
    row = np.full(bedrock, np.cumsum(usable)[cell] - 1)
    known = np.log(np.maximum(mean[cell, :bedrock], 0.01))
    added = residual.predict(inputs, row, node[:bedrock], known)
    found = at_cells(mapped, "soc_and_residual")[cell]
    np.testing.assert_allclose(found[:bedrock], np.exp(known + added), rtol=1e-5)
    assert (found[bedrock:] == 0).all()
    within = proda.forcing.CLM5_GRID.thickness_within(0.0, 1.0)
    stock = at_cells(mapped, "cSoilAbove1m_and_residual")[cell]
    assert stock == pytest.approx((found * within).sum(), rel=1e-5)
    for name in ("soc_and_residual", "soc_and_residual_lower", "cSoilAbove1m_and_residual"):
        assert "carries no mechanism" in dataset[name].attrs["comment"]
    assert "cSoil_and_residual" not in dataset
    figure = map_figure(dataset, "cSoilAbove1m", spread=True)
    assert any("ends differ by a factor" in axis.get_title(loc="left") for axis in figure.axes)
    figure = map_figure(dataset, "cSoilAbove1m_and_residual")
    assert "no mechanism" in figure.axes[0].get_title(loc="left")


def test_map_without_a_residual_in_its_network_refuses_it(made):
    world, folder, _ = made
    with pytest.raises(MapError, match="contains no boosted residual"):
        map_network(
            folder / "forcing.zarr",
            folder / "no.nc",
            network=folder / "other",
            covariates=world.covariates,
            residual=True,
        )


def test_map_of_the_calibrated_constant(made):
    _, folder, _ = made
    result = map_constant(
        folder / "forcing.zarr", folder / "constant.nc", network=folder / "network"
    )
    assert result.n_members == 1
    with pytest.raises(MapError, match="contains no calibrated constant"):
        map_constant(folder / "forcing.zarr", folder / "no.nc", network=folder / "other")
