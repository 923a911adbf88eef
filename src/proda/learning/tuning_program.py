"""The compiled part of tuning: networks go on learning through the soil model.

The soil model sees float64 and one long axis of columns, all sites of all runs' batches. Its
gradient with respect to the parameters is looked at column by column before it reaches a network:
a column without a steady state, or whose loss or gradient is not finite, passes none on and is
counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from proda.inference.likelihood import Likelihood
from proda.inference.target import Posterior, Site
from proda.learning.network import Network, weighted_loss
from proda.learning.program import Data, Run, choose
from proda.learning.settings import LearningSettings
from proda.models.model import Reason, SoilModel

LOST = 50.0
"""Loss of a site without a steady state: as of layers 2.5 in natural logarithms off (sd 0.25)."""

MARGIN = 1e-6
"""Parameters keep this far, in shares of the prior range, from its ends: float32 rounds to them."""

STEEPEST = 30.0
"""Longest gradient of one column's loss in shares of the prior range; longer ones are cut to it."""


class Tuner(eqx.Module):
    """What the soil model needs to judge parameters at sites."""

    model: SoilModel
    likelihood: Likelihood
    sites: Site
    """Leading axis: site, as in the training table."""


class TuningState(NamedTuple):
    """All that continues tuning. Leading axis of arrays: run."""

    epoch: Int[Array, ""]
    network: Network
    optimizer: Any
    best: Network
    best_loss: Float[Array, " run"]
    best_epoch: Int[Array, " run"]
    stopped: Bool[Array, " run"]
    history: Float[Array, "epoch run 3"]
    """Training loss, validation loss, share of validation sites without a steady state."""


class Judged(NamedTuple):
    """Loss of columns, its gradient in shares of the prior range, and which columns have one."""

    loss: Float[Array, " column"]
    gradient: Float[Array, "column parameter"]
    good: Bool[Array, " column"]


def column_loss(
    u: Float[Array, " parameter"], site: Site, model: SoilModel, likelihood: Likelihood
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Minus the log-likelihood of a site, per measured layer, less that of a perfect fit.

    Per layer, because the error that counts here is that of the place, which the layers of a
    profile share: twenty layers are no twenty witnesses.
    """
    posterior = Posterior(model, likelihood, site)
    prediction = posterior.predict(u)
    perfect = likelihood.pointwise(site.measured.carbon, site.measured, posterior.values(u))
    off = (perfect - prediction.pointwise).sum() / jnp.sum(site.measured.mask)
    return off, prediction.reason == Reason.FEASIBLE


def judge(u: Float[Array, "column parameter"], sites: Site, tuner: Tuner) -> Judged:
    """Loss and gradient of many columns; what has none gets the loss `LOST` and no gradient."""

    def one(u: Any, site: Site) -> Any:
        inner = MARGIN + (1.0 - 2.0 * MARGIN) * u
        return column_loss(inner, site, tuner.model, tuner.likelihood)

    (loss, feasible), gradient = jax.vmap(jax.value_and_grad(one, has_aux=True))(u, sites)
    good = feasible & jnp.isfinite(loss) & jnp.isfinite(gradient).all(axis=1)
    gradient = jnp.where(good[:, None], gradient, 0.0)
    length = jnp.linalg.norm(gradient, axis=1, keepdims=True)
    gradient = gradient * jnp.minimum(1.0, STEEPEST / jnp.maximum(length, 1e-30))
    return Judged(jnp.where(good, loss, LOST), gradient, good)


TRANSFORM = optax.scale_by_adam()


def start(networks: Network, settings: LearningSettings) -> TuningState:
    """Return the state before the first epoch; `networks` are stacked along the run."""
    n = networks.biases[-1].shape[0]
    networks = jax.tree.map(jnp.asarray, networks)
    return TuningState(
        jnp.asarray(0, jnp.int32), networks, jax.vmap(TRANSFORM.init)(networks), networks,
        jnp.full(n, jnp.inf, jnp.float32), jnp.zeros(n, jnp.int32), jnp.zeros(n, bool),
        jnp.full((settings.tuning_epochs + 1, n, 3), jnp.nan, jnp.float32),
    )  # fmt: skip


def _take(tree: Any, rows: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _total(
    networks: Network, rows: Int[Array, "run batch"], data: Data, runs: Run, tuner: Tuner,
    settings: LearningSettings,
) -> tuple[Float[Array, ""], tuple[Float[Array, " run"], Float[Array, " run"]]]:  # fmt: skip
    """Sum of the runs' losses, whose gradient is each run's own; loss and lost share by run."""
    valid = (rows >= 0).astype(jnp.float32)
    count = jnp.maximum(valid.sum(axis=1), 1.0)
    predicted = jax.vmap(lambda network, own: network(data.inputs[own]))(networks, rows)
    n, size, d = predicted.shape
    # Padding is computed as site 0, whatever that gives, and then does not count.
    flat = jnp.maximum(rows.reshape(-1), 0)
    found = judge(
        jax.lax.stop_gradient(predicted.reshape(-1, d).astype(jnp.float64)),
        _take(tuner.sites, flat), tuner,
    )  # fmt: skip
    slope = found.gradient.reshape(n, size, d).astype(jnp.float32)
    lead = (jax.lax.stop_gradient(slope) * predicted).sum(axis=2)
    loss = found.loss.reshape(n, size).astype(jnp.float32)
    # Value of the loss, gradient of the lead.
    carbon = jnp.sum((loss + lead - jax.lax.stop_gradient(lead)) * valid, axis=1) / count
    pull = jax.vmap(
        lambda p, own, run, ok: weighted_loss(
            p, data.value[own], data.weight[own], run.centre, data.prior_weight, ok
        )
    )(predicted, rows, runs, valid)
    each = carbon + settings.parameter_weight * pull
    lost = jnp.sum((1.0 - found.good.reshape(n, size)) * valid, axis=1) / count
    return each.sum(), (jax.lax.stop_gradient(each), lost)


def validate(
    networks: Network, data: Data, runs: Run, tuner: Tuner, settings: LearningSettings
) -> tuple[Float[Array, " run"], Float[Array, " run"]]:
    """Loss and share of sites without a steady state, over each run's validation sites."""
    size = settings.tuning_batch
    n, width = runs.validation.shape
    batches = -(-width // size)
    rows = jnp.pad(runs.validation, ((0, 0), (0, batches * size - width)), constant_values=-1)
    parts = jnp.swapaxes(rows.reshape(n, batches, size), 0, 1)

    def one(rows: Array) -> Any:
        _, (loss, lost) = _total(networks, rows, data, runs, tuner, settings)
        return loss, lost, jnp.sum(rows >= 0, axis=1)

    loss, lost, count = jax.lax.map(one, parts)
    total = count.sum(axis=0)
    return (loss * count).sum(axis=0) / total, (lost * count).sum(axis=0) / total


@eqx.filter_jit
def first(state: TuningState, data: Data, runs: Run, tuner: Tuner,
          settings: LearningSettings) -> TuningState:  # fmt: skip
    """Judge the networks as they come; tuning must do better than this to be kept."""
    loss, lost = validate(state.network, data, runs, tuner, settings)
    return state._replace(
        epoch=state.epoch + 1, best_loss=loss,
        history=state.history.at[0].set(jnp.stack([loss * jnp.nan, loss, lost], axis=1)),
    )  # fmt: skip


@eqx.filter_jit
def epoch(state: TuningState, data: Data, runs: Run, tuner: Tuner,
          settings: LearningSettings) -> TuningState:  # fmt: skip
    """One pass of every run over its training sites, then its validation loss."""
    n_runs, n = runs.train.shape
    size = settings.tuning_batch
    batches = -(-n // size)

    def shuffled(run: Run) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(run.key, 1_000_003), state.epoch)
        place = jax.random.uniform(key, (n,), jnp.float32)
        order = jnp.argsort(jnp.where(run.train >= 0, place, jnp.inf))
        return jnp.pad(run.train[order], (0, batches * size - n), constant_values=-1)

    rows = jnp.swapaxes(jax.vmap(shuffled)(runs).reshape(n_runs, batches, size), 0, 1)

    def step(carry: Any, item: Any) -> Any:
        network, optimizer = carry
        i, rows = item
        gradient, (loss, _) = jax.grad(_total, has_aux=True)(
            network, rows, data, runs, tuner, settings
        )
        update, new = jax.vmap(TRANSFORM.update)(gradient, optimizer, network)
        done = (state.epoch.astype(jnp.float32) - 1.0 + i / batches) / settings.tuning_epochs
        rate = settings.tuning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        moved = jax.tree.map(lambda p, u: p - rate * u, network, update)
        count = jnp.sum(rows >= 0, axis=1)
        some = count > 0  # else a run with fewer sites than its neighbours
        carry = choose(some, (moved, new), carry)
        return carry, (loss, count)

    (network, optimizer), (loss, count) = jax.lax.scan(
        step, (state.network, state.optimizer), (jnp.arange(batches, dtype=jnp.int32), rows)
    )
    training = (loss * count).sum(axis=0) / count.sum(axis=0)
    held, lost = validate(network, data, runs, tuner, settings)
    active = ~state.stopped
    better = active & (held < state.best_loss)
    best_epoch = jnp.where(better, state.epoch, state.best_epoch)
    stopped = state.stopped
    if settings.tuning_patience is not None:
        stopped = stopped | (state.epoch - best_epoch >= settings.tuning_patience)
    told = jnp.where(active[:, None], jnp.stack([training, held, lost], axis=1), jnp.nan)
    return TuningState(
        state.epoch + 1, choose(active, network, state.network),
        choose(active, optimizer, state.optimizer), choose(better, network, state.best),
        jnp.where(better, held, state.best_loss), best_epoch, stopped,
        state.history.at[state.epoch].set(told),
    )  # fmt: skip
