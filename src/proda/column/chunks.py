"""Loops of many columns at once, in chunks: only the columns of a chunk wait for each other.

A loop over a batch runs until the last column of the batch is done. If columns need three to
thirty iterations, a batch of 512 almost always waits for one that needs thirty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

WIDTH = 32
"""Columns of a chunk on a CPU. Accelerators run whole batches, because they need width."""


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
