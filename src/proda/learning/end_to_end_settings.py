"""Settings of end-to-end training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from proda.errors import LearningError
from proda.learning.settings import LearningSettings


@dataclass(frozen=True)
class EndToEndSettings:
    """How networks learn through the soil model from every profile, without assimilation.

    Parameters
    ----------
    hidden, dropout
        Widths of the hidden layers (ReLU) and the share of their nodes dropped in training.
    input_noise
        Sd of the noise added to the inputs (which lie in -1 to 1) in training.
    learning_rate, weight_decay
        AdamW; the rate falls along a cosine.
    batch_size, epochs, patience
        `patience`: epochs without a better validation loss before a member stops; None: never.
        The weights with the lowest validation loss are kept in any case.
    validation_share, block_degrees
        Share of sites that each member sets aside, in whole blocks of the map, and their edge.
    members, seed
        Number of networks and the root of every random number.
    floor
        Modelled carbon below which the likelihood no longer follows the logarithm, kg m-3.
    start_weight
        Pull to the start, on the squared distance of the logits.
    steepest
        Longest gradient of one site.
    lost, back
        Loss of a site without a steady state, and the weight of its pull back to the start.
    global_parameters
        Names of parameters that are learnt but the same everywhere.
    constant_rate, constant_epochs
        Training of the calibrated constant.
    """

    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    input_noise: float = 0.1
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    batch_size: int = 256
    epochs: int = 30
    patience: int | None = None
    validation_share: float = 0.1
    block_degrees: float = 5.0
    members: int = 10
    seed: int = 0
    floor: float = 0.3
    start_weight: float = 2e-4
    steepest: float = 5.0
    lost: float = 5.0
    back: float = 0.1
    global_parameters: tuple[str, ...] = ()
    constant_rate: float = 0.03
    constant_epochs: int = 3

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "epochs", "members", "patience", "floor",
                     "steepest", "lost", "block_degrees", "constant_rate",
                     "constant_epochs"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise LearningError(f"{name} = {value}; it must be above 0.")
        for name in ("input_noise", "weight_decay", "seed", "start_weight", "back"):
            if not getattr(self, name) >= 0:
                raise LearningError(f"{name} = {getattr(self, name)}; it must not be negative.")
        self.network()  # checks what networks and plans share

    def network(self) -> LearningSettings:
        """Return the settings that networks, inputs and plans take from `LearningSettings`."""
        return LearningSettings(
            hidden=self.hidden, dropout=self.dropout, batch_size=self.batch_size,
            epochs=self.epochs, patience=self.patience, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, validation_share=self.validation_share,
            block_degrees=self.block_degrees, members=self.members, seed=self.seed,
            tuning_epochs=0,
        )  # fmt: skip

    def constant(self) -> EndToEndSettings:
        """Return the settings by which one set of parameters for all places is fitted."""
        return dataclasses.replace(
            self, hidden=(1,), dropout=0.0, input_noise=0.0, weight_decay=0.0, members=1,
            learning_rate=self.constant_rate, epochs=self.constant_epochs, patience=None,
            global_parameters=(),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for headers and messages."""
        return {
            **dataclasses.asdict(self),
            "hidden": list(self.hidden),
            "global_parameters": list(self.global_parameters),
        }
