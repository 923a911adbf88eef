"""How a network is built and trained: our defaults, and the study's preset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from proda.errors import LearningError
from proda.settings_table import SettingsTable, check_limits, setting

Loss = Literal["weighted", "study"]
Scaling = Literal["quantile", "minmax"]
Categories = Literal["one_hot", "numbers"]
Optimizer = Literal["adamw", "adadelta"]
Resample = Literal["bootstrap", "none"]
Validation = Literal["blocks", "random"]
Target = Literal["likelihood", "posterior_mean"]
Preset = Literal["default", "study"]


class PresetSettings(SettingsTable):
    """The settings of network and training to which changes are applied."""

    preset: Preset = Field(
        "default", description="default, or study: network and training as published."
    )


@dataclass(frozen=True)
class LearningSettings:
    """Settings of network and training. The defaults are ours; `study()` returns the paper's.

    Raises
    ------
    LearningError
        Naming a setting whose value is not allowed.
    """

    hidden: tuple[int, ...] = setting((128, 128), "Widths of the hidden layers (ReLU).")
    dropout: float = setting(
        0.0, "Share of the hidden nodes that are dropped in training.", at_least=0, below=1
    )
    bounded: bool = setting(True, "Keep outputs inside the prior range by a logistic function.")
    scaling: Scaling = setting(
        "quantile",
        "Scaling of quantities: quantile (by training quantiles to -1 to 1), or minmax (0 to 1, "
        "the study).",
    )
    categories: Categories = setting(
        "one_hot",
        "Encoding of classes: one_hot (one column per class), or numbers (the study).",
    )
    target: Target = setting(
        "posterior_mean",
        "Parameters of a site to learn from: posterior_mean, or likelihood (the posterior mean "
        "without the pull of the uniform prior).",
    )
    loss: Loss = setting(
        "weighted",
        "weighted (squared error times the information of the site), or study (L1 ratio x L2).",
    )
    unexplained_sd: float = setting(
        0.1,
        "Spread between sites that covariates cannot explain, as a share of the prior range; it "
        "limits the weight of a site with a very narrow posterior.",
        at_least=0,
    )
    prior_weight: float = setting(
        0.05,
        "Pull towards the mean of the training sites, in units of the precision of the prior; it "
        "matters only where the data do not constrain a parameter.",
        above=0,
    )
    optimizer: Optimizer = setting(
        "adamw", "adamw (one-cycle cosine schedule), or adadelta (constant rate)."
    )
    learning_rate: float = setting(3e-3, "Learning rate.", above=0)
    weight_decay: float = setting(1.0, "Weight decay.", at_least=0)
    batch_size: int = setting(256, "Sites per batch.", above=0)
    epochs: int = setting(80, "Maximum number of epochs.", above=0)
    patience: int | None = setting(
        25,
        "Epochs without a better validation loss after which a member stops; without it never. The "
        "weights with the lowest validation loss are kept in any case, or the last weights where "
        "no site is set aside for validation.",
        above=0,
    )
    validation: Validation = setting(
        "blocks",
        "Sites that each member sets aside to choose its epoch: blocks (whole blocks of the map), "
        "or random.",
    )
    validation_share: float = setting(
        0.1, "Share of the sites that is set aside for validation.", at_least=0, below=1
    )
    resample: Resample = setting(
        "none", "bootstrap: each member trains on a bootstrap sample of its sites; or none."
    )
    block_degrees: float = setting(
        5.0, "Edge of the blocks of the map, degrees of latitude and longitude.", above=0
    )
    members: int = setting(10, "Number of networks.", above=0)
    seed: int = setting(0, "Root of all random numbers.", at_least=0)
    tuning_epochs: int = setting(
        30, "Maximum number of epochs of tuning through the soil model; 0: none.", at_least=0
    )
    tuning_rate: float = setting(
        1e-3, "Learning rate of Adam at the start of tuning; it falls along a cosine.", above=0
    )
    tuning_batch: int = setting(64, "Sites per batch in tuning.", above=0)
    tuning_patience: int | None = setting(
        10,
        "Epochs of tuning without a better validation loss after which a member stops; without it "
        "never.",
        above=0,
    )
    parameter_weight: float = setting(
        10.0,
        "Weight in tuning of the loss of parameter training, relative to minus the log-likelihood "
        "of a site per measured layer.",
        at_least=0,
    )

    def __post_init__(self) -> None:
        check_limits(self, LearningError)
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise LearningError(f"hidden = {self.hidden}; give at least one width above 0.")
        if self.validation_share == 0 and self.patience is not None:
            raise LearningError(
                f"patience = {self.patience} needs validation sites: set validation_share above 0, "
                "or no patience."
            )
        if self.loss == "study" and self.target != "posterior_mean":
            raise LearningError("loss = 'study' needs target = 'posterior_mean'.")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for headers and messages."""
        return {**dataclasses.asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LearningSettings:
        """Build settings from plain values.

        Raises
        ------
        LearningError
            Naming settings that are unknown.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise LearningError(f"Unknown settings: {', '.join(unknown)}.")
        return cls(**{**values, "hidden": tuple(values.get("hidden", cls.hidden))})


def study(**changes: Any) -> LearningSettings:
    """Return the paper's settings (P-section 2.6), with `changes`.

    The paper does not name Adadelta's rate; it is 1, as in Zeiler (2012). It does not state how the
    validation sites were chosen or how many there were; here one fifth, at random.
    """
    paper: dict[str, Any] = {
        "hidden": (256, 512, 512, 256),
        "dropout": 0.2,
        "bounded": False,
        "scaling": "minmax",
        "categories": "numbers",
        "target": "posterior_mean",
        "loss": "study",
        "optimizer": "adadelta",
        "learning_rate": 1.0,
        "weight_decay": 0.0,
        "batch_size": 32,
        "epochs": 6000,
        "patience": None,
        "validation": "random",
        "validation_share": 0.2,
        "resample": "none",
        "members": 1,
        "tuning_epochs": 0,
    }
    return LearningSettings(**{**paper, **changes})


def preset_of(preset: Preset, changes: dict[str, Any]) -> LearningSettings:
    """Return the settings of a preset with changes.

    Raises
    ------
    LearningError
        Naming settings that are unknown, or a value that is not allowed.
    """
    ours = LearningSettings.from_dict(changes)  # refuses unknown names
    return study(**changes) if preset == "study" else ours
