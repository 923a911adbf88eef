"""End-to-end training with data beside carbon: its loss, what it recovers, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.errors import FileError, LearningError
from proda.inference.padded_sites import with_streams
from proda.learning import stream_loss
from proda.learning.carbon_loss import judge
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.end_to_end import physical, problem_of
from proda.learning.evaluate import evaluate_network
from proda.learning.layers import SiteLayers
from proda.learning.network_folder import load_ensemble
from proda.learning.stream_loss import trainable
from proda.learning.stream_skill import METHODS, stream_skill
from proda.learning.through_model import ThroughResult, train_end_to_end
from proda.learning.train import END_TO_END, Progress
from proda.learning.unseen_file import UNSEEN
from proda.simulate import ages
from proda.streams.bulk_radiocarbon import RadiocarbonStream
from proda.streams.registry import STREAMS
from proda.streams.table import build, read
from tests.assimilation_worlds import write_atmosphere
from tests.training_worlds import QUICK, World

pytestmark = pytest.mark.usefixtures("small_blocks")

SETTINGS = replace(
    QUICK, inverted_share=0.0, epochs=8, learning_rate=0.03, forcing_inputs="summary"
)
"""Also the only training whose inputs hold a summary of the forcing in place of the response."""
NOISE = 15.0
"""Scale of the error of 14C in the synthetic world, permil."""
DEPTHS = ((0.0, 0.2), (0.4, 0.8))
YEAR = 2008.5

judged = eqx.filter_jit(judge)


@pytest.fixture(scope="module")
def world(twin_world: World) -> World:
    return twin_world


@pytest.fixture(scope="module")
def air(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_atmosphere(tmp_path_factory.mktemp("air") / "air.csv")


@pytest.fixture(scope="module")
def layers(world: World) -> SiteLayers:
    return read_carbon_sites(
        world.path("profiles"), world.path("sites.nc"), world.covariates, "clm5"
    ).layers


@pytest.fixture(scope="module")
def tables(world: World, layers: SiteLayers, air: str) -> dict[str, str]:
    """Radiocarbon of the world's truth at two of three sites, and some respiration."""
    names = layers.profiles.site.astype(str)
    where = {"lat": layers.profiles.latitude, "lon": layers.profiles.longitude, "year": YEAR}
    rows = [
        pd.DataFrame({"profile_id": names, "upper_depth": a, "lower_depth": b, "delta_14c": 0.0})
        for a, b in DEPTHS
    ]
    every = pd.concat([r.assign(**where) for r in rows], ignore_index=True)
    made = {}

    def table(name: str, rows: pd.DataFrame) -> str:
        path = world.folder / f"{name}.csv"
        rows.to_csv(path, index=False)
        kind = STREAMS[name]
        stream = kind(atmosphere=air) if kind is RadiocarbonStream else kind()
        build(stream, path, world.path("profiles"), world.folder / name)
        made[name] = str(world.folder / name)
        return made[name]

    # What the truth holds is what the stream itself predicts of a table of zeros.
    opened = read(table("radiocarbon", every))
    sites = with_streams(layers.for_training(), names, layers.forcing, [opened])
    order = pd.Index([f"survey:{i}" for i in range(len(names))]).get_indexer(pd.Index(names))
    truth = {r.name: world.truth[order, j] for j, r in enumerate(layers.model.rows)}

    @jax.jit
    def told(values: Any, sites: Any) -> Any:
        def one(values: Any, site: Any) -> Any:
            state = layers.model.steady_state(values, site.column)
            data = site.streams["radiocarbon"]
            return opened.stream.predict(layers.model, state, values, site.column, data)

        return jax.vmap(one)(values, sites)

    delta = np.asarray(told({k: jnp.asarray(v) for k, v in truth.items()}, sites))[:, :2]
    rng = np.random.default_rng(5)
    noisy = delta + NOISE * rng.standard_t(4, size=delta.shape)
    has = np.arange(len(names)) % 3 != 0
    table("radiocarbon", every.assign(delta_14c=noisy.T.ravel())[np.tile(has, 2)])
    rh = pd.DataFrame({k: v[:3] if np.ndim(v) else v for k, v in where.items()})
    table("respiration", rh.assign(rh_annual=300.0))
    return made


def test_a_model_says_from_what_it_cannot_learn(tables: dict[str, str]) -> None:
    found, why = trainable(proda.load_model("clm5"), tables)
    assert [table.stream.name for table in found] == ["radiocarbon"]
    assert set(why) == {"respiration"}
    assert "carbon input" in why["respiration"]


def test_the_loss_adds_the_streams_of_sites_that_have_any(
    layers: SiteLayers, tables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = trainable(layers.model, tables)
    plain, both = problem_of(layers, SETTINGS), problem_of(layers, SETTINGS, found)
    assert plain.beside is None
    assert plain.own_start.shape == (3,)
    assert both.beside is not None
    assert both.own_start.shape == (4,)
    d = len(layers.model.rows)
    rng = np.random.default_rng(0)
    # Of the same sites several columns, as of several networks; one has no data beside carbon.
    rows = jnp.array([1, 2, 3, 1, 4, 5, 1])
    start = jnp.asarray(np.tile(rng.normal(0.0, 0.3, d), (7, 1)))
    logits = start + jnp.asarray(rng.normal(0.0, 0.2, (7, d)))
    own = jnp.asarray(np.tile(both.own_start, (7, 1)))
    alone = judged(logits, own[:, :3], start, rows, plain)
    monkeypatch.setattr(stream_loss, "TOGETHER", 3)
    told = judged(logits, own, start, rows, both)
    has = np.asarray(both.beside.place)[np.asarray(rows)] >= 0
    assert has.tolist() == [True, True, False, True, True, True, True]
    np.testing.assert_array_equal(told.loss[~has], alone.loss[~has])
    np.testing.assert_array_equal(told.by_logit[~has], alone.by_logit[~has])
    np.testing.assert_array_equal(told.by_own[~has, 3], 0.0)
    np.testing.assert_array_equal(told.by_own[:, :3], alone.by_own)

    # By hand: minus the mean density, weighted as sqrt(2) values against sqrt(4) layers.
    sites = with_streams(layers.for_training(), layers.profiles.site, layers.forcing, found)
    stream = found[0].stream
    scale = 10.0 + 190.0 * expit(float(own[0, 3]))
    assert scale == pytest.approx(60.0, rel=1e-3)

    def by_hand(logit: Any, site: Any) -> Any:
        lower = jnp.array([r.lower for r in layers.model.rows])
        width = jnp.array([r.upper - r.lower for r in layers.model.rows])
        value = lower + width * jax.nn.sigmoid(logit)
        values = {r.name: value[j] for j, r in enumerate(layers.model.rows)}
        state = layers.model.steady_state(values, site.column)
        data = site.streams["radiocarbon"]
        modelled = stream.predict(layers.model, state, values, site.column, data)
        each = stream.pointwise(modelled, data, {"radiocarbon_error": scale})
        return -jnp.sqrt(2.0) / 2.0 * each.sum() / 2.0

    chosen = jax.tree.map(lambda leaf: leaf[rows], sites)
    every = jax.jit(jax.vmap(by_hand))
    np.testing.assert_allclose((told.loss - alone.loss)[has], every(logits, chosen)[has], rtol=1e-5)
    unclipped = np.linalg.norm(np.asarray(told.by_logit), axis=1) < SETTINGS.steepest * 0.999
    assert (unclipped & has).any()
    step = 1e-4
    rise = [every(logits + e, chosen) - every(logits - e, chosen) for e in step * jnp.eye(d)]
    off = (told.by_logit - alone.by_logit)[unclipped & has]
    slope = jnp.stack(rise, axis=1) / (2.0 * step)
    np.testing.assert_allclose(off, slope[unclipped & has], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def train(world: World) -> Callable[..., ThroughResult]:
    """Training of one kind, always of the same shape, so that its programs are compiled once."""

    def run(name: str, **others: Any) -> ThroughResult:
        return train_end_to_end(
            world.path("sites.parquet"),
            world.folder / name,
            profiles=world.path("profiles"),
            forcing=world.path("sites.nc"),
            model="clm5",
            settings=SETTINGS,
            folds=2,
            fold_members=1,
            split="random",
            baselines=("depth",),
            **others,
        )

    return run


@pytest.fixture(scope="module")
def trained(
    train: Callable[..., ThroughResult], tables: dict[str, str], twin_trained: ThroughResult
) -> dict[str, ThroughResult]:
    """Networks trained on carbon alone and on both, judged at places left out.

    Those on carbon alone train for longer, and half of them correct an inversion of carbon, so that
    the others have no advantage but radiocarbon.
    """
    return {"carbon": twin_trained, "both": train("both", streams=tables)}


def test_radiocarbon_is_met_at_places_left_out_and_turnover_is_recovered(
    world: World, trained: dict[str, ThroughResult], layers: SiteLayers
) -> None:
    assert trained["carbon"].streams is None
    skill = trained["both"].streams.set_index("method")
    assert set(skill.index) == set(METHODS)
    assert (skill["n"] == 160).all()
    assert skill["rmse"]["network"] < 0.8 * skill["rmse"]["mean_by_depth"]
    assert skill["rmse"]["network"] < skill["rmse"]["constant"] < skill["rmse"]["default"]
    header = json.loads((world.folder / "both" / "train.json").read_text())
    assert header["stream_parameters"]["radiocarbon_error"] < 45.0
    assert "carbon input" in header["streams_not_learnt"]["respiration"]
    assert "streams" not in json.loads((world.folder / "through" / "train.json").read_text())
    rows = pd.read_parquet(world.folder / "both" / "held_out_streams.parquet")
    assert rows["network"].notna().all()
    written = pd.read_csv(world.folder / "both" / "skill_streams.csv")
    pd.testing.assert_frame_equal(written, stream_skill(rows), rtol=1e-9)
    # Carbon alone does not say how old it is: networks stay near the ages of the constant.
    rows_of = [row.name for row in layers.model.rows]
    order = pd.Index([f"survey:{i}" for i in range(len(layers))])
    forcing = layers.forcing.select(pd.Index(layers.profiles.site).get_indexer(order))

    def aged(parameters: np.ndarray) -> np.ndarray:
        values = dict(zip(rows_of, parameters.T, strict=True))
        found = ages(layers.model, values, forcing)
        return np.log([found[n].to_numpy() for n in ("mean_age_0_30", "mean_age_0_100")])

    truth, off = aged(world.truth), {}
    for kind, folder in (("carbon", "through"), ("both", "both")):
        found = pd.read_parquet(world.folder / folder / "held_out_parameters.parquet")
        by_site = found.set_index("site").loc[order, rows_of].to_numpy()
        off[kind] = np.abs(aged(by_site) - truth).mean(axis=1)
    assert (off["both"] < [0.75, 0.85] * off["carbon"]).all(), off
    carbon = {k: t.skill.query("by == 'all'").set_index("method") for k, t in trained.items()}
    assert carbon["both"]["rmse_log"]["network"] < 1.15 * carbon["carbon"]["rmse_log"]["network"]


def test_summary_of_forcing_can_take_the_place_of_the_response(
    world: World, trained: dict[str, ThroughResult]
) -> None:
    names = trained["both"].ensemble.features.names
    assert "forcing_log_input" in names
    assert not any(name.startswith("response_") for name in names)
    assert load_ensemble(world.folder / "both").reference is None
    data = [world.path(name) for name in ("profiles", "sites.nc", "sites.parquet")]
    skill = evaluate_network(world.folder / "both", *data).skill.set_index("method")
    assert np.isfinite(skill["log_r2"]["network"])


def test_training_resumes_with_the_same_streams_alone(
    world: World,
    train: Callable[..., ThroughResult],
    trained: dict[str, ThroughResult],
    tables: dict[str, str],
) -> None:
    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.stage == END_TO_END and progress.epoch == 1:
            raise StopError

    with pytest.raises(StopError):
        train("again", streams=tables, progress=stop)
    with pytest.raises(FileError, match="streams"):
        train("again")
    epochs = []
    again = train("again", streams=tables, progress=lambda p: epochs.append((p.stage, p.epoch)))
    assert (END_TO_END, 1) not in epochs
    assert (END_TO_END, 2) in epochs
    whole = trained["both"].ensemble.networks
    for a, b in zip(whole.weights, again.ensemble.networks.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    errors = []
    for name in ("both", "again"):
        header = json.loads((world.folder / name / "train.json").read_text())
        unseen = json.loads((world.folder / name / UNSEEN).read_text())  # with the scale of carbon
        errors.append((header["stream_parameters"], unseen))
    assert errors[0] == errors[1]
    held_out = (world.folder / name / "held_out_streams.parquet" for name in ("both", "again"))
    pd.testing.assert_frame_equal(*map(pd.read_parquet, held_out), check_exact=True)
    assert 10.0 < errors[0][0]["radiocarbon_error"] < 200.0


def test_sites_without_any_value_are_refused(layers: SiteLayers, tables: dict[str, str]) -> None:
    found, _ = trainable(layers.model, tables)
    some = layers.select(np.array([0, 3, 6]))
    with pytest.raises(LearningError, match="no site of the training has a value of radiocarbon"):
        problem_of(some, SETTINGS, found)


def test_options_of_streams_are_checked(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["train", *arguments])

    alone = run("k.nc", "c.parquet", str(tmp_path / "n"), "--stream", "radiocarbon=x")
    assert alone.exit_code != 0
    assert "--stream need --model" in str(alone.exception)
    data = ["--model", "clm5", "--profiles", "p", "--forcing", "f"]
    twice = run("c.parquet", str(tmp_path / "n"), *data, *["--stream", "radiocarbon"])
    assert "NAME=FOLDER" in str(twice.exception)


def test_values_are_physical(layers: SiteLayers) -> None:
    """What training shares with the soil model: the same values from the same logits."""
    logit = np.random.default_rng(1).normal(size=len(layers.model.rows))
    values = stream_loss.physical_values(jnp.asarray(logit), layers.model.rows)
    whole = physical(expit(logit), layers.model)
    np.testing.assert_allclose([values[r.name] for r in layers.model.rows], whole, rtol=1e-12)
