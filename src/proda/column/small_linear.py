"""Many small systems of linear equations at once, by elimination with partial pivoting.

LAPACK solves the systems of a batch one after the other, in about a microsecond each even if they
are small; here each entry of the matrix is one array over the batch, and each step one operation on
these arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.ratio import ratio

Numbers = Float[Array, "*batch"]


def solve_small(
    matrix: Sequence[Sequence[Numbers]], right: Sequence[Sequence[Numbers]]
) -> list[list[Numbers]]:
    """Return the x of matrix x = right, for a few unknowns.

    Parameters
    ----------
    matrix
        Its entries by row and column; they should be scaled to comparable size.
    right
        One or more right-hand sides, by row and side.

    Returns
    -------
    The unknowns, with the layout of `right`. Where a pivot is exactly 0 (a pool that nothing enters
    and nothing leaves) that unknown is 0: the caller must check the residual.
    """
    n, m = len(matrix), len(right[0])
    rows = [[*matrix[i], *right[i]] for i in range(n)]
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
    solution: list[list[Numbers]] = [[] for _ in range(n)]
    for k in reversed(range(n)):
        for j in range(n, n + m):
            rest = rows[k][j]
            for i in range(k + 1, n):
                rest = rest - rows[k][i] * solution[i][j - n]
            solution[k].append(ratio(rest, rows[k][k]))
    return solution


def solve_layers(
    blocks: Sequence[Sequence[Float[Array, " layer"]]],
    from_above: Sequence[Float[Array, " layer"]],
    from_below: Sequence[Float[Array, " layer"]],
    right: Sequence[Float[Array, " layer"]],
) -> list[Float[Array, " layer"]]:
    """Solve blocks x - from_above x_above - from_below x_below = right, from the bottom up.

    Layers are coupled within a pool only, so `from_above` and `from_below` have one
    number for each pool and layer.
    """
    here = range(len(right))

    def eliminate(carry: tuple, layer: tuple) -> tuple:
        by_here, alone = carry  # of the layer below
        block, above, below, source = layer
        pivot = [[block[i][j] - below[i] * by_here[i][j] for j in here] for i in here]
        zero = jnp.zeros_like(source[0])
        sides = [
            [*(above[i] if i == j else zero for j in here), source[i] + below[i] * alone[i]]
            for i in here
        ]
        both = solve_small(pivot, sides)
        carry = ([row[:-1] for row in both], [row[-1] for row in both])
        return carry, carry

    def substitute(above: list, layer: tuple) -> tuple:
        by_above, alone = layer
        x = [alone[i] + sum(by_above[i][j] * above[j] for j in here) for i in here]
        return x, x

    zero = jnp.zeros_like(right[0][0])
    start = ([[zero for _ in here] for _ in here], [zero for _ in here])
    layers = ([list(row) for row in blocks], list(from_above), list(from_below), list(right))
    _, factors = jax.lax.scan(eliminate, start, layers, reverse=True)
    _, x = jax.lax.scan(substitute, [zero for _ in here], factors)
    return x
