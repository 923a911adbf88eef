"""Position of measured layers in the posterior predictive distribution, error included."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import norm

from proda.errors import DiagnosticsError

_NODES = 100
"""Points of equal probability that represent the modelled value; the rounding error of the result
is at most 0.005 (where the error is much smaller than the posterior spread)."""


def predictive_probability(
    quantiles: ArrayLike, levels: ArrayLike, observed: ArrayLike, sd: ArrayLike
) -> Float[np.ndarray, " row"]:
    """Return the predictive probability of a measurement below the measured one.

    The measured value is log-normal about the modelled one, of which only quantiles are known.
    Between and beyond the quantiles, its logarithm is assumed to be linear in the standard normal
    quantile, which is exact for a log-normal modelled value.

    Parameters
    ----------
    quantiles
        Of the modelled value, (level, row), above 0.
    levels
        Probabilities of the quantiles, rising, between 0 and 1, (level,); two or more.
    observed
        Measured values, (row,), above 0, in the unit of the quantiles.
    sd
        Standard deviation of the error in natural logarithms, (row,) or one for all, above 0.

    Returns
    -------
    (row,). For a correct model and new layers it is uniform on 0-1.

    Raises
    ------
    DiagnosticsError
        If shapes do not match, or a value is not above 0.
    """
    q, p = np.asarray(quantiles, dtype=float), np.asarray(levels, dtype=float)
    o = np.asarray(observed, dtype=float)
    s = np.broadcast_to(np.asarray(sd, dtype=float), o.shape)
    if p.ndim != 1 or len(p) < 2 or q.shape != (len(p), *o.shape) or o.ndim != 1:
        raise DiagnosticsError(
            f"quantiles {q.shape}, levels {p.shape} and observed {o.shape} must have the shapes "
            "(level, row), (level,) and (row,), with two levels or more"
        )
    for name, values in (("quantiles", q), ("observed", o), ("sd", s)):
        if not (np.isfinite(values) & (values > 0.0)).all():
            raise DiagnosticsError(f"{name}: some values are not above 0; leave these layers out")
    log_q, z = np.log(q), norm.ppf(p)
    at = norm.ppf((np.arange(_NODES) + 0.5) / _NODES)
    left = np.clip(np.searchsorted(z, at) - 1, 0, len(z) - 2)
    share = ((at - z[left]) / (z[left + 1] - z[left]))[:, None]
    log_modelled = log_q[left] + share * (log_q[left + 1] - log_q[left])
    return norm.cdf((np.log(o) - log_modelled) / s).mean(axis=0)
