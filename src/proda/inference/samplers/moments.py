"""Running mean and covariance of a chain, segment by segment."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FORGETTING = 0.5
"""The weight of segment t is 1 / (FORGETTING t + PATIENCE): the later half counts most."""
PATIENCE = 5.0
RIDGE = 1e-6
"""Share of the prior's variance that is added, so that the covariance can be factored."""


def update(
    mean: Float[Array, " parameter"],
    covariance: Float[Array, "parameter parameter"],
    visited: Float[Array, "step parameter"],
    n_segments: Int[Array, ""],
) -> tuple[Float[Array, " parameter"], Float[Array, "parameter parameter"]]:
    """Return mean and covariance updated with one more segment.

    Early segments, before the chain has reached its stationary distribution, lose weight: after t
    segments, the weight of the first is about 1/t^2.
    """
    weight = 1.0 / (FORGETTING * n_segments + PATIENCE)
    centre = visited.mean(axis=0)
    deviation = visited - centre
    inside = deviation.T @ deviation / len(visited)
    move = centre - mean
    covariance = (1.0 - weight) * (covariance + weight * jnp.outer(move, move)) + weight * inside
    return mean + weight * move, covariance


def factor(
    covariance: Float[Array, "parameter parameter"], prior_variance: float
) -> Float[Array, "parameter parameter"]:
    """Return the lower Cholesky factor of the covariance, regularised to be positive definite."""
    ridge = RIDGE * prior_variance * jnp.eye(len(covariance))
    return jax.lax.linalg.cholesky(covariance + ridge, symmetrize_input=False)


def tune(
    log_scale: Float[Array, "..."],
    acceptance: Float[Array, "..."],
    wanted: float,
    n_segments: Int[Array, ""],
) -> Float[Array, "..."]:
    """Return the logarithm of the step size, adjusted towards the target acceptance.

    Robbins and Monro (1951) with a gain that falls as 1/sqrt(segments).
    """
    gain = jnp.minimum(1.0, 3.0 / jnp.sqrt(n_segments + 1.0))
    return log_scale + 2.0 * gain * (acceptance - wanted)
