"""The network from covariates to parameters, and its two losses (P-section 2.6)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from proda.learning.learning_settings import LearningSettings


class Network(eqx.Module):
    """A fully connected network with ReLU; its outputs are shares of the prior range.

    Float32: the rounding error, about 1e-7 of the prior range, is far below the accuracy of any
    prediction, and single precision doubles the speed. The soil models use float64.
    """

    weights: tuple[Float[Array, "i o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    dropout: float = eqx.field(static=True)
    bounded: bool = eqx.field(static=True)

    def __call__(
        self, inputs: Float[Array, "batch inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch parameter"]:
        """Evaluate a batch; with a key, hidden nodes are dropped as in training."""
        x = self.logits(inputs, key)
        return jax.nn.sigmoid(x) if self.bounded else x

    def logits(
        self, inputs: Float[Array, "batch inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch parameter"]:
        """Return the outputs before the logistic function that keeps them inside the range."""
        x = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            # GPUs would round the factors to 10 bits otherwise, and a share by some 1e-4
            x = jnp.matmul(x, weight, precision=jax.lax.Precision.HIGHEST) + bias
            if layer == len(self.weights) - 1:
                break
            x = jax.nn.relu(x)
            if key is not None and self.dropout > 0:
                # Bernoulli from float32: float64 would cost twice as much for the same result
                u = jax.random.uniform(jax.random.fold_in(key, layer), x.shape, jnp.float32)
                x = jnp.where(u < self.dropout, 0.0, x / (1.0 - self.dropout))
        return x


def initial_network(
    key: PRNGKeyArray, n_inputs: int, centre: Float[Array, " parameter"], settings: LearningSettings
) -> Network:
    """Return an untrained network.

    Glorot-uniform weights and no biases. A bounded network starts at `centre` everywhere (its last
    weights are 0), so that an output that no site constrains stays there.
    """
    widths = (n_inputs, *settings.hidden, centre.shape[0])
    weights, biases = [], []
    for layer, (i, o) in enumerate(itertools.pairwise(widths)):
        limit = np.sqrt(6.0 / (i + o))
        draw = jax.random.uniform(jax.random.fold_in(key, layer), (i, o), jnp.float32, -1.0, 1.0)
        weights.append(draw * jnp.float32(limit))
        biases.append(jnp.zeros(o, jnp.float32))
    if settings.bounded:
        share = jnp.clip(centre.astype(jnp.float32), 0.01, 0.99)  # only the start of training
        weights[-1] = jnp.zeros_like(weights[-1])
        biases[-1] = jnp.log(share) - jnp.log1p(-share)
    return Network(tuple(weights), tuple(biases), settings.dropout, settings.bounded)


def initial_networks(
    keys: PRNGKeyArray,
    n_inputs: int,
    centre: Float[Array, "run parameter"],
    settings: LearningSettings,
) -> Network:
    """Return untrained networks, one per key, stacked; epochs use later numbers of a key."""
    # neither is part of the program; without them it is compiled once for all seeds
    own = replace(settings, seed=0, members=1)
    return _initial(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), centre, n_inputs, own)


@partial(jax.jit, static_argnames=("n_inputs", "settings"))
def _initial(
    keys: PRNGKeyArray,
    centre: Float[Array, "run parameter"],
    n_inputs: int,
    settings: LearningSettings,
) -> Network:
    return jax.vmap(lambda key, own: initial_network(key, n_inputs, own, settings))(keys, centre)


def study_loss(
    predicted: Float[Array, "batch parameter"],
    target: Float[Array, "batch parameter"],
    valid: Float[Array, " batch"],
) -> Float[Array, ""]:
    """L1 ratio x L2 of the paper: mean |(true - pred) / true| times mean (true - pred)^2.

    Both means run over the rows with `valid` = 1 and all parameters.
    """
    n = jnp.maximum(jnp.sum(valid), 1.0) * target.shape[1]
    error = (target - predicted) * valid[:, None]
    ratio = jnp.sum(jnp.abs(error / target)) / n
    square = jnp.sum(error**2) / n
    return ratio * square


def weighted_loss(
    predicted: Float[Array, "batch parameter"],
    target: Float[Array, "batch parameter"],
    weight: Float[Array, "batch parameter"],
    centre: Float[Array, " parameter"],
    prior_weight: float | Float[Array, ""],
    valid: Float[Array, " batch"],
) -> Float[Array, ""]:
    """Squared error times information, plus a weak pull towards `centre`; mean over valid rows.

    All in shares of the prior range. Without the pull, an adaptive optimiser would fit the noise
    of a parameter that no site constrains: it rescales each output's gradient, however small.
    """
    data = jnp.sum(weight * (predicted - target) ** 2, axis=1)
    pull = prior_weight * jnp.sum((predicted - centre) ** 2, axis=1)
    return jnp.sum((data + pull) * valid) / jnp.maximum(jnp.sum(valid), 1.0)
