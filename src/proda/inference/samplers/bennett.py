"""Ratios of normalising constants from draws of two densities (Bennett 1976).

Equations: docs/theory.md#sequential-monte-carlo.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MAX_ITERATIONS = 60
TOLERANCE = 1e-10


def log_ratio(
    first: Float[Array, " draw"],
    second: Float[Array, " other"],
    emphasis: float | Float[Array, ""] = 1.0,
) -> Float[Array, ""]:
    """Return ln(Z2 / Z1) by the acceptance ratio method.

    The solution c of sum_1 p + q sum_2 p = q n_2 with p = 1 / (1 + n_1 / (q n_2) exp(c - x)), by
    Newton's method, and bisection where it would leave the interval that contains the solution.

    Parameters
    ----------
    first, second
        x, the log of the ratio of the two unnormalised densities, second over first, at draws of
        each; -inf at places that are no draws.
    emphasis
        q, by how much more a draw of the second density counts than one of the first.
    """
    n_first, n_second = ((x > -jnp.inf).sum() for x in (first, second))
    change = jnp.concatenate([first, second])
    weight = jnp.concatenate([jnp.ones(len(first)), jnp.full(len(second), emphasis)])
    counted = change > -jnp.inf
    weight = jnp.where(counted, weight, 0.0)
    x = jnp.where(counted, change, 0.0) + jnp.log(emphasis * n_second / n_first)

    def go_on(carry: tuple[Any, ...]) -> Any:
        i, _, _, _, step = carry
        return (i < MAX_ITERATIONS) & (jnp.abs(step) > TOLERANCE)

    def newton(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, c, low, high, _ = carry
        share = jax.nn.sigmoid(x - c)
        excess = (weight * share).sum() - emphasis * n_second
        low, high = jnp.where(excess > 0.0, c, low), jnp.where(excess > 0.0, high, c)
        new = c + excess / (weight * share * (1.0 - share)).sum()
        new = jnp.where((new > low) & (new < high), new, 0.5 * (low + high))
        return i + 1, new, low, high, new - c

    # Where all x are equal, c is their common value; 1 below and above it the sign is clear.
    low = jnp.where(counted, change, jnp.inf).min() - 1.0
    high = change.max() + 1.0
    middle = jnp.where(counted, change, 0.0).sum() / counted.sum()
    start = (jnp.zeros((), jnp.int32), middle, low, high, high - low)
    return jax.lax.while_loop(go_on, newton, start)[1]
