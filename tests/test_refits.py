"""Refits: which sites, seeds and starts they get, and the way from files to their maps."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import proda
from proda import files
from proda.comparison.identification import parameter_table
from proda.comparison.refit_runs import CONSTANT, DEFAULTS, RANDOM, refit_model
from proda.drivers.climate import from_climate
from proda.drivers.climate_input import open_climate
from proda.drivers.covariates import at_sites, open_covariates, write_table
from proda.drivers.nearest_cells import forcing_at_sites
from proda.drivers.site_tables import read_sites
from proda.errors import LearningError, MapError
from proda.learning import refits as module
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.network import Network
from proda.learning.refits import KINDS, draw_blocks, kinds_named, train_refits
from proda.maps.cells import land_cells
from proda.maps.parameter_sources import EnsembleParameters
from proda.maps.refit_maps import every_nth, member_fields
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping
from proda.study.twin import make_twin_world

N, P = 300, 4
SETTINGS = EndToEndSettings(epochs=2, start_weight=0.01, seed=3, validation_share=0.1)


@pytest.fixture
def calls(monkeypatch):
    """Call `train_refits` without training: networks say by their last bias which run they are."""
    seen = []

    def pretend(inputs, problem, starts, plan, settings, checkpoint, on_progress):
        seen.append((starts, plan, settings))
        n = len(plan.member)
        bias = jnp.asarray(plan.member, jnp.float32)[:, None] * jnp.ones((n, P), jnp.float32)
        history = np.stack([np.full((1, n), 0.0), plan.member[None] / 10.0, np.zeros((1, n))], 2)
        networks = Network((jnp.zeros((n, 2, P)),), (bias,), 0.0, True)
        return SimpleNamespace(networks=networks, history=history, best_epoch=np.zeros(n, int))

    monkeypatch.setattr(module, "train_through", pretend)
    return seen


def places(seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-50, 60, N), rng.uniform(-180, 180, N)


STARTS = {
    "constant": np.full(P, 0.4),
    "default": np.full(P, 0.6),
    "random": np.linspace(0.1, 0.9, 2 * P).reshape(2, P),
}


def test_refits_keep_their_order_and_only_some_are_pulled(calls):
    lat, lon = places()
    found = train_refits(np.zeros((N, 2)), None, lat, lon, STARTS, SETTINGS, each=2)
    assert found.kind == tuple(kind.name for kind in KINDS for _ in range(2))
    # two programs, one with the pull and one without, put together in the order of the kinds
    assert [settings.start_weight for _, _, settings in calls] == [0.01, 0.0]
    np.testing.assert_array_equal(found.networks.biases[-1][:, 0], np.arange(len(found.kind)))
    np.testing.assert_allclose(found.loss, np.arange(len(found.kind)) / 10.0)
    unpulled = [kind.name for kind in KINDS if not kind.pulled]
    assert [found.kind[m] for m in calls[1][1].member] == [n for n in unpulled for _ in range(2)]


def test_refits_start_where_their_kind_says(calls):
    lat, lon = places()
    found = train_refits(np.zeros((N, 2)), None, lat, lon, STARTS, SETTINGS, each=2)
    start = dict(zip(found.kind[::2], found.start[::2], strict=True))
    np.testing.assert_allclose(start["other seeds"], 0.4)
    np.testing.assert_allclose(start["start at defaults"], 0.6)
    np.testing.assert_allclose(start["random starts"], STARTS["random"][0])
    np.testing.assert_allclose(start["random starts, no pull"], STARTS["random"][0])
    logits = calls[0][0]
    np.testing.assert_allclose(logits, np.log(found.start / (1 - found.start))[: len(logits)])


def test_a_bootstrap_sees_whole_blocks_again_and_no_validation_site(calls):
    lat, lon = places()
    train_refits(np.zeros((N, 2)), None, lat, lon, STARTS, SETTINGS, each=2)
    _, design, _ = calls[0]
    kinds = [kind for kind in KINDS if kind.pulled for _ in range(2)]
    for kind, train, held in zip(kinds, design.train, design.validation, strict=True):
        rows, held = train[train >= 0], held[held >= 0]
        assert not set(rows) & set(held)
        once = len(np.unique(rows)) == len(rows)
        assert once is not kind.resampled
    # seeds differ: no two refits hold out the same sites
    assert len({tuple(held) for held in design.validation}) == len(kinds)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 99))
def test_a_drawn_block_comes_with_all_its_rows(block, seed):
    block = np.array(block)
    rows = 10 + np.arange(len(block))
    found = draw_blocks(rows, block, np.random.default_rng(seed))
    times = np.bincount(found - 10, minlength=len(block))
    for b in np.unique(block):
        assert len(set(times[block == b])) == 1
    assert sum(times[block == b][0] for b in np.unique(block)) == len(np.unique(block))


def test_refits_refuse_kinds_and_starts_that_are_not_there(calls):
    with pytest.raises(
        LearningError,
        match="refits: other seed; choose from other seeds, start at",
    ):
        kinds_named(["other seed"])
    lat, lon = places()
    given = (np.zeros((N, 2)), None, lat, lon)
    with pytest.raises(LearningError, match="'random starts' need a start: random"):
        train_refits(
            *given, {"constant": STARTS["constant"]}, SETTINGS, kinds_named(["random starts"])
        )
    with pytest.raises(LearningError, match="2 starts of the kind random; expected 1, or 3"):
        train_refits(*given, STARTS, SETTINGS, each=3)
    with pytest.raises(LearningError, match="0 refits"):
        train_refits(*given, STARTS, SETTINGS, each=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Files of a planet of few cells, from profiles to covariates at sites."""
    folder = tmp_path_factory.mktemp("refits")
    made = make_twin_world(folder / "world", resolution=15.0, n_sites=40, models=("clm5",))
    files.write_zarr(from_climate(open_climate(made.climate)), folder / "forcing.zarr")
    source = {"reader": "tidy", "name": "twin", "folder": str(made.profiles)}
    build(from_mapping({"source": [source]}, "test"), folder / "profiles")
    sites = read_sites(folder / "profiles" / "profiles.parquet")
    forcing, _ = forcing_at_sites(files.open_dataset(folder / "forcing.zarr"), sites)
    files.write_dataset(forcing, folder / "sites.nc")
    write_table(at_sites(open_covariates(made.covariates), sites)[0], folder / "sites.parquet")
    return made, folder


def test_refits_from_files_to_maps(world):
    made, folder = world
    settings = EndToEndSettings(
        hidden=(8,), epochs=15, batch_size=16, learning_rate=0.02, constant_epochs=2
    )
    found = refit_model(
        folder / "sites.parquet",
        profiles=folder / "profiles",
        forcing=folder / "sites.nc",
        grid_covariates=made.covariates,
        grid_forcing=folder / "forcing.zarr",
        model="clm5",
        settings=settings,
        kinds=kinds_named(["random starts, no pull"]),
        each=2,
        every=1,
        checkpoints=folder,
    )
    assert list(found["kind"].to_numpy()) == [
        "random starts, no pull",
        "random starts, no pull",
        DEFAULTS,
        CONSTANT,
        RANDOM,
        RANDOM,
    ]
    assert not list(folder.glob(".*.refits"))
    assert found.sizes["cell"] == made.land_cells
    shares = np.stack([found[f"share_{row.name}"] for row in proda.load_model("clm5").rows])
    trained = found["trained"].to_numpy()
    random = shares[:, (found["kind"] == RANDOM).to_numpy()]
    assert (np.ptp(random, axis=2) < 1e-9).all()  # one constant everywhere
    assert (np.ptp(shares[:, trained], axis=2).max(axis=1) > 0.01).any()
    names = [row.name for row in proda.load_model("clm5").rows]
    # carbon is nearer to the truth than at the start
    with files.open_netcdf(made.truth("clm5")) as opened:
        truth = opened["cSoilAbove1m"].to_numpy()
    truth = np.log(truth[np.isfinite(truth)])
    off = np.abs(np.log(found["cSoilAbove1m"]).to_numpy() - truth).mean(axis=1)
    assert (off[trained] < off[(found["kind"] == RANDOM).to_numpy()]).all()
    assert set(parameter_table(found)["parameter"]) == set(names)


def test_a_sample_of_cells_has_the_numbers_of_the_whole(world):
    _, folder = world
    model = proda.load_model("clm5")
    whole = land_cells(files.open_dataset(folder / "forcing.zarr"))
    some = every_nth(whole, 2)
    assert 0 < len(some) < len(whole)
    values = np.array([[0.4 * row.lower + 0.6 * row.upper for row in model.rows]])
    source = EnsembleParameters(lambda chosen: np.repeat(values[:, None], len(chosen), axis=1))
    all_cells, few = (
        member_fields(model, [source], c, ["CTE", "cSoilAbove1m"]) for c in (whole, some)
    )
    at = {(a, b): i for i, (a, b) in enumerate(zip(whole.row, whole.column, strict=True))}
    place = [at[rc] for rc in zip(some.row, some.column, strict=True)]
    for name in ("CTE", "cSoilAbove1m", "land", "lat"):
        np.testing.assert_array_equal(few[name], all_cells[name][..., place])
    np.testing.assert_allclose(few["share_q10"], 0.6)
    assert few["CTE"].attrs["units"] == "1"
    assert few["cSoilAbove1m"].attrs["units"] == "kg m-2"


def test_a_sample_without_cells_is_refused(world):
    whole = land_cells(files.open_dataset(world[1] / "forcing.zarr"))
    with pytest.raises(MapError, match="none is left by taking every 500-th"):
        every_nth(whole, 500)
    with pytest.raises(MapError, match="Every 0-th"):
        every_nth(whole, 0)
