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
    same = ordered[:, 1:] == ordered[:, :-1]
    edge = np.zeros((len(ordered), 1), dtype=bool)
    position = np.arange(n)
    first = np.where(np.hstack((edge, same)), 0, position)
    last = np.where(np.hstack((same, edge)), n, position)
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return first, last


def tied(ordered: np.ndarray) -> np.ndarray:
    """Return the numbers of the series in which a value occurs twice, usually few."""
    return np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
