"""Determinants of many small matrices.

LAPACK, which JAX calls for each matrix, takes most of its time to begin with one.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def determinant(matrices: Float[Array, "matrix n n"]) -> Float[Array, " matrix"]:
    """Return determinants, expanded by the first row: for matrices of few rows."""
    n = matrices.shape[-1]
    if n == 1:
        return matrices[:, 0, 0]
    others = np.arange(n)
    terms = [
        (-1) ** j * matrices[:, 0, j] * determinant(matrices[:, 1:, others != j]) for j in range(n)
    ]
    return jnp.stack(terms).sum(axis=0)
