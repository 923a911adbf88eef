"""Equal values in sorted series."""

from __future__ import annotations

import numpy as np


def runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the run of values equal to each value begins and ends.

    Parameters
    ----------
    ordered
        (series, sample), each series in ascending order.

    Returns
    -------
    Positions of the first and of the last value of the run, (series, sample): the value's own
    position, twice, where no other is equal. The average rank is half their sum, counted from 0.
    """
    n = ordered.shape[1]
    begins = np.ones(ordered.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.flatnonzero(begins)
    length = np.diff(start, append=ordered.size)
    first = np.repeat(start % n, length).reshape(ordered.shape)
    return first, first + np.repeat(length - 1, length).reshape(ordered.shape)


def tied(ordered: np.ndarray) -> np.ndarray:
    """Return the numbers of the series in which a value occurs twice, usually few."""
    return np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
