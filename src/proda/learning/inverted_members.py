"""Members without covariates: they correct an inversion of the carbon predicted by boosting.

Boosting predicts the carbon, the inversion finds parameters with which the soil model has this
carbon, and the network learns a correction through the soil model. The errors of these members
differ from those of networks that take the covariates, so that both together have more skill than
either (docs/theory.md#inversion).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda.errors import LearningError
from proda.forcing import Forcing
from proda.learning.boosted_carbon import BoostedCarbon
from proda.learning.features import Features
from proda.learning.forcing_inputs import DEPTHS, comes_from_forcing, depth_name
from proda.learning.inversion import invert
from proda.learning.network import Network
from proda.models.model import SoilModel

BOOSTED, INVERSION = "boosted_", "inversion_"
"""Beginnings of the names of the columns with boosted carbon and with the inversion's logits."""


@dataclass(frozen=True)
class InvertedMembers:
    """Networks, stacked along the member, and all that their inputs are computed from.

    `features` are those of boosted carbon; `start` are the logits at which the inversion starts;
    `varies` is 0 for parameters with one value everywhere.
    """

    networks: Network
    features: Features
    boosting: BoostedCarbon
    start: Float[np.ndarray, " parameter"]
    varies: Float[np.ndarray, " parameter"]

    @property
    def members(self) -> int:
        """Number of networks."""
        return int(self.networks.biases[-1].shape[0])

    def columns(
        self, inputs: Float[np.ndarray, "site input"], forcing: Forcing, model: SoilModel
    ) -> pd.DataFrame:
        """Return the columns that :meth:`read` reads, for sites with these encoded covariates."""
        carbon = self.boosting.profile(inputs)
        logits = invert(forcing, model, self.start, carbon, self.varies)
        names = logit_names(row.name for row in model.rows)
        return pd.concat([boosted_table(carbon), pd.DataFrame(logits, columns=names)], axis=1)

    def read(
        self, table: pd.DataFrame, parameters: Iterable[str]
    ) -> tuple[Float[np.ndarray, "site input"], Float[np.ndarray, "site parameter"]]:
        """Return the networks' inputs, and the values added to their logits.

        Raises
        ------
        LearningError
            If the table lacks columns of :meth:`columns`.
        """
        names = logit_names(parameters)
        if lacking := [name for name in names if name not in table]:
            raise LearningError(
                f"The table lacks {', '.join(lacking)}; add `Ensemble.made_of_forcing`."
            )
        logits = table[names].to_numpy(dtype=np.float64)
        return self.features.encode(table).inputs, logits - self.start


def boosted_table(carbon: Float[np.ndarray, "site depth"]) -> pd.DataFrame:
    """Return ln carbon by depth as a table of predictors."""
    return pd.DataFrame(carbon, columns=[depth_name(BOOSTED, depth) for depth in DEPTHS])


def logit_names(parameters: Iterable[str]) -> list[str]:
    """Return the names of the columns with the inversion's logits."""
    return [f"{INVERSION}{name}" for name in parameters]


def covariate_columns(features: Features) -> Int[np.ndarray, " column"]:
    """Return which of the encoded inputs are covariates, and not computed from the forcing."""
    groups = features.input_groups()
    own = [np.arange(g.start, g.stop) for name, g in groups.items() if not comes_from_forcing(name)]
    return np.concatenate(own)
