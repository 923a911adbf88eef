"""Proposals that are drawn again until they lie inside the prior range, for many chains at once.

One chain in a corner of the range needs hundreds of draws where most need ten. Chains that are
batched would all wait for it, and draw as often; here those that still search are gathered into
ever smaller batches. Every chain gets the proposal that it would get alone, bit for bit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from proda.inference.samplers.adaptive_metropolis import TEST_WIDTH
from proda.inference.samplers.sampler import MAX_TRIES

SMALLER = 8
"""A batch is gathered when only one chain in so many still searches."""


def propose_inside(
    key: Key[Array, ""],
    u: Float[Array, " parameter"],
    factor: Float[Array, "parameter parameter"],
    testing: Bool[Array, ""],
) -> Float[Array, " parameter"]:
    """Return a proposal inside the range; where none of `MAX_TRIES` is, the place itself.

    Parameters
    ----------
    u
        Where the chain is, shares of the prior range.
    factor
        Lower Cholesky factor of the covariance of its steps.
    testing
        Whether steps are uniform in a box instead.
    """
    return _search(key[None], u[None], factor[None], testing[None])[0]


@jax.custom_batching.custom_vmap
def _search(
    key: Key[Array, " chain"],
    u: Float[Array, "chain parameter"],
    factor: Float[Array, "chain parameter parameter"],
    testing: Bool[Array, " chain"],
) -> Float[Array, "chain parameter"]:
    n = len(u)
    tries, found, inside = jnp.zeros(n, jnp.int32), u, jnp.zeros(n, bool)
    width = n
    while True:
        tries, found, inside = _search_while(
            width // SMALLER, width, (key, u, factor, testing), tries, found, inside
        )
        if width < SMALLER:
            return jnp.where(inside[:, None], found, u)
        width //= SMALLER


def _search_while(
    most: int,
    width: int,
    given: tuple[Array, Array, Array, Array],
    tries: Int[Array, " chain"],
    found: Float[Array, "chain parameter"],
    inside: Bool[Array, " chain"],
) -> Any:
    """Draw for up to `width` searching chains, while more than `most` search."""
    n = len(tries)

    def searching(tries: Array, inside: Array) -> Array:
        return ~inside & (tries < MAX_TRIES)

    def again(carry: Any) -> Bool[Array, ""]:
        tries, _, inside = carry
        return searching(tries, inside).sum() > most

    def body(carry: Any) -> Any:
        tries, found, inside = carry
        active = searching(tries, inside)
        # All chains where all are drawn for; else those that search, filled up past the end.
        at = jnp.arange(n) if width == n else jnp.nonzero(active, size=width, fill_value=n)[0]
        here = active[at] & (at < n)
        key, u, factor, testing, i = (leaf[jnp.minimum(at, n - 1)] for leaf in (*given, tries))
        drawn = _draw_all(key, u, factor, testing, i)
        fits = ((drawn > 0.0) & (drawn < 1.0)).all(axis=1) & here
        place = jnp.where(here, at, n)
        return (
            tries.at[place].add(1, mode="drop"),
            found.at[jnp.where(fits, at, n)].set(drawn, mode="drop"),
            inside.at[jnp.where(fits, at, n)].set(True, mode="drop"),
        )

    return jax.lax.while_loop(again, body, (tries, found, inside))


def _draw_all(
    key: Key[Array, " chain"],
    u: Float[Array, "chain parameter"],
    factor: Float[Array, "chain parameter parameter"],
    testing: Bool[Array, " chain"],
    i: Int[Array, " chain"],
) -> Float[Array, "chain parameter"]:
    """Return the i-th proposal of each chain's step."""
    keys = jax.vmap(lambda key, i: jax.random.split(jax.random.fold_in(key, i)))(key, i)
    walk, box = jax.vmap(_walk), jax.vmap(_box)
    # All chains of a run are in one phase: the other kind of step is then not drawn at all.
    return jax.lax.switch(
        testing.any().astype(int) + testing.all(),
        (
            lambda: u + walk(keys[:, 0], factor),
            lambda: u + jnp.where(testing[:, None], box(keys[:, 1], u), walk(keys[:, 0], factor)),
            lambda: u + box(keys[:, 1], u),
        ),
    )


def _walk(
    key: Key[Array, ""], factor: Float[Array, "parameter parameter"]
) -> Float[Array, " parameter"]:
    d = len(factor)
    return jnp.sqrt(2.4 / d) * (factor @ jax.random.normal(key, (d,)))


def _box(key: Key[Array, ""], u: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
    """Return a step that is uniform in what the box and the range have in common.

    It has the distribution of uniform steps in the box that are drawn until one ends in the range.
    """
    low, high = (jnp.clip(u + side * TEST_WIDTH / 2.0, 0.0, 1.0) for side in (-1.0, 1.0))
    return low + (high - low) * jax.random.uniform(key, u.shape) - u


@_search.def_vmap
def _search_batched(
    axis_size: int, in_batched: list[bool], *arguments: Array
) -> tuple[Float[Array, "batch chain parameter"], bool]:
    """Search for all chains of all batches together."""
    full = [
        a if batched else jnp.broadcast_to(a, (axis_size, *a.shape))
        for a, batched in zip(arguments, in_batched, strict=True)
    ]
    flat = [a.reshape(axis_size * a.shape[1], *a.shape[2:]) for a in full]
    found = _search(*flat)
    return found.reshape(axis_size, -1, found.shape[-1]), True
