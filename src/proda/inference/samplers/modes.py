"""Where the posterior density of a site is largest, and which of these places are anchors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from proda.inference.samplers.anchors import (
    DIRECTIONS,
    Anchors,
    Judge,
    come_back,
    differences,
    normal,
)

CLIMBERS = 16
"""Climbs, each from the best of its own part of the draws of the prior."""
CLIMB_STEPS = 25
"""Most steps of a climb."""
SHORT = 0.02
"""Length of a step, in standard deviations of the prior, below which a climb is at its end."""
MOST_ANCHORS = 4
DAMPING = (1.0, 0.2, 5.0)
"""Of Levenberg and Marquardt: first, and its factor after a better and after a worse step."""


def climb(
    z: Float[Array, "climber parameter"], best: Float[Array, " climber"], judge: Judge
) -> tuple[Float[Array, "climber parameter"], Float[Array, " climber"], Int[Array, ""]]:
    """Go to the largest densities nearby, by the method of Levenberg and Marquardt.

    Parameters
    ----------
    z, best
        Places, and their log-densities: minus half of the sum of squares and of the prior, -inf
        where there is none.
    judge
        What is climbed.

    Returns
    -------
    The same at the ends, and how many columns were solved.
    """
    n, d = z.shape
    every = jnp.broadcast_to(jnp.eye(d), (n, d, d))

    def density(z: Array) -> Array:
        value, residuals = judge(z)
        return jnp.where(jnp.isfinite(value), normal(residuals) + normal(z), -jnp.inf)

    def body(carry: Any) -> Any:
        i, z, best, damping, _ = carry
        _, residuals, by = differences(judge, z, every)

        def step(z: Array, residuals: Array, by: Array, damping: Array) -> Array:
            inside = jnp.eye(d) * (1.0 + damping) + by.T @ by
            return -jnp.linalg.solve(inside, z + by.T @ residuals)

        moved = jnp.clip(jax.vmap(step)(z, residuals, by, damping), -1.0, 1.0)
        new = density(z + moved)
        better = new > best
        return (
            i + 1,
            jnp.where(better[:, None], z + moved, z),
            jnp.where(better, new, best),
            damping * jnp.where(better, DAMPING[1], DAMPING[2]),
            jnp.abs(moved).max(axis=1) > SHORT,
        )

    def going(carry: Any) -> Array:
        return (carry[0] < CLIMB_STEPS) & carry[4].any()

    start = (jnp.zeros((), jnp.int32), z, best, jnp.full(n, DAMPING[0]), jnp.isfinite(best))
    i, z, best, _, _ = jax.lax.while_loop(going, body, start)
    return z, best, n * i * (d + 2)


def find_anchors(
    z: Float[Array, "draw parameter"], residuals: Float[Array, "draw residual"], judge: Judge
) -> tuple[Anchors, Int[Array, ""], Int[Array, ""]]:
    """Return anchors, at the ends of climbs that draws of other anchors do not come to.

    Parameters
    ----------
    z, residuals
        Draws of the prior, infinite residuals where there is no density; their number is a multiple
        of `CLIMBERS`.
    judge
        What is climbed.

    Returns
    -------
    `MOST_ANCHORS` anchors, of which the first so many count; and how many columns were solved.
    """
    fit, each = normal(residuals), len(z) // CLIMBERS
    # By the fit alone: draws are as frequent as the prior has it, which would count twice.
    first = jnp.argmax(fit.reshape(CLIMBERS, each), axis=1) + jnp.arange(CLIMBERS) * each
    z, density, climbed = climb(z[first], (fit + normal(z))[first], judge)
    z = z[jnp.argsort(-density)]
    anchors, possible = _anchors_at(z, judge)

    def add(carry: Any) -> Any:
        chosen, n, left, columns = carry
        new = jnp.argmax(left).astype(jnp.int32)
        there, more = come_back(anchors.of(jnp.full(CLIMBERS, new)), z, judge)
        left = left & ~jnp.isfinite(there) & (jnp.arange(CLIMBERS) != new)
        return chosen.at[n].set(new), n + 1, left, columns + more

    zero = jnp.zeros((), jnp.int32)
    chosen, n, _, columns = jax.lax.while_loop(
        lambda carry: (carry[1] < MOST_ANCHORS) & carry[2].any(),
        add,
        (jnp.zeros(MOST_ANCHORS, jnp.int32), zero, possible, zero),
    )
    return anchors.of(chosen), n, columns + climbed + CLIMBERS * (1 + z.shape[1])


def _anchors_at(z: Float[Array, "place parameter"], judge: Judge) -> tuple[Anchors, Array]:
    """Return anchors at places, and which of them have a density and derivatives."""
    n, d = z.shape
    value, _, by = differences(judge, z, jnp.broadcast_to(jnp.eye(d), (n, d, d)))
    possible = jnp.isfinite(value) & jnp.isfinite(by).all(axis=(1, 2))
    left, size, right = jnp.linalg.svd(
        jnp.where(possible[:, None, None], by, 0.0), full_matrices=False
    )
    k = min(DIRECTIONS, size.shape[1])
    directions = jnp.swapaxes(right[:, :k], 1, 2)
    start = jnp.einsum("nd,ndk->nk", z, directions)
    return Anchors(directions, size[:, :k], left[:, :, :k], start), possible
