"""Inputs from the forcing for networks trained end to end, in addition to covariates.

The response is the carbon of the soil model at a few depths with the same set of parameters
everywhere. A parameter that is learnt through the soil model must compensate for errors of the
forcing. For this, the effect of the forcing on carbon is sufficient; a network with more
information about the forcing memorises regions (docs/theory.md#end-to-end).

The summary (`forcing_covariates.py`) is the alternative. Both are computed in the same way for
training sites, other profiles and the cells of a map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from proda import simulate
from proda.errors import LearningError
from proda.forcing import Forcing
from proda.learning import forcing_covariates
from proda.models.model import Reason, SoilModel

RESPONSE = "response_"
"""Beginning of the names of the inputs of the response."""

DEPTHS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Depths at which the response is taken, m; linear in the logarithm of depth between nodes."""

LEAST = 10.0
"""Carbon below which the response no longer follows the logarithm, g m-3."""


def response(forcing: Forcing, model: SoilModel, values: Mapping[str, float]) -> pd.DataFrame:
    """Return ln carbon (g m-3) at each of :data:`DEPTHS` with the same parameters everywhere.

    Below bedrock the value is that of the deepest soil layer. A column without a steady state
    counts as empty (:data:`LEAST`), as in the scores.

    Parameters
    ----------
    values
        Parameters in physical units.
    """
    state = simulate.steady_state(model, values, forcing, bounds="physical")
    feasible = state["reason"].to_numpy() == Reason.FEASIBLE
    carbon = state["soil_carbon"].to_numpy()
    layer = np.minimum(np.arange(carbon.shape[1]), forcing.nbedrock[:, None] - 1)
    carbon = np.where(feasible[:, None], np.take_along_axis(carbon, layer, axis=1), 0.0)
    logs = np.log(np.maximum(carbon, LEAST))
    node = np.log(forcing.grid.node)
    return pd.DataFrame(
        {
            depth_name(RESPONSE, depth): forcing_covariates.at_depth(np.log(depth), logs, node)
            for depth in DEPTHS
        }
    )


def depth_name(prefix: str, depth: float) -> str:
    """Return the name of a predictor at a depth (m)."""
    return f"{prefix}{round(100 * depth)}cm"


def comes_from_forcing(name: str) -> bool:
    """Whether a predictor of this name is a response or a summary of the forcing."""
    return name.startswith((RESPONSE, forcing_covariates.PREFIX))


def needs_forcing(names: Iterable[str]) -> bool:
    """Whether predictors of these names hold a response or a summary of the forcing."""
    return any(comes_from_forcing(name) for name in names)


def forcing_inputs(
    names: Iterable[str],
    forcing: Forcing,
    model: SoilModel,
    reference: Mapping[str, float] | None,
) -> pd.DataFrame:
    """Return the predictors of these names that come from the forcing, one row per column.

    Parameters
    ----------
    names
        Predictors of a network.
    model, reference
        Its soil model, and the parameters at which its response was computed.

    Raises
    ------
    LearningError
        If it needs a response and the parameters of the response are not given.
    """
    names = list(names)
    parts = []
    if any(name.startswith(RESPONSE) for name in names):
        if reference is None:
            raise LearningError(
                "The network uses the response of the soil model, but its file does not contain "
                "the parameters of the response; train it again."
            )
        parts.append(response(forcing, model, reference))
    if any(name.startswith(forcing_covariates.PREFIX) for name in names):
        parts.append(forcing_covariates.forcing_summary(forcing))
    return pd.concat(parts, axis=1)


def beside(covariates: pd.DataFrame, inputs: pd.DataFrame) -> pd.DataFrame:
    """Add inputs of :func:`forcing_inputs` to covariates of the same places, row by row.

    Raises
    ------
    LearningError
        If a column of such a name exists already, or the numbers of rows differ.
    """
    prefixes = (RESPONSE, forcing_covariates.PREFIX)
    if taken := [str(name) for name in covariates if str(name).startswith(prefixes)]:
        raise LearningError(
            f"The covariates hold {', '.join(taken)}; names that begin with "
            f"{' or '.join(prefixes)} are reserved for inputs computed from the forcing. Rename "
            "these columns."
        )
    if len(covariates) != len(inputs):
        raise LearningError(f"{len(covariates)} rows of covariates, {len(inputs)} of forcing.")
    return pd.concat([covariates, inputs.set_index(covariates.index)], axis=1)
