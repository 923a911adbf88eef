"""A trained ensemble: predicts parameters wherever there are covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.errors import LearningError
from proda.learning.applicability import TrainingRange, applicability
from proda.learning.calibration import Calibration, calibrated_members, interval
from proda.learning.features import Features, Missing
from proda.learning.learning_settings import LearningSettings
from proda.learning.network import Network
from proda.models.model import SoilModel
from proda.models.registry import load_recorded

BLOCK = 8192
"""Rows predicted at a time, so that memory does not grow with the table."""


@dataclass(frozen=True)
class Ensemble:
    """Networks that map covariates to one model's parameters.

    `networks` are stacked along the member; `history` is a table with the columns member, epoch,
    training_loss, validation_loss and kept (the epoch whose weights these are).
    """

    networks: Network
    features: Features
    training_range: TrainingRange
    calibration: Calibration | None
    model: str
    variant: str
    parameters: tuple[str, ...]
    lower: Float[np.ndarray, " parameter"]
    upper: Float[np.ndarray, " parameter"]
    settings: LearningSettings
    n_sites: int
    history: pd.DataFrame
    reference: dict[str, float] | None = None
    """Parameters of the soil model's response that is among the predictors; None without one."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where the class of a model from outside the package came from."""

    @property
    def members(self) -> int:
        """Number of networks."""
        return int(self.networks.biases[-1].shape[0])

    def soil_model(self, made: str) -> SoilModel:
        """Return the model whose parameters these networks predict.

        Parameters
        ----------
        made
            Where the networks lie, for the message.

        Raises
        ------
        ModelError
            If there is no such model, or its file is another one than when they were trained.
        """
        told = {"model": self.model, "variant": self.variant, **self.origin}
        return load_recorded(told, f"the network {made}")

    def predict(
        self, table: pd.DataFrame, missing: Missing = "leave_out", draws: bool = False
    ) -> xr.Dataset:
        """Predict the parameters of every row of a covariate table.

        Parameters
        ----------
        table
            Covariates; a column `site` names the rows, else the table's index does.
        missing
            "leave_out": NaN for rows that lack a covariate; "median": fill and count them.
        draws
            Also return members spread as the calibration demands, for spread on maps.

        Returns
        -------
        dataset
            `parameters` (member, site, parameter); `mean` and `spread` (sd between members);
            where calibrated `sd` and the 90 % interval `interval_lower`, `interval_upper` of the
            truth; `usable`, `outside`, `unseen`, `distance`, `flag` (site). Physical units.
            The attribute `report` says what was left out, filled or unknown, and how often.

        Raises
        ------
        LearningError
            Naming covariates that are absent or of another kind, or if draws are wanted from an
            ensemble without calibration.
        """
        if draws and (self.calibration is None or self.members < 2):
            raise LearningError("Draws need an ensemble of 2 or more members, calibrated by folds.")
        encoded = self.features.encode(table, missing)
        share = predict_members(self.networks, encoded.inputs)
        shape = (self.members, len(table), len(self.parameters))

        def rows(values: np.ndarray, width: bool = False) -> np.ndarray:
            out = np.full((*values.shape[:-2], *shape[1:]), np.nan)
            out[..., encoded.usable, :] = values * (self.upper - self.lower)
            return out if width else out + self.lower

        mean = share.mean(axis=0)
        spread = share.std(axis=0, ddof=1) if self.members > 1 else np.zeros_like(mean)
        dims = ("site", "parameter")
        data: dict[str, Any] = {
            "parameters": (("member", *dims), rows(share)),
            "mean": (dims, rows(mean)),
            "spread": (dims, rows(spread, width=True)),
        }
        if self.calibration is not None:
            sd = self.calibration.sd(spread)
            low, high = interval(mean, sd)
            data |= {
                "sd": (dims, rows(sd, width=True)),
                "interval_lower": (dims, rows(low)),
                "interval_upper": (dims, rows(high)),
            }
            if draws:
                drawn = calibrated_members(share, self.calibration, self.settings.seed)
                data["draws"] = (("member", *dims), rows(drawn))
        reach = applicability(table, self.features, self.training_range)
        data["usable"] = ("site", encoded.usable)
        data |= {str(name): ("site", reach[name].to_numpy()) for name in reach}
        names = table.get("site", table.index)
        return xr.Dataset(
            data,
            coords={
                "site": np.asarray(names),
                "parameter": list(self.parameters),
                "lower": ("parameter", self.lower),
                "upper": ("parameter", self.upper),
            },
            attrs={
                "model": self.model,
                "variant": self.variant,
                **self.origin,
                "report": "; ".join(encoded.report()),
            },
        )


def predict_members(
    networks: Network, inputs: Float[np.ndarray, "site input"]
) -> Float[np.ndarray, "member site parameter"]:
    """Return the outputs of every member, as shares of the prior range, in float64.

    Rows are padded to one block size, so that one compiled program serves any table.
    """
    parts = []
    for start in range(0, len(inputs), BLOCK):
        block = inputs[start : start + BLOCK]
        size = BLOCK if len(inputs) > BLOCK else 1 << max(len(block) - 1, 1).bit_length()
        padded = np.zeros((size, inputs.shape[1]), np.float32)
        padded[: len(block)] = block
        parts.append(np.asarray(_members(networks, jnp.asarray(padded)), float)[:, : len(block)])
    if not parts:
        return np.zeros((networks.biases[-1].shape[0], 0, networks.biases[-1].shape[1]))
    return np.concatenate(parts, axis=1)


@jax.jit
def _members(networks: Network, inputs: jax.Array) -> jax.Array:
    return jax.vmap(lambda network: network(inputs))(networks)
