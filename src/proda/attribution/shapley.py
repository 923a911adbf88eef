"""Shapley values of a game, from the values of all its coalitions.

Shapley (1953); docs/theory.md#which-component-matters. A coalition is a number whose bit i states
whether player i belongs to it: 0 is the empty coalition, 2^n - 1 that of all players.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from jaxtyping import Float


def shapley_values(
    values: Float[np.ndarray, "coalition *rest"],
) -> Float[np.ndarray, "player *rest"]:
    """Return each player's part of the difference between all players and none.

    Parameters
    ----------
    values
        Values of all 2^n coalitions; several games at once along the other dimensions.

    Returns
    -------
    array
        The mean contribution of each player over all orders in which players can join. The values
        add up to `values[-1] - values[0]`; a player that changes nothing gets 0, and players with
        equal effects get equal values.

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
