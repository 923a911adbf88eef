"""Fits without a soil model that one process makes once, although several models ask for them.

All models of a study are trained on the same sites and covariates, and boosting and the plain
network see nothing else: with the same data, settings and seed they give the same arrays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

CAPACITY = 64
"""Fits that are kept; one takes about half a megabyte, and a study of five folds makes 28."""

_fits: OrderedDict[str, dict[str, np.ndarray]] = OrderedDict()


def fitted_once(
    fit: Callable[..., dict[str, np.ndarray]], *arguments: object
) -> dict[str, np.ndarray]:
    """Return `fit(*arguments)`, from memory if this process has computed it.

    Parameters
    ----------
    fit
        A function whose result depends on its arguments alone.
    arguments
        Arrays and plain values; two calls are the same if all of them are equal.
    """
    import joblib  # slow to import

    key = joblib.hash((fit.__module__, fit.__qualname__, arguments))
    if key in _fits:
        _fits.move_to_end(key)
    else:
        _fits[key] = fit(*arguments)
        while len(_fits) > CAPACITY:
            _fits.popitem(last=False)
    return dict(_fits[key])
