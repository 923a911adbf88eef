"""A trained ensemble, which predicts parameters wherever there are covariates."""

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
from proda.forcing import Forcing
from proda.learning.applicability import TrainingRange, applicability
from proda.learning.calibration import Calibration, calibrated_members, interval
from proda.learning.features import Encoded, Features, Missing
from proda.learning.forcing_inputs import beside, forcing_inputs
from proda.learning.inverted_members import InvertedMembers
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
    inverted: InvertedMembers | None = None
    """Further members, which correct an inversion of boosted carbon; None without any."""

    @property
    def members(self) -> int:
        """Number of networks."""
        further = 0 if self.inverted is None else self.inverted.members
        return int(self.networks.biases[-1].shape[0]) + further

    def soil_model(self, made: str) -> SoilModel:
        """Return the model whose parameters these networks predict.

        Parameters
        ----------
        made
            Folder of the networks, for the message.

        Raises
        ------
        ModelError
            If the model does not exist, or its file has changed since they were trained.
        """
        attributes = {"model": self.model, "variant": self.variant, **self.origin}
        return load_recorded(attributes, f"the network {made}")

    def made_of_forcing(
        self,
        covariates: pd.DataFrame,
        forcing: Forcing,
        model: SoilModel,
        missing: Missing = "leave_out",
    ) -> pd.DataFrame:
        """Return the inputs besides covariates that networks trained end to end need.

        Parameters
        ----------
        covariates
            Covariates of some places.
        forcing, model
            Forcing of the same places, row by row, and the networks' soil model.
        missing
            As in :meth:`predict`.

        Returns
        -------
        table
            The response or summary of the forcing and, for members that correct an inversion,
            boosted carbon and the logits of the inversion (NaN in rows that lack a covariate).
        """
        made = forcing_inputs(self.features.names, forcing, model, self.reference)
        if self.inverted is None:
            return made
        encoded = self.features.encode(beside(covariates, made), missing)
        rows = np.flatnonzero(encoded.usable)
        own = self.inverted.columns(encoded.inputs, forcing.select(rows), model)
        return pd.concat([made, own.set_index(rows).reindex(range(len(made)))], axis=1)

    def shares(
        self, table: pd.DataFrame, missing: Missing = "leave_out"
    ) -> tuple[Float[np.ndarray, "member usable parameter"], Encoded]:
        """Return every member's parameters as shares of the prior range, in usable rows."""
        encoded = self.features.encode(table, missing)
        share = predict_members(self.networks, encoded.inputs)
        if self.inverted is None:
            return share, encoded
        inputs, offset = self.inverted.read(table[encoded.usable], self.parameters)
        further = predict_members(self.inverted.networks, inputs, offset)
        return np.concatenate([share, further]), encoded

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
            Also return members spread according to the calibration, for the spread of maps.

        Returns
        -------
        dataset
            `parameters` (member, site, parameter); `mean` and `spread` (sd between members);
            where calibrated `sd` and the 90 % interval `interval_lower`, `interval_upper` of the
            truth; `usable`, `outside`, `unseen`, `distance`, `flag` (site). Physical units.
            The attribute `report` lists what was left out, filled or unknown, and how often.

        Raises
        ------
        LearningError
            Naming covariates that are absent or of another kind, or if draws are requested from an
            ensemble without calibration.
        """
        if draws and (self.calibration is None or self.members < 2):
            raise LearningError("Draws need an ensemble of 2 or more members, calibrated by folds.")
        share, encoded = self.shares(table, missing)
        data = self._statistics(share, encoded.usable, draws)
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

    def _statistics(self, share: np.ndarray, usable: np.ndarray, draws: bool) -> dict[str, Any]:
        """Return members, mean and spread, where calibrated also the interval and draws.

        Parameters
        ----------
        share
            Of the prior range at the usable rows, (member, row, parameter).
        usable
            Which rows of the table these are.
        draws
            Whether to return calibrated draws.
        """

        def rows(values: np.ndarray, width: bool = False) -> np.ndarray:
            out = np.full((*values.shape[:-2], len(usable), len(self.parameters)), np.nan)
            out[..., usable, :] = values * (self.upper - self.lower)
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
        return data


def predict_members(
    networks: Network,
    inputs: Float[np.ndarray, "site input"],
    offset: Float[np.ndarray, "site parameter"] | None = None,
) -> Float[np.ndarray, "member site parameter"]:
    """Return the outputs of every member, as shares of the prior range, in float64.

    Rows are padded to one block size, so that one compiled program serves any table. `offset` is
    added to the logits of bounded networks.
    """
    parts = []
    for start in range(0, len(inputs), BLOCK):
        here = slice(start, start + BLOCK)
        size = BLOCK if len(inputs) > BLOCK else 1 << max(len(inputs[here]) - 1, 1).bit_length()
        added = None if offset is None else _padded(offset[here], size)
        share = _members(networks, _padded(inputs[here], size), added)
        parts.append(np.asarray(share, float)[:, : len(inputs[here])])
    if not parts:
        return np.zeros((networks.biases[-1].shape[0], 0, networks.biases[-1].shape[1]))
    return np.concatenate(parts, axis=1)


def _padded(rows: np.ndarray, size: int) -> jax.Array:
    out = np.zeros((size, rows.shape[1]), np.float32)
    out[: len(rows)] = rows
    return jnp.asarray(out)


@jax.jit
def _members(networks: Network, inputs: jax.Array, offset: jax.Array | None) -> jax.Array:
    if offset is None:
        return jax.vmap(lambda network: network(inputs))(networks)
    return jax.vmap(lambda network: jax.nn.sigmoid(network.logits(inputs) + offset))(networks)
