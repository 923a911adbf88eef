"""Mean and spread over the members that have an answer; never over zeros or missing ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

QUANTILES = (0.05, 0.95)


def suffix(quantile: float) -> str:
    """Return the ending of a quantile's variable: 0.05 -> `_q05`."""
    return f"_q{round(100 * quantile):02d}"


def summarise(
    values: Float[np.ndarray, "member cell *rest"],
    counts: Bool[np.ndarray, "member cell"],
    quantiles: Sequence[float] = QUANTILES,
) -> dict[str, np.ndarray]:
    """Return mean, standard deviation and quantiles over the members that count.

    Parameters
    ----------
    values
        Of each member; what does not count may hold anything.
    counts
        Which member counts at which cell.
    quantiles
        0-1; linear between order statistics, as `numpy.quantile` does by default.

    Returns
    -------
    dict
        By the ending of the variable's name: `""` mean, `"_sd"` with n - 1 (NaN for fewer than
        two members), `"_q05"` and so on; (cell, ...) each, NaN where no member counts. For an
        ensemble of one there is only the mean.
    """
    wide = counts.reshape(*counts.shape, *([1] * (values.ndim - 2)))
    n = wide.sum(axis=0)
    values = np.where(wide, values, 0.0)
    mean = np.where(n > 0, values.sum(axis=0) / np.maximum(n, 1), np.nan)
    result = {"": mean}
    if len(values) == 1:
        return result
    squares = (np.where(wide, values - mean, 0.0) ** 2).sum(axis=0)
    result["_sd"] = np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)
    ordered = np.sort(np.where(wide, values, np.nan), axis=0)  # NaN comes last
    for q in quantiles:
        place = q * np.maximum(n - 1, 0)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, np.maximum(n - 1, 0))
        full = (1, *values.shape[1:])
        low, high = (
            np.take_along_axis(ordered, np.broadcast_to(i[None], full), axis=0)[0]
            for i in (below, above)
        )
        result[suffix(q)] = low + (high - low) * (place - below)
    return result


def summarise_below(
    values: Float[np.ndarray, "member cell *rest"],
    counts: Bool[np.ndarray, "member cell"],
    limit: float,
    quantiles: Sequence[float] = QUANTILES,
) -> dict[str, np.ndarray]:
    """Return the statistics of :func:`summarise`; NaN where a member that counts reaches `limit`.

    For numbers such as the age of carbon that hardly moves, which a file cannot store, while all
    others of the same member are sound.
    """
    wide = counts.reshape(*counts.shape, *([1] * (values.ndim - 2)))
    beyond = wide & (values >= limit)
    statistics = summarise(np.where(beyond, 0.0, values), counts, quantiles)
    return {end: np.where(beyond.any(axis=0), np.nan, array) for end, array in statistics.items()}
