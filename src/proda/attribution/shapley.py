"""Shapley values of a game whose coalitions have all been valued.

Shapley (1953); docs/theory.md#which-component-matters. A coalition of players is the number whose
bit i says whether player i belongs to it: 0 is nobody, 2^n - 1 everybody.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from jaxtyping import Float


def shapley_values(
    values: Float[np.ndarray, "coalition *rest"],
) -> Float[np.ndarray, "player *rest"]:
    """Return each player's part of the difference between everybody and nobody.

    Parameters
    ----------
    values
        Of all 2^n coalitions; several games at once along the other dimensions.

    Returns
    -------
    array
        The mean, over all orders in which players may join, of what each adds. They add up to
        `values[-1] - values[0]`; a player who changes nothing gets 0, and players who change the
        same get the same.

    Raises
    ------
    ValueError
        If the number of coalitions is not a power of 2.
    """
    n = len(values).bit_length() - 1
    if len(values) != 1 << n:
        raise ValueError(f"{len(values)} coalitions; expected a power of 2.")
    coalition = np.arange(1 << n)
    size = np.array([int(c).bit_count() for c in coalition])
    parts = []
    for player in range(n):
        without = coalition[(coalition >> player) & 1 == 0]
        weight = np.array(
            [factorial(k) * factorial(n - k - 1) / factorial(n) for k in size[without].tolist()]
        )
        added = values[without | (1 << player)] - values[without]
        parts.append(np.tensordot(weight, added, axes=1))
    return np.stack(parts) if parts else np.zeros((0, *values.shape[1:]))
