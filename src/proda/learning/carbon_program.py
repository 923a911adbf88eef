"""The compiled part of end-to-end training: networks learn through the soil model alone.

All runs (members, and members in each fold) go side by side, and their batches form one long axis
of columns for the soil model, in float64. Random numbers come from (seed, fold, member, epoch).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from proda.learning.carbon_loss import DEPTH_CLASSES, SCALE, Problem, judge
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.network import Network, initial_network
from proda.learning.program import choose
from proda.learning.splits import Plan


class Learner(NamedTuple):
    """What training changes: a network and the logarithm of the error's scale by depth class."""

    network: Network
    log_scale: Float[Array, " depth_class"]


class CarbonData(NamedTuple):
    """What all runs share."""

    inputs: Float[Array, "site input"]
    varies: Float[Array, " parameter"]
    """1 for parameters that differ between places, 0 for those that are the same everywhere."""


class CarbonRun(NamedTuple):
    """What one run has for itself."""

    key: PRNGKeyArray
    train: Int[Array, " train"]
    validation: Int[Array, " validation"]
    start: Float[Array, " parameter"]
    """Logits of the parameters at which training starts, and to which it is drawn."""


class CarbonState(NamedTuple):
    """All that continues training: exactly what a checkpoint holds. Leading axis: run."""

    epoch: Int[Array, ""]
    learner: Learner
    optimizer: Any
    best: Learner
    best_loss: Float[Array, " run"]
    best_epoch: Int[Array, " run"]
    stopped: Bool[Array, " run"]
    history: Float[Array, "epoch run 3"]
    """Training loss, validation loss, share of validation sites without a steady state."""


def runs_of(
    plan: Plan, start: Float[np.ndarray, "run parameter"], settings: EndToEndSettings
) -> CarbonRun:
    """Move the plan to the device and give every run its key and its start."""
    root = jax.random.key(settings.seed)
    keys = jnp.stack([
        jax.random.fold_in(jax.random.fold_in(root, fold + 1), member)
        for fold, member in zip(plan.fold.tolist(), plan.member.tolist(), strict=True)
    ])  # fmt: skip
    return CarbonRun(
        keys, jnp.asarray(plan.train), jnp.asarray(plan.validation), jnp.asarray(start, jnp.float32)
    )


def _transform(settings: EndToEndSettings) -> optax.GradientTransformation:
    def weights(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim == 2, tree)

    return optax.chain(
        optax.scale_by_adam(), optax.add_decayed_weights(settings.weight_decay, mask=weights)
    )


@eqx.filter_jit
def initial_state(data: CarbonData, runs: CarbonRun, settings: EndToEndSettings) -> CarbonState:
    """Return networks that give the start everywhere, and all that goes with them."""
    n = runs.train.shape[0]

    def one(run: CarbonRun) -> tuple[Learner, Any]:
        key = jax.random.fold_in(run.key, 0)
        centre = jax.nn.sigmoid(run.start)
        network = initial_network(key, data.inputs.shape[1], centre, settings.network())
        scale = jnp.full(len(DEPTH_CLASSES), np.log(SCALE), jnp.float32)
        learner = Learner(network, scale)
        return learner, _transform(settings).init(learner)

    learner, optimizer = jax.vmap(one)(runs)
    return CarbonState(
        jnp.asarray(0, jnp.int32), learner, optimizer, learner,
        jnp.full(n, jnp.inf, jnp.float32), jnp.zeros(n, jnp.int32), jnp.zeros(n, bool),
        jnp.full((settings.epochs, n, 3), jnp.nan, jnp.float32),
    )  # fmt: skip


def _total(
    learners: Learner, rows: Int[Array, "run batch"], keys: PRNGKeyArray | None, data: CarbonData,
    runs: CarbonRun, problem: Problem, settings: EndToEndSettings,
) -> tuple[Float[Array, ""], tuple[Float[Array, " run"], Float[Array, " run"]]]:  # fmt: skip
    """Sum of the runs' losses, whose gradient is each run's own; loss and lost share by run."""
    valid = (rows >= 0).astype(jnp.float32)
    count = jnp.maximum(valid.sum(axis=1), 1.0)

    def outputs(network: Network, own: Array, key: Any) -> Array:
        x = data.inputs[own]
        if key is not None and settings.input_noise > 0:
            noise = jax.random.normal(jax.random.fold_in(key, 97), x.shape, jnp.float32)
            x = x + settings.input_noise * noise
        return network.logits(x, key)

    axis = None if keys is None else 0
    logits = jax.vmap(outputs, in_axes=(0, 0, axis))(learners.network, rows, keys)
    n, size, d = logits.shape
    # Padding is computed as site 0, whatever that gives, and then does not count.
    flat = jnp.maximum(rows.reshape(-1), 0)
    scales = jnp.repeat(learners.log_scale, size, axis=0)
    found = jax.lax.stop_gradient(
        judge(
            jax.lax.stop_gradient(logits.reshape(-1, d).astype(jnp.float64)),
            jax.lax.stop_gradient(scales.astype(jnp.float64)),
            jnp.repeat(runs.start, size, axis=0).astype(jnp.float64), flat, problem,
        )
    )  # fmt: skip
    by_logit = found.by_logit.reshape(n, size, d).astype(jnp.float32)
    by_scale = found.by_scale.reshape(n, size, -1).astype(jnp.float32)
    lead = (by_logit * logits).sum(axis=2) + (by_scale * learners.log_scale[:, None]).sum(axis=2)
    loss = found.loss.reshape(n, size).astype(jnp.float32)
    # Value of the loss, gradient of the lead.
    carbon = jnp.sum((loss + lead - jax.lax.stop_gradient(lead)) * valid, axis=1) / count
    pull = jnp.sum(((logits - runs.start[:, None]) ** 2).sum(axis=2) * valid, axis=1) / count
    each = carbon + settings.start_weight * pull
    lost = jnp.sum((1.0 - found.good.reshape(n, size)) * valid, axis=1) / count
    return each.sum(), (jax.lax.stop_gradient(carbon), lost)


def validate(
    learners: Learner, data: CarbonData, runs: CarbonRun, problem: Problem,
    settings: EndToEndSettings,
) -> tuple[Float[Array, " run"], Float[Array, " run"]]:  # fmt: skip
    """Loss and share of sites without a steady state, over each run's validation sites."""
    size = settings.batch_size
    n, width = runs.validation.shape
    batches = -(-width // size)
    rows = jnp.pad(runs.validation, ((0, 0), (0, batches * size - width)), constant_values=-1)
    parts = jnp.swapaxes(rows.reshape(n, batches, size), 0, 1)

    def one(rows: Array) -> Any:
        _, (loss, lost) = _total(learners, rows, None, data, runs, problem, settings)
        return loss, lost, jnp.sum(rows >= 0, axis=1)

    loss, lost, count = jax.lax.map(one, parts)
    total = count.sum(axis=0)
    return (loss * count).sum(axis=0) / total, (lost * count).sum(axis=0) / total


@eqx.filter_jit
def epoch(state: CarbonState, data: CarbonData, runs: CarbonRun, problem: Problem,
          settings: EndToEndSettings) -> CarbonState:  # fmt: skip
    """One pass of every run over its training sites, then its validation loss."""
    n_runs, n = runs.train.shape
    size = settings.batch_size
    batches = -(-n // size)
    keys = jax.vmap(lambda run: jax.random.fold_in(run.key, state.epoch + 1))(runs)

    def shuffled(run: CarbonRun, key: PRNGKeyArray) -> Array:
        place = jax.random.uniform(jax.random.fold_in(key, 0), (n,), jnp.float32)
        order = jnp.argsort(jnp.where(run.train >= 0, place, jnp.inf))
        return jnp.pad(run.train[order], (0, batches * size - n), constant_values=-1)

    order = jax.vmap(shuffled)(runs, keys)
    rows = jnp.swapaxes(order.reshape(n_runs, batches, size), 0, 1)
    transform = _transform(settings)

    def step(carry: Any, item: Any) -> Any:
        learner, optimizer = carry
        i, rows = item
        drop = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 1), i))(keys)
        gradient, (loss, _) = jax.grad(_total, has_aux=True)(
            learner, rows, drop, data, runs, problem, settings
        )
        gradient = _global(gradient, data)
        update, new = jax.vmap(transform.update)(gradient, optimizer, learner)
        done = (state.epoch.astype(jnp.float32) + i / batches) / settings.epochs
        rate = settings.learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        moved = jax.tree.map(lambda p, u: p - rate * u, learner, update)
        count = jnp.sum(rows >= 0, axis=1)
        carry = choose(count > 0, (moved, new), carry)  # a run may have fewer sites than others
        return carry, (loss, count)

    items = (jnp.arange(batches, dtype=jnp.int32), rows)
    (learner, optimizer), (loss, count) = jax.lax.scan(
        step, (state.learner, state.optimizer), items
    )
    training = (loss * count).sum(axis=0) / count.sum(axis=0)
    held, lost = validate(learner, data, runs, problem, settings)
    active = ~state.stopped
    # not finite: let it through, so that the caller sees and names the run
    better = active & ~(held >= state.best_loss)
    best_epoch = jnp.where(better, state.epoch, state.best_epoch)
    stopped = state.stopped
    if settings.patience is not None:
        stopped = stopped | (state.epoch - best_epoch >= settings.patience)
    told = jnp.where(active[:, None], jnp.stack([training, held, lost], axis=1), jnp.nan)
    return CarbonState(
        state.epoch + 1, choose(active, learner, state.learner),
        choose(active, optimizer, state.optimizer), choose(better, learner, state.best),
        jnp.where(better, held, state.best_loss), best_epoch, stopped,
        state.history.at[state.epoch].set(told),
    )  # fmt: skip


def _global(gradient: Learner, data: CarbonData) -> Learner:
    """Keep the last weights of parameters that are the same everywhere at 0, where they start."""
    weights = gradient.network.weights
    last = weights[-1] * data.varies
    return eqx.tree_at(lambda g: g.network.weights, gradient, (*weights[:-1], last))
