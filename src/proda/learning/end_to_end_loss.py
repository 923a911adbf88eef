"""The loss of end-to-end training: networks learn through the soil model alone.

The batches of all runs form one long axis of columns for the soil model, in float64. Beside its
network, a run learns the parameters of the errors: the logarithm of the scale of carbon's error,
one for each class of depth, and those of other data.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from proda.learning.carbon_loss import CarbonProblem, judge
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.network import Network, initial_networks
from proda.learning.program import BatchLoss, Learner, Loss, Recipe, Runs, led, mean


class EndToEndLoss(Loss):
    """Misfit of carbon at each site, plus a weak pull of the logits towards the start."""

    recipe: Recipe = eqx.field(static=True)
    problem: CarbonProblem
    inputs: Float[Array, "entry site input"]
    entry: Int[Array, " run"]
    """Which of the inputs a run uses."""
    varies: Float[Array, " parameter"]
    """1 for parameters that differ between places, 0 for those that are the same everywhere."""
    offset: Float[Array, "entry site parameter"] | None
    """Values added to a network's logits at each site; None: nothing."""
    input_noise: float = eqx.field(static=True)
    start_weight: float = eqx.field(static=True)

    def __call__(
        self,
        learners: Learner,
        rows: Int[Array, "run batch"],
        keys: PRNGKeyArray | None,
        runs: Runs,
    ) -> BatchLoss:
        """Evaluate a batch of each run; the history shows the misfit without the pull."""
        axis, own = None if keys is None else 0, learners.extra
        logits = jax.vmap(self._logits, in_axes=(0, 0, 0, axis))(
            learners.network, self.entry, rows, keys
        )
        n, size, d = logits.shape
        start = jnp.repeat(runs.start[:, None], size, axis=1)
        if self.offset is not None:
            moved = self.offset[self.entry[:, None], rows]
            logits, start = logits + moved, start + moved
        # Padding is computed as site 0, and its result is not used.
        flat = jnp.maximum(rows.reshape(-1), 0)
        modelled = jax.lax.stop_gradient(
            judge(
                jax.lax.stop_gradient(logits.reshape(-1, d).astype(jnp.float64)),
                jax.lax.stop_gradient(jnp.repeat(own, size, axis=0).astype(jnp.float64)),
                start.reshape(-1, d).astype(jnp.float64),
                flat,
                self.problem,
                slopes=keys is not None,
            )
        )
        by_logit = modelled.by_logit.reshape(n, size, d).astype(jnp.float32)
        by_own = modelled.by_own.reshape(n, size, -1).astype(jnp.float32)
        lead = (by_logit * logits).sum(axis=2) + (by_own * own[:, None]).sum(axis=2)
        loss = modelled.loss.reshape(n, size).astype(jnp.float32)
        carbon = mean(led(loss, lead), rows)
        pull = mean(((logits - start) ** 2).sum(axis=2), rows)
        lost = mean(1.0 - modelled.good.reshape(n, size), rows)
        return BatchLoss(carbon + self.start_weight * pull, jax.lax.stop_gradient(carbon), lost)

    def _logits(
        self, network: Network, entry: Int[Array, ""], rows: Int[Array, " batch"], key: Any
    ) -> Array:
        x = self.inputs[entry, rows]
        if key is not None and self.input_noise > 0:
            noise = jax.random.normal(jax.random.fold_in(key, 97), x.shape, jnp.float32)
            x = x + self.input_noise * noise
        return network.logits(x, key)

    def confine(self, gradient: Learner) -> Learner:
        """Keep the last weights of parameters with one value everywhere at 0, their start."""
        weights = gradient.network.weights
        last = weights[-1] * self.varies
        return eqx.tree_at(lambda g: g.network.weights, gradient, (*weights[:-1], last))


def end_to_end_loss(
    inputs: Float[np.ndarray, "entry site input"],
    entry: Int[np.ndarray, " run"],
    problem: CarbonProblem,
    varies: Float[np.ndarray, " parameter"],
    settings: EndToEndSettings,
    offset: Float[np.ndarray, "entry site parameter"] | None = None,
) -> EndToEndLoss:
    """Move the data to the device; `varies` is 1 for parameters that differ between places."""
    recipe = Recipe(
        "adamw",
        settings.learning_rate,
        settings.weight_decay,
        settings.batch_size,
        settings.epochs,
        settings.patience,
        validation_batch=settings.batch_size,
    )
    return EndToEndLoss(
        recipe,
        problem,
        jnp.asarray(inputs, jnp.float32),
        jnp.asarray(entry),
        jnp.asarray(varies, jnp.float32),
        None if offset is None else jnp.asarray(offset, jnp.float32),
        settings.input_noise,
        settings.start_weight,
    )


def initial_learners(
    runs: Runs, n_inputs: int, settings: EndToEndSettings, own: Float[np.ndarray, " own"]
) -> Learner:
    """Return networks that predict the start everywhere, and the start of the errors' parameters.

    These are the same for all networks: :attr:`proda.learning.carbon_loss.CarbonProblem.own_start`.
    """
    networks = initial_networks(runs.key, n_inputs, jax.nn.sigmoid(runs.start), settings)
    n = runs.start.shape[0]
    return Learner(networks, jnp.tile(jnp.asarray(own, jnp.float32), (n, 1)))
