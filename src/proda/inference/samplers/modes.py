"""Where the posterior density of a site is largest, and which of these places are anchors."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

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
LITTLE = 0.1
"""How much a step must promise to add to the log-density, so that a climb goes on."""
MOST_ANCHORS = 4
"""At the ends of climbs."""
MORE_ANCHORS = 4
"""Where walkers are that draws of no other anchor come to."""
DAMPING = (1.0, 0.2, 5.0)
"""Of Levenberg and Marquardt: first, and its factor after a better and after a worse step."""


class Climb(NamedTuple):
    """Where climbers are. Leading axis: climber."""

    number: Int[Array, ""]
    z: Float[Array, "climber parameter"]
    trial: Float[Array, "climber parameter"]
    """Where they try to go."""
    log_density: Float[Array, " climber"]
    """Minus half of the sums of squares of the residuals and of z; -inf where there is none."""
    residuals: Float[Array, "climber residual"]
    by: Float[Array, "climber residual parameter"]
    """Derivatives of the residuals at `z`."""
    damping: Float[Array, " climber"]
    moving: Bool[Array, " climber"]


def climb(
    z: Float[Array, "climber parameter"], judge: Judge, n_residuals: int
) -> tuple[Climb, Int[Array, ""]]:
    """Go to the largest densities nearby, by the method of Levenberg and Marquardt.

    Returns
    -------
    Where climbs end, and how many columns were solved.
    """
    n, d = z.shape
    every = jnp.broadcast_to(jnp.eye(d), (n, d, d))

    def step(z: Array, residuals: Array, by: Array, damping: Array) -> tuple[Array, Array]:
        inside = jnp.eye(d) * (1.0 + damping) + by.T @ by
        slope = z + by.T @ residuals
        away = jnp.clip(-jnp.linalg.solve(inside, slope), -1.0, 1.0)
        return away, -0.5 * slope @ away

    def body(now: Climb) -> Climb:
        value, residuals, by = differences(judge, now.trial, every)
        new = normal(residuals) + normal(now.trial)
        fine = jnp.isfinite(value) & jnp.isfinite(by).all(axis=(1, 2))
        better = fine & (new > now.log_density)
        z = jnp.where(better[:, None], now.trial, now.z)
        residuals = jnp.where(better[:, None], residuals, now.residuals)
        by = jnp.where(better[:, None, None], by, now.by)
        damping = now.damping * jnp.where(better, DAMPING[1], DAMPING[2])
        away, promised = jax.vmap(step)(z, residuals, by, damping)
        return Climb(
            now.number + 1,
            z,
            z + away,
            jnp.where(better, new, now.log_density),
            residuals,
            by,
            damping,
            promised > LITTLE,
        )

    start = Climb(
        jnp.zeros((), jnp.int32),
        z,
        z,
        jnp.full(n, -jnp.inf),
        jnp.zeros((n, n_residuals)),
        jnp.zeros((n, n_residuals, d)),
        jnp.full(n, DAMPING[0] / DAMPING[1]),  # the first try, where they are, is a better one
        jnp.ones(n, bool),
    )
    end = jax.lax.while_loop(lambda c: (c.number <= CLIMB_STEPS) & c.moving.any(), body, start)
    return end, n * end.number * (d + 1)


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
    Anchors, of which the first so many count, at most `MOST_ANCHORS`; and how many columns were
    solved.
    """
    fit, each = normal(residuals), len(z) // CLIMBERS
    # By the fit alone: draws are as frequent as the prior has it, which would count twice.
    first = jnp.argmax(fit.reshape(CLIMBERS, each), axis=1) + jnp.arange(CLIMBERS) * each
    ends, climbed = climb(z[first], judge, residuals.shape[1])
    order = jnp.argsort(-ends.log_density)
    z, residuals, possible = (
        ends.z[order],
        ends.residuals[order],
        jnp.isfinite(ends.log_density[order]),
    )
    anchors = _anchors_at(z, ends.by[order], later=False)

    def add(carry: Any) -> Any:
        chosen, n, left, columns = carry
        new = jnp.argmax(left).astype(jnp.int32)
        index = jnp.full(CLIMBERS, new)
        back, more = come_back(anchors, index, z, residuals, judge, left)
        left = left & ~back & (jnp.arange(CLIMBERS) != new)
        return chosen.at[n].set(new), n + 1, left, columns + more

    zero = jnp.zeros((), jnp.int32)
    chosen, n, _, columns = jax.lax.while_loop(
        lambda carry: (carry[1] < MOST_ANCHORS) & carry[2].any(),
        add,
        (jnp.zeros(MOST_ANCHORS + MORE_ANCHORS, jnp.int32), zero, possible, zero),
    )
    return anchors.of(chosen), n, columns + climbed


def add_anchors(
    anchors: Anchors,
    n: Int[Array, ""],
    came: Int[Array, " place"],
    z: Float[Array, "place parameter"],
    judge: Judge,
) -> tuple[Anchors, Int[Array, ""], Int[Array, " place"], Int[Array, ""]]:
    """Add anchors at places of the posterior that draws of no other come to, the densest first.

    Parameters
    ----------
    anchors, n
        Anchors, of which the first so many count.
    came
        From which anchor a draw may come to each place, -1 for none.

    Returns
    -------
    The first three, and how many columns were solved.
    """
    value, residuals = judge(z)
    fit = jnp.where(jnp.isfinite(value), normal(residuals) + normal(z), -jnp.inf)

    def lost(came: Array) -> Array:
        return (came < 0) & jnp.isfinite(fit)

    def add(carry: Any) -> Any:
        anchors, n, came, columns = carry
        left = lost(came)
        new = jnp.argmax(jnp.where(left, fit, -jnp.inf))
        _, _, by = differences(judge, z[new][None], jnp.eye(z.shape[1])[None])
        anchors = jax.tree.map(
            lambda leaf, own: leaf.at[n].set(own[0]),
            anchors,
            _anchors_at(z[new][None], by, later=True),
        )
        back, more = come_back(anchors, jnp.full(len(z), n), z, residuals, judge, left)
        came = jnp.where(back, n, came).at[new].set(n)
        return anchors, n + 1, came, columns + more + 1 + z.shape[1]

    return jax.lax.while_loop(
        lambda carry: (carry[1] < len(anchors.start)) & lost(carry[2]).any(),
        add,
        (anchors, n, came, jnp.full((), len(z), jnp.int32)),
    )


def _anchors_at(
    z: Float[Array, "place parameter"], by: Float[Array, "place residual parameter"], later: bool
) -> Anchors:
    """Return anchors at places with these derivatives of the residuals."""
    left, size, right = jnp.linalg.svd(by, full_matrices=False)
    k = min(DIRECTIONS, size.shape[1])
    directions = jnp.swapaxes(right[:, :k], 1, 2)
    start = jnp.einsum("nd,ndk->nk", z, directions)
    return Anchors(directions, size[:, :k], left[:, :, :k], start, jnp.full(len(z), later))
