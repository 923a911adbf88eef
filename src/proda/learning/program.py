"""The compiled part of training: epochs of all runs side by side.

Random numbers come from (seed, fold, member, epoch) alone; an epoch knows nothing of chunks.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from proda.errors import LearningError
from proda.learning.network import Network, initial_network, study_loss, weighted_loss
from proda.learning.settings import LearningSettings
from proda.learning.splits import Plan
from proda.learning.targets import PRIOR_VARIANCE, Targets

WARM_UP = 0.1
"""Share of training in which the learning rate rises to its peak."""


class Data(NamedTuple):
    """What all runs share, on the device."""

    inputs: Float[Array, "site input"]
    value: Float[Array, "site parameter"]
    weight: Float[Array, "site parameter"]
    prior_weight: Float[Array, ""]


class Run(NamedTuple):
    """What one run has for itself."""

    key: PRNGKeyArray
    train: Int[Array, " train"]
    validation: Int[Array, " validation"]
    centre: Float[Array, " parameter"]


class State(NamedTuple):
    """All that continues training: exactly what a checkpoint holds. Leading axis: run."""

    epoch: Int[Array, ""]
    network: Network
    optimizer: Any
    best: Network
    best_loss: Float[Array, " run"]
    best_epoch: Int[Array, " run"]
    stopped: Bool[Array, " run"]
    history: Float[Array, "epoch run 2"]


def prepare(
    inputs: np.ndarray, targets: Targets, plan: Plan, settings: LearningSettings
) -> tuple[Data, Run]:
    """Move data and plan to the device; weights are scaled to a mean of 1 per site."""
    weight = targets.weight
    total = float(weight.sum(axis=1).mean())
    if total == 0:
        raise LearningError("No site constrains any parameter: every posterior is the prior.")
    pull = settings.prior_weight / PRIOR_VARIANCE
    data = Data(
        jnp.asarray(inputs, jnp.float32), jnp.asarray(targets.value, jnp.float32),
        jnp.asarray(weight / total, jnp.float32), jnp.asarray(pull / total, jnp.float32),
    )  # fmt: skip
    centre = []
    for rows in plan.train:
        rows = rows[rows >= 0]
        w, z = weight[rows], targets.value[rows]
        n = pull * rows.size  # the prior's middle counts as much as the pull does in the loss
        centre.append(((w * z).sum(axis=0) + n * 0.5) / (w.sum(axis=0) + n))
    root = jax.random.key(settings.seed)
    keys = jnp.stack([
        jax.random.fold_in(jax.random.fold_in(root, fold + 1), member)
        for fold, member in zip(plan.fold.tolist(), plan.member.tolist(), strict=True)
    ])  # fmt: skip
    return data, Run(
        keys, jnp.asarray(plan.train), jnp.asarray(plan.validation),
        jnp.asarray(np.array(centre), jnp.float32),
    )  # fmt: skip


def _transform(settings: LearningSettings) -> optax.GradientTransformation:
    if settings.optimizer == "adadelta":
        return optax.scale_by_adadelta(rho=0.95, eps=1e-7)
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(
            settings.weight_decay, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim == 2, tree)
        ),
    )


def _rate(progress: Float[Array, ""], settings: LearningSettings) -> Float[Array, ""]:
    """Learning rate at a share of training: up to the peak, then down to 0 along a cosine."""
    if settings.optimizer == "adadelta":
        return jnp.float32(settings.learning_rate)
    down = 0.5 * (1.0 + jnp.cos(jnp.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))
    return settings.learning_rate * jnp.where(progress < WARM_UP, progress / WARM_UP, down)


@partial(jax.jit, static_argnames="settings")
def initial_state(data: Data, runs: Run, settings: LearningSettings) -> State:
    """Return untrained networks and all that goes with them."""
    n = runs.train.shape[0]

    def one(run: Run) -> tuple[Network, Any]:
        key = jax.random.fold_in(run.key, 0)
        network = initial_network(key, data.inputs.shape[1], run.centre, settings)
        return network, _transform(settings).init(network)

    network, optimizer = jax.vmap(one)(runs)
    return State(
        jnp.asarray(0, jnp.int32), network, optimizer, network,
        jnp.full(n, jnp.inf, jnp.float32), jnp.zeros(n, jnp.int32), jnp.zeros(n, bool),
        jnp.full((settings.epochs, n, 2), jnp.nan, jnp.float32),
    )  # fmt: skip


def _loss(
    network: Network, rows: Int[Array, " batch"], data: Data, run: Run, settings: LearningSettings,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:  # fmt: skip
    valid = (rows >= 0).astype(jnp.float32)
    predicted = network(data.inputs[rows], key)
    if settings.loss == "study":
        return study_loss(predicted, data.value[rows], valid)
    return weighted_loss(
        predicted, data.value[rows], data.weight[rows], run.centre, data.prior_weight, valid
    )


def _epoch(
    network: Network, optimizer: Any, run: Run, epoch: Int[Array, ""], data: Data,
    settings: LearningSettings,
) -> tuple[Network, Any, Float[Array, " 2"]]:  # fmt: skip
    """One pass of one run over its training sites, then its validation loss."""
    key = jax.random.fold_in(run.key, epoch + 1)
    n, size = run.train.shape[0], settings.batch_size
    # Padding sorts to the end, so that every run has full batches but for its last one.
    place = jax.random.uniform(jax.random.fold_in(key, 0), (n,), jnp.float32)
    order = jnp.argsort(jnp.where(run.train >= 0, place, jnp.inf))
    batches = -(-n // size)
    rows = jnp.pad(run.train[order], (0, batches * size - n), constant_values=-1)
    own = jnp.ceil(jnp.sum(run.train >= 0) / size).astype(jnp.float32)
    transform = _transform(settings)

    def step(carry: Any, item: Any) -> tuple[Any, tuple[Array, Array]]:
        network, optimizer = carry
        i, rows = item
        drop = jax.random.fold_in(jax.random.fold_in(key, 1), i)
        loss, gradient = jax.value_and_grad(_loss)(network, rows, data, run, settings, drop)
        update, new = transform.update(gradient, optimizer, network)
        rate = _rate((epoch.astype(jnp.float32) + i / own) / settings.epochs, settings)
        moved = jax.tree.map(lambda p, u: p - rate * u, network, update)
        count = jnp.sum(rows >= 0)
        empty = count == 0  # a run with fewer sites than its neighbours
        carry = jax.tree.map(lambda a, b: jnp.where(empty, a, b), carry, (moved, new))
        return carry, (loss, count.astype(jnp.float32))

    items = (jnp.arange(batches, dtype=jnp.int32), rows.reshape(batches, size))
    (network, optimizer), (loss, count) = jax.lax.scan(step, (network, optimizer), items)
    training = jnp.sum(loss * count) / jnp.sum(count)
    return (
        network,
        optimizer,
        jnp.stack([training, _loss(network, run.validation, data, run, settings)]),
    )


@partial(jax.jit, static_argnames="settings")
def run_chunk(
    state: State, data: Data, runs: Run, stop: Int[Array, ""], settings: LearningSettings
) -> State:
    """Train up to the epoch `stop`; the same program serves chunks of any length."""

    def body(state: State) -> State:
        network, optimizer, losses = jax.vmap(
            lambda n, o, r: _epoch(n, o, r, state.epoch, data, settings)
        )(state.network, state.optimizer, runs)

        def kept(mask: Array, new: Any, old: Any) -> Any:
            return jax.tree.map(
                lambda a, b: jnp.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old
            )

        active = ~state.stopped
        # not finite: let it through, so that the caller sees and names the run
        better = active & ~(losses[:, 1] >= state.best_loss)
        best_epoch = jnp.where(better, state.epoch, state.best_epoch)
        stopped = state.stopped
        if settings.patience is not None:
            stopped = stopped | (state.epoch - best_epoch >= settings.patience)
        return State(
            state.epoch + 1, kept(active, network, state.network),
            kept(active, optimizer, state.optimizer), kept(better, network, state.best),
            jnp.where(better, losses[:, 1], state.best_loss), best_epoch, stopped,
            state.history.at[state.epoch].set(jnp.where(active[:, None], losses, jnp.nan)),
        )  # fmt: skip

    return jax.lax.while_loop(lambda s: (s.epoch < stop) & ~jnp.all(s.stopped), body, state)


def choose(which: Bool[Array, " run"], new: Any, old: Any) -> Any:
    """Take each run's leaves from `new` where `which` holds, else from `old`."""
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old
    )
