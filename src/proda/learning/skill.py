"""Skill of predicted parameters at held-out sites, per method and parameter."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from proda.learning.targets import Targets
from proda.weighted import correlation_of_columns, ratio


def skill(
    targets: Targets,
    predicted: dict[str, Float[np.ndarray, "site parameter"]],
    reference: Float[np.ndarray, "site parameter"],
) -> pd.DataFrame:
    """Compare predictions with the estimates from the sites' own profiles.

    Parameters
    ----------
    targets
        Targets of the held-out sites.
    predicted
        By method; shares of the prior range.
    reference
        The training sites' information-weighted mean.

    Returns
    -------
    table
        One row per method and parameter. Against the posterior mean, with equal weights: `r2` (1 -
        SSE/SST), `correlation`, `rmse` (share of the prior range), `bias` (predicted minus
        posterior mean). Against the training target, sites weighted by information: `skill` = 1 -
        error / error of `reference`; `skill_without_noise`, the same after the expected noise of
        the profiles is subtracted from both errors, so that 1 can be reached (NaN where the error
        of the reference is only noise). `sites`: how many constrain the parameter.
    """
    rows = []
    w = targets.weight
    noise = np.where(w > 0, w * np.where(w > 0, targets.error, 0.0) ** 2, 0.0).sum(axis=0)
    base = (w * (targets.value - reference) ** 2).sum(axis=0)
    for method, p in predicted.items():
        off = p - targets.posterior
        total = ((targets.posterior - targets.posterior.mean(axis=0)) ** 2).sum(axis=0)
        error = (w * (targets.value - p) ** 2).sum(axis=0)
        rows.append(
            pd.DataFrame(
                {
                    "method": method,
                    "parameter": targets.parameters,
                    "r2": 1.0 - ratio((off**2).sum(axis=0), total),
                    "correlation": correlation_of_columns(p, targets.posterior),
                    "rmse": np.sqrt((off**2).mean(axis=0)),
                    "bias": off.mean(axis=0),
                    "skill": 1.0 - ratio(error, base),
                    "skill_without_noise": 1.0
                    - ratio(error - noise, np.where(base - noise > 0.02 * base, base - noise, 0)),
                    "sites": (w > 0).sum(axis=0),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)
