"""The true parameters of a synthetic world: smooth functions of covariates, inside the prior."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from proda.models.model import SoilModel

DRIVERS = ("air_temperature_mean", "precipitation_annual", "npp", "sand", "ph")
"""Quantities on which parameters depend, in addition to the class `parent_material`."""

CENTRES: Mapping[str, Mapping[str, float]] = {
    "clm5": {
        "fs3s1": 0.32,
        "fs3s2": 0.37,
        "fs2s1": 0.38,
        "tau4s2": 0.35,
        "tau4s3": 0.36,
        "w_scaling": 0.7,
        "q10": 0.4,
        "efolding": 0.7,
        "diffus": 0.5,
        "b": 0.6,
    },
    "compas": {
        "eta_doc": 0.47,
        "km_assim": 0.5,
        "tau_assim": 0.5,
        "tau_decom": 0.65,
        "km_decom": 0.6,
        "tau_enz_prod": 0.5,
        "tau_enz_decay": 0.3,
        "tau_mic": 0.45,
        "a_soc_mic": 0.55,
        "w_scaling": 0.5,
        "q10": 0.45,
        "diffus": 0.5,
        "b": 0.5,
    },
}
"""Parameters to which soil carbon is most sensitive, and the mean of their truth (share of prior).

For other models, every parameter varies about the middle of its prior.
"""

MOVING, SILENT = 0.5, 1.0
"""Spread of the truth over the land, in normal scores of the prior: for sensitive parameters, and
for the others, which have little effect anywhere in the prior."""


def true_parameters(
    model: SoilModel, table: pd.DataFrame, seed: int, spread: float = 1.0
) -> Float[np.ndarray, "cell parameter"]:
    """Return the true parameters at cells, in physical units.

    Parameters
    ----------
    model
        The model.
    table
        Covariates of the cells, as :func:`proda.drivers.covariates.on_grid` returns them.
    seed
        Seed of the functions.
    spread
        Factor on the spread over the land; 0 puts every cell at the middle.
    """
    scores = table[list(DRIVERS)].to_numpy(dtype=np.float64)
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    rock = table["parent_material"].cat.codes.to_numpy()
    n_rocks = len(table["parent_material"].cat.categories)
    centres = CENTRES.get(model.name, {})
    columns = []
    for k, row in enumerate(model.rows):
        rng = np.random.default_rng([seed, 12, k, len(model.rows)])
        chosen = rng.choice(len(DRIVERS), 2, replace=False)
        signs = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.5, 1.0, 2)
        smooth = np.tanh(0.8 * scores[:, chosen]) @ signs
        smooth = smooth + rng.normal(0.0, 0.35, n_rocks)[rock]
        smooth = (smooth - smooth.mean()) / smooth.std()
        moves = row.name in centres
        middle = ndtri(centres[row.name]) if moves else 0.0
        share = ndtr(middle + spread * (MOVING if moves else SILENT) * smooth)
        share = np.clip(share, 0.02, 0.98)  # on purpose: the truth is not at an end of the prior
        columns.append(row.at(share))
    return np.stack(columns, axis=1)
