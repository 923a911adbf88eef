"""b, the depth profile of carbon input: the one default that depends on the plant functional type.

CLM5 takes it from `rootprof_beta` of its parameter file, by plant functional type, so its registry
has none (NaN). Other models have one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from proda.parameters import Parameter

MEAN_B = 0.966
"""Mean over all vegetation of Jackson et al. (1996)."""

Given = TypeVar("Given", "float", "np.ndarray", "float | np.ndarray")


def b_where_needed(rows: Sequence[Parameter], b: Given | None = None) -> Given | float | None:
    """Return the b that a model's defaults need from outside.

    Parameters
    ----------
    rows
        The model's parameters.
    b
        As it is known: one value, or one for each place. None: the mean over all vegetation.

    Returns
    -------
    b of a model whose registry has no default of it; None for any other model.
    """
    if not any(row.name == "b" and math.isnan(row.default) for row in rows):
        return None
    return MEAN_B if b is None else b
