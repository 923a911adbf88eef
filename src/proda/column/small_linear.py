"""Many small systems of linear equations at once, by elimination with partial pivoting.

LAPACK solves a batch one system after the other, at about a microsecond each however small it is;
here every number of the matrix is one array over the batch, and every step one operation on those.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.ratio import ratio


def solve_small(
    matrix: Float[Array, "*batch n n"], right: Float[Array, "*batch n m"]
) -> Float[Array, "*batch n m"]:
    """Return the x of matrix x = right, for a few unknowns.

    Parameters
    ----------
    matrix
        Best scaled so that its entries are comparable.
    right
        One or more right-hand sides.

    Returns
    -------
    Array of the shape of `right`. Where a pivot is exactly 0 (a pool that nothing enters and
    nothing leaves) that unknown is 0: the caller must check the residual.
    """
    n, m = matrix.shape[-1], right.shape[-1]
    rows = [
        [matrix[..., i, j] for j in range(n)] + [right[..., i, j] for j in range(m)]
        for i in range(n)
    ]
    for k in range(n):
        for i in range(k + 1, n):
            larger = jnp.abs(rows[i][k]) > jnp.abs(rows[k][k])
            for j in range(k, n + m):
                rows[k][j], rows[i][j] = (
                    jnp.where(larger, rows[i][j], rows[k][j]),
                    jnp.where(larger, rows[k][j], rows[i][j]),
                )
        for i in range(k + 1, n):
            factor = ratio(rows[i][k], rows[k][k])
            for j in range(k + 1, n + m):
                rows[i][j] = rows[i][j] - factor * rows[k][j]
    found: list[list[Array]] = [[] for _ in range(n)]
    for k in reversed(range(n)):
        for j in range(n, n + m):
            rest = rows[k][j]
            for i in range(k + 1, n):
                rest = rest - rows[k][i] * found[i][j - n]
            found[k].append(ratio(rest, rows[k][k]))
    return jnp.stack([jnp.stack(row, axis=-1) for row in found], axis=-2)


def solve_layers(
    blocks: Float[Array, "layer pool pool"],
    from_above: Float[Array, "layer pool"],
    from_below: Float[Array, "layer pool"],
    right: Float[Array, "layer pool"],
) -> Float[Array, "layer pool"]:
    """Solve blocks x - from_above x_above - from_below x_below = right, from the bottom up.

    Between layers a pool acts on its own kind only, so `from_above` and `from_below` have one
    number for each pool.
    """
    n = right.shape[1]

    def eliminate(carry: tuple, layer: tuple) -> tuple:
        below_by_here, below_alone = carry
        block, above, below, source = layer
        pivot = block - below[:, None] * below_by_here
        both = solve_small(
            pivot,
            jnp.concatenate([jnp.diag(above), (source + below * below_alone)[:, None]], axis=1),
        )
        carry = (both[:, :n], both[:, n])
        return carry, carry

    def substitute(above: Array, layer: tuple) -> tuple:
        by_above, alone = layer
        x = alone + by_above @ above
        return x, x

    zero = jnp.zeros(n)
    start = (jnp.zeros((n, n)), zero)
    _, factors = jax.lax.scan(
        eliminate, start, (blocks, from_above, from_below, right), reverse=True
    )
    _, x = jax.lax.scan(substitute, zero, factors)
    return x
