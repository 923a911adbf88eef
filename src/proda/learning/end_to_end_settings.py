"""Settings of end-to-end training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from proda.errors import LearningError
from proda.learning.forcing_inputs import ForcingInputs
from proda.learning.learning_settings import LearningSettings

Start = Literal["constant", "default", "random"]

IDLE = (
    "bounded",
    "target",
    "loss",
    "unexplained_sd",
    "prior_weight",
    "optimizer",
    "tuning_epochs",
    "tuning_rate",
    "tuning_batch",
    "tuning_patience",
    "parameter_weight",
)
"""Settings of `LearningSettings` that are for posteriors only."""


@dataclass(frozen=True)
class EndToEndSettings(LearningSettings):
    """How networks learn through the soil model from every profile, without assimilation.

    Settings of networks, inputs and plans are those of `LearningSettings`, some with other
    defaults; those that are for posteriors only (`IDLE`) are refused. The rate of AdamW falls along
    a cosine. By default no site is set aside for validation (`validation_share` 0), and the last
    weights are kept: a few blocks of the map say little of the others, and the best epoch by them
    is chance.

    Parameters
    ----------
    forcing_inputs
        What networks know of the forcing: "response", the soil model's carbon at a few depths with
        the calibrated constant; "summary", means of the drivers.
    input_noise
        Sd of the noise added to the inputs (which lie in -1 to 1) in training.
    floor
        Modelled carbon below which the likelihood no longer follows the logarithm, kg m-3.
    start
        Parameters at which members start and to which they are drawn: "constant", the calibrated
        constant; "default", the model's defaults; "random", drawn for each member by itself.
    start_weight
        Pull to the start, on the squared distance of the logits; 0: none.
    steepest
        Longest gradient of one site.
    lost, back
        Loss of a site without a steady state, and the weight of its pull back to the start.
    global_parameters
        Names of parameters that are learnt but the same everywhere.
    inverted_share
        Share of the networks that correct an inversion of the carbon that gradient boosting
        expects, instead of seeing the covariates; 0: none, and at most all but one.
    inverted_epochs
        Epochs of these networks, which start near their end.
    constant_rate, constant_epochs, constant_batch
        Training of the calibrated constant.
    """

    dropout: float = 0.2
    forcing_inputs: ForcingInputs = "response"
    input_noise: float = 0.05
    learning_rate: float = 6e-3
    weight_decay: float = 0.5
    batch_size: int = 1024
    epochs: int = 24
    patience: int | None = None
    validation_share: float = 0.0
    tuning_epochs: int = 0
    floor: float = 0.1
    start: Start = "constant"
    start_weight: float = 2e-4
    steepest: float = 10.0
    lost: float = 5.0
    back: float = 0.1
    global_parameters: tuple[str, ...] = ()
    inverted_share: float = 0.5
    inverted_epochs: int = 8
    constant_rate: float = 0.03
    constant_epochs: int = 3
    constant_batch: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "floor",
            "steepest",
            "lost",
            "constant_rate",
            "constant_epochs",
            "constant_batch",
            "inverted_epochs",
        ):
            if not getattr(self, name) > 0:
                raise LearningError(f"{name} = {getattr(self, name)}; it must be above 0.")
        for name in ("input_noise", "start_weight", "back"):
            if not getattr(self, name) >= 0:
                raise LearningError(f"{name} = {getattr(self, name)}; it must not be negative.")
        if not 0 <= self.inverted_share < 1:
            raise LearningError(
                f"inverted_share = {self.inverted_share}; it must be at least 0 and below 1."
            )
        if self.start not in get_args(Start):
            known = ", ".join(get_args(Start))
            raise LearningError(f"start = {self.start!r}; choose one of {known}.")
        if self.forcing_inputs not in get_args(ForcingInputs):
            known = ", ".join(get_args(ForcingInputs))
            raise LearningError(f"forcing_inputs = {self.forcing_inputs!r}; choose one of {known}.")
        for name in IDLE:
            if getattr(self, name) != getattr(EndToEndSettings, name):
                raise LearningError(
                    f"{name} applies to training on posteriors only, not to end-to-end training."
                )

    def network(self) -> LearningSettings:
        """Return the settings of `LearningSettings` alone, as an ensemble keeps them."""
        names = [field.name for field in dataclasses.fields(LearningSettings)]
        return LearningSettings(**{name: getattr(self, name) for name in names})

    def constant(self) -> EndToEndSettings:
        """Return the settings by which one set of parameters for all places is fitted."""
        return dataclasses.replace(
            self,
            hidden=(1,),
            dropout=0.0,
            input_noise=0.0,
            weight_decay=0.0,
            members=1,
            learning_rate=self.constant_rate,
            epochs=self.constant_epochs,
            patience=None,
            batch_size=self.constant_batch,
            global_parameters=(),
        )

    def inverted(self) -> EndToEndSettings:
        """Return the settings by which networks learn to correct an inversion."""
        return dataclasses.replace(self, epochs=self.inverted_epochs, patience=None)

    def inverted_of(self, networks: int) -> int:
        """Return how many of so many networks correct an inversion."""
        return max(0, min(networks - 1, int(self.inverted_share * networks + 0.5)))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for headers and messages."""
        values = {**super().as_dict(), "global_parameters": list(self.global_parameters)}
        return {name: value for name, value in values.items() if name not in IDLE}
