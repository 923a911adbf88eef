"""The compiled part of training: epochs of all runs together, for any loss.

A loss object (:class:`Loss`) defines what is minimised; everything else is here: order of the
sites, optimiser, schedule, validation, early stopping, the best weights and the history. All runs
(members, and members without each fold) train together. Random numbers depend only on (seed, fold,
member, epoch), not on chunks.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from proda.learning.learning_settings import Optimizer
from proda.learning.network import Network
from proda.learning.splits import TrainingPlan

WARM_UP = 0.1
"""Share of training in which the learning rate of a one-cycle schedule rises to its peak."""


@dataclass(frozen=True)
class Recipe:
    """How a loss is minimised.

    Parameters
    ----------
    optimizer, rate, weight_decay
        AdamW with a cosine schedule whose peak is `rate`, or Adadelta at this constant rate.
    batch, epochs, patience
        As in `LearningSettings`.
    warm_up
        Share of training in which the rate of AdamW rises; 0: it only falls.
    own_pace
        Whether the schedule of a run uses its own number of batches, so that it does not depend on
        the other runs; otherwise it uses the number of the longest run.
    validation_batch
        Sites evaluated at a time; None: all together, as required by a loss that is not a mean over
        sites.
    from_start
        Whether the initial networks are evaluated as epoch 0, which may then be the best.
    """

    optimizer: Optimizer
    rate: float
    weight_decay: float
    batch: int
    epochs: int
    patience: int | None
    warm_up: float = 0.0
    own_pace: bool = False
    validation_batch: int | None = None
    from_start: bool = False

    @property
    def rows(self) -> int:
        """Rows of the history."""
        return self.epochs + self.from_start

    def transform(self) -> optax.GradientTransformation:
        """Return the transformation of gradients to steps of the rate 1; biases do not decay."""
        if self.optimizer == "adadelta":
            return optax.scale_by_adadelta(rho=0.95, eps=1e-7)

        def weights(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.ndim == 2, tree)

        return optax.chain(
            optax.scale_by_adam(), optax.add_decayed_weights(self.weight_decay, mask=weights)
        )

    def rate_at(self, progress: Float[Array, "*run"]) -> Float[Array, "*run"]:
        """Learning rate at a share of training: up to the peak, then down to 0 along a cosine."""
        if self.optimizer == "adadelta":
            return jnp.full_like(progress, self.rate)
        down = 0.5 * (1.0 + jnp.cos(jnp.pi * (progress - self.warm_up) / (1.0 - self.warm_up)))
        if self.warm_up == 0:
            return self.rate * down
        return self.rate * jnp.where(progress < self.warm_up, progress / self.warm_up, down)


class Learner(NamedTuple):
    """What is trained: a network, and other values that the loss estimates, if any."""

    network: Network
    extra: Any = ()


class Runs(NamedTuple):
    """Data of each run. Leading axis: run."""

    key: PRNGKeyArray
    train: Int[Array, "run train"]
    validation: Int[Array, "run validation"]
    start: Float[Array, "run parameter"]
    """Parameters at which a run starts and to which it is pulled, in the units of its loss."""


class BatchLoss(NamedTuple):
    """The value of a loss for one batch of each run."""

    loss: Float[Array, " run"]
    """What is minimised."""
    shown: Float[Array, " run"]
    """The loss in the history, by which validation chooses the epoch."""
    lost: Float[Array, " run"]
    """Share of the batch's sites without a steady state; NaN if no soil model is run."""


class Loss(eqx.Module):
    """What training minimises: the data that all runs share, and the loss of networks."""

    recipe: eqx.AbstractVar[Recipe]

    @abc.abstractmethod
    def __call__(
        self,
        learners: Learner,
        rows: Int[Array, "run batch"],
        keys: PRNGKeyArray | None,
        runs: Runs,
    ) -> BatchLoss:
        """Evaluate a batch of each run; -1 pads `rows`. Keys are given in training only.

        The loss of a run depends on its own learner only, so that the gradient of the sum is each
        run's own.
        """

    def confine(self, gradient: Learner) -> Learner:
        """Return the gradient with respect to the values that may change."""
        return gradient

    def order_key(self, key: PRNGKeyArray, epoch: Int[Array, ""]) -> PRNGKeyArray:
        """Return the key of the order of a run's sites in an epoch."""
        return jax.random.fold_in(jax.random.fold_in(key, epoch + 1), 0)


class State(NamedTuple):
    """The state of training, which a checkpoint contains. Leading axis: run."""

    epoch: Int[Array, ""]
    learner: Learner
    optimizer: Any
    best: Learner
    best_loss: Float[Array, " run"]
    best_epoch: Int[Array, " run"]
    stopped: Bool[Array, " run"]
    history: Float[Array, "epoch run 3"]
    """Training loss, validation loss, share of validation sites without a steady state."""


def keys_of(plan: TrainingPlan, seed: int) -> PRNGKeyArray:
    """Return the key of each run, from (seed, fold, member)."""
    root = jax.random.key(seed)
    return jnp.stack(
        [
            jax.random.fold_in(jax.random.fold_in(root, fold + 1), member)
            for fold, member in zip(plan.fold.tolist(), plan.member.tolist(), strict=True)
        ]
    )


def runs_of(plan: TrainingPlan, start: Float[np.ndarray, "run parameter"], seed: int) -> Runs:
    """Move the plan to the device and give every run its key and its start."""
    return Runs(
        keys_of(plan, seed),
        jnp.asarray(plan.train),
        jnp.asarray(plan.validation),
        jnp.asarray(start, jnp.float32),
    )


def initial_state(learner: Learner, recipe: Recipe) -> State:
    """Return the state before training; `learner` is stacked along the run."""
    learner = jax.tree.map(jnp.asarray, learner)
    n = learner.network.biases[-1].shape[0]
    return State(
        jnp.asarray(0, jnp.int32),
        learner,
        jax.vmap(recipe.transform().init)(learner),
        learner,
        jnp.full(n, jnp.inf, jnp.float32),
        jnp.zeros(n, jnp.int32),
        jnp.zeros(n, bool),
        jnp.full((recipe.rows, n, 3), jnp.nan, jnp.float32),
    )


def _validate(learner: Learner, loss: Loss, runs: Runs) -> tuple[Array, Array]:
    """Loss and share of sites without a steady state, over each run's validation sites."""
    size = loss.recipe.validation_batch
    if size is None:
        judged = loss(learner, runs.validation, None, runs)
        return judged.shown, judged.lost
    parts = _batches(runs.validation, size)

    def one(rows: Array) -> tuple[Array, Array, Array]:
        judged = loss(learner, rows, None, runs)
        return judged.shown, judged.lost, jnp.sum(rows >= 0, axis=1)

    shown, lost, count = jax.lax.map(one, parts)
    total = count.sum(axis=0)
    return (shown * count).sum(axis=0) / total, (lost * count).sum(axis=0) / total


def _batches(rows: Int[Array, "run site"], size: int) -> Int[Array, "batch run size"]:
    n, width = rows.shape
    batches = -(-width // size)
    rows = jnp.pad(rows, ((0, 0), (0, batches * size - width)), constant_values=-1)
    return jnp.swapaxes(rows.reshape(n, batches, size), 0, 1)


def _pass(state: State, loss: Loss, runs: Runs) -> tuple[Learner, Any, Float[Array, " run"]]:
    """One pass of every run over its training sites; also returns the mean loss."""
    recipe = loss.recipe
    n = runs.train.shape[1]
    transform = recipe.transform()

    def shuffled(run: Runs) -> Array:
        # Padding is sorted to the end, so that every run has full batches except its last one.
        place = jax.random.uniform(loss.order_key(run.key, state.epoch), (n,), jnp.float32)
        return run.train[jnp.argsort(jnp.where(run.train >= 0, place, jnp.inf))]

    rows = _batches(jax.vmap(shuffled)(runs), recipe.batch)
    keys = jax.vmap(lambda key: jax.random.fold_in(key, state.epoch + 1))(runs.key)
    steps: Any = rows.shape[0]
    if recipe.own_pace:
        steps = jnp.ceil(jnp.sum(runs.train >= 0, axis=1) / recipe.batch).astype(jnp.float32)
    begun = state.epoch.astype(jnp.float32) - float(recipe.from_start)

    def step(carry: Any, item: Any) -> Any:
        learner, optimizer = carry
        i, rows = item
        drop = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 1), i))(keys)

        def total(learner: Learner) -> tuple[Array, Array]:
            judged = loss(learner, rows, drop, runs)
            return judged.loss.sum(), judged.shown

        gradient, shown = jax.grad(total, has_aux=True)(learner)
        update, new = jax.vmap(transform.update)(loss.confine(gradient), optimizer, learner)
        rate = recipe.rate_at((begun + i / steps) / recipe.epochs)
        moved = jax.tree.map(lambda p, u: p - _along(rate, p) * u, learner, update)
        count = jnp.sum(rows >= 0, axis=1)
        # a run with fewer sites than others has empty batches
        carry = _choose(count > 0, (moved, new), carry)
        return carry, (shown, count)

    items = (jnp.arange(rows.shape[0], dtype=jnp.int32), rows)
    (learner, optimizer), (shown, count) = jax.lax.scan(
        step, (state.learner, state.optimizer), items
    )
    return learner, optimizer, (shown * count).sum(axis=0) / count.sum(axis=0)


@eqx.filter_jit
def judge_start(state: State, loss: Loss, runs: Runs) -> State:
    """Evaluate the initial networks; later epochs are kept only if they have a smaller loss."""
    held, lost = _validate(state.learner, loss, runs)
    row = jnp.stack([jnp.full_like(held, jnp.nan), held, lost], axis=1)
    return state._replace(
        epoch=state.epoch + 1, best_loss=held, history=state.history.at[0].set(row)
    )


@eqx.filter_jit
def run_until(state: State, loss: Loss, runs: Runs, stop: Int[Array, ""]) -> State:
    """Train up to a row of the history; the same program serves chunks of any length."""

    def body(state: State) -> State:
        learner, optimizer, training = _pass(state, loss, runs)
        held, lost = _validate(learner, loss, runs)
        active = ~state.stopped
        # without validation sites the last weights are kept
        none = runs.validation.shape[1] == 0
        judged = training if none else held
        # not finite: keep it, so that the caller can report the run
        better = active if none else active & ~(held >= state.best_loss)
        best_epoch = jnp.where(better, state.epoch, state.best_epoch)
        stopped = state.stopped
        if loss.recipe.patience is not None:
            stopped = stopped | (state.epoch - best_epoch >= loss.recipe.patience)
        row = jnp.where(active[:, None], jnp.stack([training, held, lost], axis=1), jnp.nan)
        return State(
            state.epoch + 1,
            _choose(active, learner, state.learner),
            _choose(active, optimizer, state.optimizer),
            _choose(better, learner, state.best),
            jnp.where(better, judged, state.best_loss),
            best_epoch,
            stopped,
            state.history.at[state.epoch].set(row),
        )

    return jax.lax.while_loop(lambda s: (s.epoch < stop) & ~jnp.all(s.stopped), body, state)


def _choose(which: Bool[Array, " run"], new: Any, old: Any) -> Any:
    """Return each run's leaves from `new` where `which` is True, otherwise from `old`."""
    return jax.tree.map(lambda a, b: jnp.where(_along(which, a), a, b), new, old)


def _along(value: Array, leaf: Array) -> Array:
    """Reshape one value per run, or one for all, to broadcast along the leading axis of a leaf."""
    return value.reshape(-1, *(1,) * (leaf.ndim - 1)) if value.ndim else value


def mean(each: Float[Array, "run batch"], rows: Int[Array, "run batch"]) -> Float[Array, " run"]:
    """Mean over the sites of a batch that are not padding."""
    valid = (rows >= 0).astype(jnp.float32)
    return jnp.sum(each * valid, axis=1) / jnp.maximum(valid.sum(axis=1), 1.0)


def led(value: Float[Array, "*n"], lead: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return the value with the gradient of `lead`, which was checked column by column."""
    return value + lead - jax.lax.stop_gradient(lead)


def with_slopes(
    loss: Callable[..., Any], slopes: bool, by: tuple[int, ...] = (0, 1)
) -> Callable[..., Any]:
    """Return a loss with its gradients by some arguments, or with zeros in their place.

    Validation needs no gradients, and the loss alone takes a fraction of their time, to compile and
    to evaluate. `loss` returns its value and something else.
    """
    if slopes:
        return jax.value_and_grad(loss, argnums=by, has_aux=True)

    def alone(*given: Any) -> Any:
        return loss(*given), tuple(jnp.zeros_like(given[i]) for i in by)

    return alone
