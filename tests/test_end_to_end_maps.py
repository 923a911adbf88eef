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
from proda.evaluation.predict import predict_table
from proda.learning import save_ensemble
from proda.learning.applicability import fit_range
from proda.learning.ensemble import Ensemble
from proda.learning.features import fit_features
from proda.learning.forcing_summary import with_forcing
from proda.learning.network import initial_network
from proda.learning.settings import LearningSettings
from proda.learning.unseen_file import write_unseen
from proda.maps.cells import land_cells
from proda.maps.stage import map_constant, map_network
from proda.maps.totals import open_map
from proda.study.twin import make_twin_world

MODEL = proda.load_model("clm5")
CONSTANT = {row.name: 0.5 * (row.lower + row.upper) for row in MODEL.rows}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A world of few cells and a network with drawn weights, which takes the forcing."""
    folder = tmp_path_factory.mktemp("grid")
    world = make_twin_world(folder / "world", resolution=15.0, n_sites=10, models=("clm5",))
    files.write_zarr(from_climate(open_climate(world.climate)), folder / "forcing.zarr")
    grid = open_covariates(world.covariates)
    table, forcing = cells_of(folder, grid)
    features = fit_features(with_forcing(table, forcing))
    settings = LearningSettings(members=2, hidden=(8,))
    n = features.encode(with_forcing(table, forcing)).inputs.shape[1]
    networks = jax.vmap(
        lambda key: initial_network(key, n, jax.numpy.full(len(MODEL.rows), 0.5), settings)
    )(jax.random.split(jax.random.key(0), 2))
    last = 0.1 * jax.random.normal(jax.random.key(1), networks.weights[-1].shape)
    networks = type(networks)(
        (*networks.weights[:-1], last), networks.biases, settings.dropout, settings.bounded
    )
    ensemble = Ensemble(
        networks, features, fit_range(with_forcing(table, forcing), features), None, "clm5",
        "default", tuple(CONSTANT), np.array([row.lower for row in MODEL.rows]),
        np.array([row.upper for row in MODEL.rows]), settings, len(table),
        pd.DataFrame({"member": [0]}),
    )  # fmt: skip
    save_ensemble(ensemble, folder / "network", lambda to: write_unseen(to, CONSTANT, [0.6], {}))
    save_ensemble(ensemble, folder / "other")
    return world, folder, ensemble


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
    own = ensemble.predict(with_forcing(table, forcing))
    usable = found["usable"].to_numpy().astype(bool)
    np.testing.assert_array_equal(found["row"].to_numpy()[usable], table["row"])
    np.testing.assert_allclose(found["mean"].to_numpy()[usable], own["mean"], rtol=1e-12)
    with pytest.raises(LearningError, match="on the grid of the covariates"):
        shifted = files.open_dataset(folder / "forcing.zarr").load()
        shifted = shifted.assign_coords(lat=shifted["lat"] + 1.0)
        files.write_netcdf(shifted, folder / "shifted.nc")
        predict_table(folder / "network", world.covariates, forcing=folder / "shifted.nc")


def test_map_takes_the_forcing_and_shows_members(made):
    world, folder, _ = made
    made_map = map_network(
        folder / "forcing.zarr", folder / "map.nc", network=folder / "network",
        covariates=world.covariates,
    )  # fmt: skip
    assert made_map.covariates.covered.any()
    table = made_map.covariates.table
    assert table["forcing_log_input"].notna().all()
    assert made_map.result.n_members == 2
    cells = land_cells(files.open_dataset(folder / "forcing.zarr"))
    total = cells.forcing(np.arange(len(cells))).litter_input.sum(axis=1)
    np.testing.assert_allclose(np.expm1(table["forcing_log_input"]), total)
    with open_map(folder / "map.nc") as opened:
        assert "members as trained" in str(opened.attrs)


def test_map_of_the_calibrated_constant(made):
    _, folder, _ = made
    result = map_constant(
        folder / "forcing.zarr", folder / "constant.nc", network=folder / "network"
    )
    assert result.n_members == 1
    with pytest.raises(MapError, match="holds no calibrated constant"):
        map_constant(folder / "forcing.zarr", folder / "no.nc", network=folder / "other")
