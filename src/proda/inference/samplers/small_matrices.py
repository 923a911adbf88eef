"""Inverse and determinant of many small matrices.

LAPACK, which JAX calls for each matrix, takes most of its time to begin with one.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def inverse(
    matrices: Float[Array, "matrix n n"],
) -> tuple[Float[Array, "matrix n n"], Float[Array, " matrix"]]:
    """Return inverses, and logarithms of the sizes of the determinants.

    By elimination with the largest pivot of each column; not finite where a matrix is singular.
    """
    n = matrices.shape[-1]
    left = [[matrices[:, i, j] for j in range(n)] for i in range(n)]
    right = [[jnp.full(len(matrices), float(i == j)) for j in range(n)] for i in range(n)]
    rows = [a + b for a, b in zip(left, right, strict=True)]
    log_determinant = jnp.zeros(len(matrices))
    for c in range(n):
        for r in range(c + 1, n):
            larger = jnp.abs(rows[r][c]) > jnp.abs(rows[c][c])
            pairs = list(zip(rows[c], rows[r], strict=True))
            rows[c] = [jnp.where(larger, b, a) for a, b in pairs]
            rows[r] = [jnp.where(larger, a, b) for a, b in pairs]
        pivot = rows[c][c]
        log_determinant = log_determinant + jnp.log(jnp.abs(pivot))
        rows[c] = [x / pivot for x in rows[c]]
        for r in range(n):
            if r != c:
                factor = rows[r][c]
                rows[r] = [x - factor * y for x, y in zip(rows[r], rows[c], strict=True)]
    return jnp.stack([jnp.stack(row[n:], axis=1) for row in rows], axis=1), log_determinant
