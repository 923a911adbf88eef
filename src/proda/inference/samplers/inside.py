"""Proposals inside the prior range, for many chains at once.

A proposal has the distribution of steps that are drawn again until one ends inside the range. The
first draws are just that; a chain in a corner of the range, which would need hundreds, then draws
inside the range directly. That costs more, and is done for few chains at a time: all chains of a
batch wait for the last. Every chain gets the proposal that it would get alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from proda.inference.samplers.adaptive_metropolis import TEST_WIDTH
from proda.inference.samplers.sampler import MAX_TRIES
from proda.inference.samplers.truncated_normal import draw, shifts

FIRST = 8
"""Draws of a step before the range is taken into account."""
SHARE = 8
"""One chain in so many then draws inside the range at a time."""


def propose_inside(
    key: Key[Array, ""],
    u: Float[Array, " parameter"],
    factor: Float[Array, "parameter parameter"],
    testing: Bool[Array, ""],
) -> Float[Array, " parameter"]:
    """Return a proposal inside the range; where none of `MAX_TRIES` is accepted, the place itself.

    Parameters
    ----------
    u
        Where the chain is, shares of the prior range.
    factor
        Lower Cholesky factor of the covariance of its steps.
    testing
        Whether steps are uniform in a box instead.
    """
    return _propose(key[None], u[None], factor[None], testing[None])[0]


@jax.custom_batching.custom_vmap
def _propose(
    key: Key[Array, " chain"],
    u: Float[Array, "chain parameter"],
    factor: Float[Array, "chain parameter parameter"],
    testing: Bool[Array, " chain"],
) -> Float[Array, "chain parameter"]:
    def walk() -> Float[Array, "chain parameter"]:
        return _walk(key, u, jnp.sqrt(2.4 / u.shape[1]) * factor)

    def box() -> Float[Array, "chain parameter"]:
        return jax.vmap(_box)(key, u)

    # All chains of a run are in one phase: the other kind of step is then not drawn at all.
    return jax.lax.switch(
        testing.any().astype(int) + testing.all(),
        (walk, lambda: jnp.where(testing[:, None], box(), walk()), box),
    )


def _walk(
    key: Key[Array, " chain"],
    u: Float[Array, "chain parameter"],
    factor: Float[Array, "chain parameter parameter"],
) -> Float[Array, "chain parameter"]:
    """Return a proposal of every chain."""
    n = len(u)
    width = max(n // SHARE, 1)

    def searching(tries: Array, accepted: Array) -> Array:
        return ~accepted & (tries < MAX_TRIES)

    def again(carry: Any) -> Bool[Array, ""]:
        tries, _, accepted = carry
        return searching(tries, accepted).any()

    def body(carry: Any) -> Any:
        tries, drawn, accepted = carry
        # Those that search, filled up past the end.
        at = jnp.nonzero(searching(tries, accepted), size=width, fill_value=n)[0]
        own = jnp.minimum(at, n - 1)
        new, fits = jax.vmap(_draw_in_range)(key[own], u[own], factor[own], tries[own])
        accept_at = jnp.where(fits, at, n)
        return (
            tries.at[at].add(1, mode="drop"),
            drawn.at[accept_at].set(new, mode="drop"),
            accepted.at[accept_at].set(True, mode="drop"),
        )

    drawn, accepted = jax.vmap(_first_inside)(key, u, factor)
    tries = jnp.zeros(n, jnp.int32)
    _, drawn, accepted = jax.lax.while_loop(again, body, (tries, drawn, accepted))
    return jnp.where(accepted[:, None], drawn, u)


def _first_inside(
    key: Key[Array, ""],
    u: Float[Array, " parameter"],
    factor: Float[Array, "parameter parameter"],
) -> tuple[Float[Array, " parameter"], Bool[Array, ""]]:
    """Return the first of `FIRST` draws that is inside the range, and whether there is one."""
    # Single precision is enough for a proposal.
    normal = jax.random.normal(jax.random.fold_in(key, MAX_TRIES), (FIRST, len(u)), jnp.float32)
    drawn = u + normal.astype(jnp.float64) @ factor.T
    inside = ((drawn > 0.0) & (drawn < 1.0)).all(axis=1)
    return drawn[jnp.argmax(inside)], inside.any()


def _draw_in_range(
    key: Key[Array, ""],
    u: Float[Array, " parameter"],
    factor: Float[Array, "parameter parameter"],
    i: Int[Array, ""],
) -> tuple[Float[Array, " parameter"], Bool[Array, ""]]:
    """Draw inside the range for the i-th time; return whether the draw is accepted, too."""
    k_draw, k_accept = jax.random.split(jax.random.fold_in(key, i))
    drawn, log_accept = draw(k_draw, u, factor, shifts(u, factor))
    accept = jnp.log(jax.random.uniform(k_accept)) < log_accept
    return drawn, accept & ((drawn > 0.0) & (drawn < 1.0)).all()  # rounding may leave the range


def _box(key: Key[Array, ""], u: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
    """Return a place that is uniform in what the box and the range have in common.

    It has the distribution of uniform steps in the box that are drawn until one ends in the range.
    """
    low, high = (jnp.clip(u + side * TEST_WIDTH / 2.0, 0.0, 1.0) for side in (-1.0, 1.0))
    return low + (high - low) * jax.random.uniform(key, u.shape)


@_propose.def_vmap
def _propose_batched(
    axis_size: int, in_batched: list[bool], *arguments: Array
) -> tuple[Float[Array, "batch chain parameter"], bool]:
    """Propose for all chains of all batches together."""
    full = [
        a if batched else jnp.broadcast_to(a, (axis_size, *a.shape))
        for a, batched in zip(arguments, in_batched, strict=True)
    ]
    flat = [a.reshape(axis_size * a.shape[1], *a.shape[2:]) for a in full]
    proposals = _propose(*flat)
    return proposals.reshape(axis_size, -1, proposals.shape[-1]), True
