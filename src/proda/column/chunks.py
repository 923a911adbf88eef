"""Many columns at once, in chunks.

A loop over a batch runs until the last column of the batch is done. If columns need three to
thirty iterations, a batch of 512 almost always waits for one that needs thirty: in chunks, only
the columns of a chunk wait for each other. And thousands of columns with derivatives do not fit
into the caches of a processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

WIDTH = 32
"""Columns of a chunk on a CPU. Accelerators run whole batches, because they need width."""


CACHED = 256
"""Columns of a chunk on a CPU where derivatives are computed: with them, a column has tens of
kilobytes of intermediate results."""


def in_chunks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that vmap applies to `WIDTH` columns at a time.

    Parameters
    ----------
    function
        Of arrays or pytrees of arrays, with no closure over traced values. It is not
        differentiated: pass it arguments behind `stop_gradient`.
    """

    def many(size: int, batched: list[Any], *arguments: Any) -> tuple[Any, Any]:
        arguments = jax.tree.map(
            lambda leaf, is_batched: (
                leaf if is_batched else jnp.broadcast_to(leaf, (size, *leaf.shape))
            ),
            arguments,
            tuple(batched),
        )
        if jax.default_backend() != "cpu" or size <= WIDTH:
            result = jax.vmap(function)(*arguments)
        else:
            result = jax.lax.map(lambda each: function(*each), arguments, batch_size=WIDTH)
        return result, jax.tree.map(lambda _: True, result)

    mapped = custom_vmap(function)
    mapped.def_vmap(many)
    return mapped


def in_cached_chunks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of many columns that a CPU computes for at most `CACHED` at a time.

    Chunks are as equal as possible; the last column is computed again to fill the last one.

    Parameters
    ----------
    function
        Of arrays or pytrees of arrays whose leading axis is the column, as is that of its results.
        What it returns for a column does not depend on the others.
    """

    def chunked(*arguments: Any) -> Any:
        n = len(jax.tree.leaves(arguments)[0])
        if jax.default_backend() != "cpu" or n <= CACHED:
            return function(*arguments)
        chunks = -(-n // CACHED)
        size = -(-n // chunks)

        def split(leaf: Any) -> Any:
            filled = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], chunks * size - n, axis=0)])
            return filled.reshape(chunks, size, *leaf.shape[1:])

        result = jax.lax.map(lambda each: function(*each), jax.tree.map(split, arguments))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], result)

    return chunked
