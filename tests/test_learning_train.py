"""Training: the study's loss and network, weights, bounds, seeds, resuming."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from proda.errors import FileError, LearningError
from proda.learning import train
from proda.learning.join import join
from proda.learning.learning_settings import LearningSettings, study
from proda.learning.network import initial_network, study_loss, weighted_loss
from proda.learning.posterior_loss import train_parameters
from proda.learning.splits import blocks, plan, random_folds, spatial_folds
from tests.learning_worlds import covariates, posterior

SMALL = LearningSettings(hidden=(16,), epochs=6, batch_size=32, members=3)


def prepared(settings, n=150, seed=3):
    table = covariates(n, seed)
    sites = join(table, posterior(table, seed), settings)
    goal = sites.targets
    return sites, plan(goal.latitude, goal.longitude, settings)


def fitted(settings, **more):
    sites, design = prepared(settings)
    return train_parameters(sites.inputs, sites.targets, design, settings, **more)


def same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if tolerance:
            np.testing.assert_allclose(x, y, **tolerance)
        else:
            np.testing.assert_array_equal(x, y)


def test_study_loss_is_the_papers_formula():
    rng = np.random.default_rng(0)
    true, predicted = rng.uniform(0.1, 1, (7, 4)), rng.uniform(0, 1, (7, 4))
    n = 5 * 4
    ratio = (
        sum(abs((t - p) / t) for t, p in zip(true[:5].ravel(), predicted[:5].ravel(), strict=True))
        / n
    )
    square = (
        sum((t - p) ** 2 for t, p in zip(true[:5].ravel(), predicted[:5].ravel(), strict=True)) / n
    )
    valid = jnp.array([1.0] * 5 + [0.0] * 2)
    np.testing.assert_allclose(study_loss(predicted, true, valid), ratio * square, rtol=1e-12)


def test_weighted_loss_in_closed_form():
    loss = weighted_loss(
        jnp.array([[0.5, 0.2]]),
        jnp.array([[0.3, 9.0]]),
        jnp.array([[2.0, 0.0]]),
        jnp.array([0.4, 0.4]),
        0.1,
        jnp.ones(1),
    )
    np.testing.assert_allclose(loss, 2 * 0.2**2 + 0.1 * (0.1**2 + 0.2**2), rtol=1e-6)


def test_study_network_is_the_papers():
    network = jax.jit(lambda key: initial_network(key, 60, jnp.full(21, 0.5), study()))(
        jax.random.key(0)
    )
    assert [w.shape for w in network.weights] == [
        (60, 256),
        (256, 512),
        (512, 512),
        (512, 256),
        (256, 21),
    ]
    assert (network.dropout, network.bounded) == (0.2, False)
    s = study()
    assert (s.batch_size, s.epochs, s.optimizer, s.loss) == (32, 6000, "adadelta", "study")
    x = jnp.ones((1, 60), jnp.float32)
    many = jax.jit(jax.vmap(lambda key: network(x, key)))(jax.random.split(jax.random.key(1), 5))
    assert float(many.std(axis=0).min()) > 0


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    s = study(hidden=(2000,))
    network = initial_network(jax.random.key(1), 3, jnp.full(1, 0.5), s)
    last = jnp.ones((2000, 1), jnp.float32) / 2000
    network = type(network)(
        (jnp.zeros((3, 2000)), last), (jnp.ones(2000), jnp.zeros(1)), 0.2, False
    )
    out = network(jnp.ones((50, 3)), jax.random.key(2))
    np.testing.assert_allclose(out.mean(), 1.0, atol=0.01)
    np.testing.assert_allclose(out.std(), np.sqrt(0.2 / 0.8 / 2000), rtol=0.35)


def test_study_preset_learns():
    result = fitted(study(hidden=(16, 16), epochs=30))
    first, last = result.history[0, 0], result.history[-1, 0]
    assert last[0] < first[0]
    assert result.best_loss[0] == np.nanmin(result.history[:, 0, 1])


def test_seeds_decide_everything():
    once = fitted(SMALL)
    same(once.networks, fitted(SMALL).networks)
    other = fitted(LearningSettings(**{**SMALL.as_dict(), "hidden": (16,), "seed": 1}))
    assert not np.array_equal(other.networks.weights[0], once.networks.weights[0])


def test_together_is_as_alone_to_rounding():
    sites, design = prepared(SMALL)
    together = train_parameters(sites.inputs, sites.targets, design, SMALL)
    for run in range(3):
        alone = train_parameters(sites.inputs, sites.targets, design.select(np.array([run])), SMALL)
        one = jax.tree.map(lambda leaf, run=run: leaf[[run]], together.networks)
        same(one, alone.networks, atol=2e-5)
        np.testing.assert_allclose(together.history[:, [run]], alone.history, rtol=1e-3)


def test_resume_is_bit_for_bit(tmp_path):
    def interrupt(progress):
        if progress.epoch == 4:
            raise KeyboardInterrupt

    whole = fitted(SMALL, chunk=6)
    path = tmp_path / "training"
    with pytest.raises(KeyboardInterrupt):
        fitted(SMALL, checkpoint=path, chunk=2, on_progress=interrupt)
    seen = []
    again = fitted(SMALL, checkpoint=path, chunk=1, on_progress=lambda p: seen.append(p.epoch))
    assert seen == [5, 6]
    same(whole.networks, again.networks)
    np.testing.assert_array_equal(whole.history, again.history)


@pytest.mark.parametrize(("seconds", "epochs"), [(1e9, [6]), (-1.0, [2, 4, 6, 6])])
def test_the_state_is_saved_at_intervals_and_at_the_end(tmp_path, monkeypatch, seconds, epochs):
    saved, write = [], train._write_latest

    def written(store, state):
        saved.append(int(state.epoch))
        write(store, state)
        assert store.numbers() == saved[-1:]

    monkeypatch.setattr(train, "_write_latest", written)
    monkeypatch.setattr(train, "SAVE_SECONDS", seconds)
    once = fitted(SMALL, checkpoint=tmp_path / "training", chunk=2)
    assert saved == epochs
    same(once.networks, fitted(SMALL, checkpoint=tmp_path / "training").networks)


def test_checkpoints_of_others_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "training"
    fitted(SMALL, checkpoint=path)
    other = LearningSettings(**{**SMALL.as_dict(), "hidden": (16,), "learning_rate": 1e-3})
    with pytest.raises(FileError, match=r"setting learning_rate: .* before, 0\.001 now"):
        fitted(other, checkpoint=path)
    sites, design = prepared(SMALL, seed=4)
    with pytest.raises(FileError, match=r"covariates: .*posteriors: .*training and validation"):
        train_parameters(sites.inputs, sites.targets, design, SMALL, checkpoint=path)
    (block,) = (path / "parameters").glob("*.npz")  # the latest epoch alone
    block.write_bytes(block.read_bytes()[:-40])
    with pytest.raises(FileError, match=rf"{block.name}: incomplete or damaged.*Delete the folder"):
        fitted(SMALL, checkpoint=path)


def test_early_stopping_keeps_the_best_epoch():
    result = fitted(
        LearningSettings(
            hidden=(32,),
            epochs=400,
            batch_size=8,
            members=2,
            learning_rate=0.02,
            patience=5,
            weight_decay=0.0,
        )
    )
    assert result.history.shape[0] < 400
    for run in range(2):
        losses = result.history[:, run, 1]
        ran = losses[np.isfinite(losses)]
        assert ran.argmin() == result.best_epoch[run]
        assert ran.size == result.best_epoch[run] + 6


def test_noise_of_a_parameter_nobody_constrains_does_not_matter():
    table = covariates(150, 3)
    nets = []
    for seed in (0, 1):
        sites = posterior(table, 5)
        noise = np.random.default_rng(seed).uniform(0.01, 2.9, 150)
        sites["posterior_mean"].values[:, 3] = noise
        data = join(table, sites, SMALL)
        design = plan(data.targets.latitude, data.targets.longitude, SMALL)
        nets.append(train_parameters(data.inputs, data.targets, design, SMALL).networks)
    same(*nets)


def test_diverging_training_is_named():
    with pytest.raises(LearningError, match="diverged: member 0"):
        fitted(study(hidden=(8,), epochs=3, learning_rate=1e30))


def test_spatial_folds_do_not_split_a_block_and_are_even():
    table = covariates(2000, 0)
    lat, lon = table["latitude"].to_numpy(), table["longitude"].to_numpy()
    fold = spatial_folds(lat, lon, 5, 5.0, seed=1)
    block = blocks(lat, lon, 5.0)
    assert all(np.unique(fold[block == b]).size == 1 for b in np.unique(block))
    assert np.bincount(fold).max() - np.bincount(fold).min() <= np.bincount(block).max()
    np.testing.assert_array_equal(fold, spatial_folds(lat, lon + 360, 5, 5.0, seed=1))
    assert (fold != spatial_folds(lat, lon, 5, 5.0, seed=2)).any()
    assert sorted(np.bincount(random_folds(13, 4, 0))) == [3, 3, 3, 4]
    with pytest.raises(LearningError, match="1 blocks"):
        spatial_folds(np.ones(9), np.ones(9), 2, 5.0, 0)


def test_plans_keep_training_validation_and_folds_apart():
    table = covariates(500, 0)
    lat, lon = table["latitude"].to_numpy(), table["longitude"].to_numpy()
    s = LearningSettings(members=2, resample="bootstrap")
    fold = spatial_folds(lat, lon, 4, 5.0, 0)
    design, block = plan(lat, lon, s, fold, fold_members=2), blocks(lat, lon, 5.0)
    assert design.fold.tolist() == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
    for train_rows, held, left in zip(design.train, design.validation, design.fold, strict=True):
        train_rows, held = train_rows[train_rows >= 0], held[held >= 0]
        assert not set(block[train_rows]) & set(block[held])
        assert not set(fold[train_rows]) & {left}
        assert not set(fold[held]) & {left}
        assert np.unique(train_rows).size < train_rows.size
    with pytest.raises(LearningError, match="leave none to train on"):
        plan(np.ones(9), np.ones(9), s)
