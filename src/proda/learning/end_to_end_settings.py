"""Settings of end-to-end training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from proda.errors import LearningError
from proda.learning.learning_settings import LearningSettings
from proda.settings_table import other, setting

ForcingInputs = Literal["response", "summary"]
"""`response`: the soil model's carbon with one set of parameters; `summary`: means of drivers."""
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
"""Settings of `LearningSettings` that apply to posteriors only."""


@dataclass(frozen=True)
class EndToEndSettings(LearningSettings):
    """How networks learn through the soil model from every profile, without assimilation.

    Settings of networks, inputs and plans are those of `LearningSettings`, some with other
    defaults. Settings that apply to posteriors only (`IDLE`) are refused. The rate of AdamW falls
    along a cosine. By default no site is set aside for validation (`validation_share` 0), and the
    last weights are kept: a few blocks of the map do not represent the others, so that the best
    epoch by them is a matter of chance.
    """

    dropout: float = other(LearningSettings, "dropout", 0.2)
    forcing_inputs: ForcingInputs = setting(
        "response",
        "Inputs of a network from the forcing: response (the soil model's carbon at five depths "
        "with the calibrated constant), or summary (means of the drivers).",
    )
    input_noise: float = setting(
        0.05,
        "Standard deviation of the noise that is added in training to the inputs, which lie "
        "between -1 and 1.",
        at_least=0,
    )
    learning_rate: float = other(LearningSettings, "learning_rate", 6e-3)
    weight_decay: float = other(LearningSettings, "weight_decay", 0.5)
    batch_size: int = other(LearningSettings, "batch_size", 1024)
    epochs: int = other(LearningSettings, "epochs", 24)
    patience: int | None = other(LearningSettings, "patience", None)
    validation_share: float = other(LearningSettings, "validation_share", 0.0)
    tuning_epochs: int = other(LearningSettings, "tuning_epochs", 0)
    floor: float = setting(
        0.1,
        "Modelled carbon below which the likelihood no longer follows the logarithm, kg m-3.",
        above=0,
    )
    start: Start = setting(
        "constant",
        "Parameters from which networks start and towards which they are pulled: the calibrated "
        "constant, the model's default, or random values for each network (constant, default, "
        "random).",
    )
    start_weight: float = setting(
        2e-4,
        "Strength of the pull towards the start, on the squared distance of the logits; 0: none.",
        at_least=0,
    )
    steepest: float = setting(10.0, "Maximum norm of the gradient of one site.", above=0)
    lost: float = setting(5.0, "Loss of a site without a steady state.", above=0)
    back: float = setting(
        0.1,
        "Strength of the pull of a site without a steady state back to the start.",
        at_least=0,
    )
    global_parameters: tuple[str, ...] = setting(
        (), "Parameters that are trained but have one value everywhere."
    )
    inverted_share: float = setting(
        0.5,
        "Share of the networks that correct an inversion of boosted carbon instead of taking the "
        "covariates; 0: none. At least one network takes the covariates.",
        at_least=0,
        below=1,
    )
    inverted_epochs: int = setting(
        8, "Epochs of the networks that correct an inversion, which start near their end.", above=0
    )
    constant_rate: float = setting(
        0.03, "Learning rate in fitting the calibrated constant.", above=0
    )
    constant_epochs: int = setting(3, "Epochs of fitting the calibrated constant.", above=0)
    constant_batch: int = setting(
        256, "Sites per batch in fitting the calibrated constant.", above=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
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
        """Return the settings for fitting one set of parameters for all places."""
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
        """Return the settings for networks that correct an inversion."""
        return dataclasses.replace(self, epochs=self.inverted_epochs, patience=None)

    def inverted_of(self, networks: int) -> int:
        """Return how many of a number of networks correct an inversion."""
        return max(0, min(networks - 1, int(self.inverted_share * networks + 0.5)))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for headers and messages."""
        values = {**super().as_dict(), "global_parameters": list(self.global_parameters)}
        return {name: value for name, value in values.items() if name not in IDLE}
