"""How a network is built and trained: our defaults, and the study's preset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from proda.errors import LearningError

Loss = Literal["weighted", "study"]
Scaling = Literal["quantile", "minmax"]
Categories = Literal["one_hot", "numbers"]
Optimizer = Literal["adamw", "adadelta"]
Resample = Literal["bootstrap", "none"]
Validation = Literal["blocks", "random"]
Target = Literal["likelihood", "posterior_mean"]


@dataclass(frozen=True)
class LearningSettings:
    """Settings of network and training. The defaults are ours; `study()` is the paper's.

    Parameters
    ----------
    hidden, dropout
        Widths of the hidden layers (ReLU) and the share of their nodes dropped in training.
    bounded
        Keep outputs inside the prior range by a logistic function.
    scaling, categories
        How quantities and categories enter: "minmax" to 0-1 and class numbers (the study), or
        by training quantiles to -1..1 and one column per class.
    target
        What a site says of its parameters: the posterior mean, or the posterior mean with the
        pull of the uniform prior taken out (`targets.py`).
    loss
        "weighted": squared error times the site's information; "study": L1 ratio x L2.
    unexplained_sd
        Spread between sites that covariates cannot explain, as a share of the prior range. It
        caps the weight of a site whose posterior is very narrow.
    prior_weight
        Pull towards the mean of the training sites, in units of the prior's precision. Where the
        data say nothing it decides; elsewhere it is negligible.
    optimizer, learning_rate, weight_decay
        AdamW with a one-cycle cosine schedule, or Adadelta at a constant rate.
    batch_size, epochs, patience
        `patience`: epochs without a better validation loss before a member stops; None: never.
        The weights with the lowest validation loss are kept in any case, or the last ones where
        no site is set aside for validation (end to end only).
    validation, validation_share
        Sites each member sets aside to choose its epoch: whole blocks of the map, or random ones.
    resample
        Whether each member trains on a bootstrap sample of its training sites.
    block_degrees
        Edge of the blocks of the map, degrees of latitude and longitude.
    members, seed
        Number of networks and the root of every random number.
    tuning_epochs
        Most epochs that the networks go on learning through the soil model, where the profiles
        are at hand (`tune.py`); 0: none.
    tuning_rate, tuning_batch, tuning_patience
        Adam's rate at the start (it falls along a cosine), sites at a time, and epochs without a
        better validation loss before a member stops (None: never).
    parameter_weight
        Weight in tuning of the loss of parameter training beside minus the log-likelihood of a
        site per measured layer.

    Raises
    ------
    LearningError
        Naming a setting that makes no sense.
    """

    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.0
    bounded: bool = True
    scaling: Scaling = "quantile"
    categories: Categories = "one_hot"
    target: Target = "posterior_mean"
    loss: Loss = "weighted"
    unexplained_sd: float = 0.1
    prior_weight: float = 0.05
    optimizer: Optimizer = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1.0
    batch_size: int = 256
    epochs: int = 80
    patience: int | None = 25
    validation: Validation = "blocks"
    validation_share: float = 0.1
    resample: Resample = "none"
    block_degrees: float = 5.0
    members: int = 10
    seed: int = 0
    tuning_epochs: int = 30
    tuning_rate: float = 1e-3
    tuning_batch: int = 64
    tuning_patience: int | None = 10
    parameter_weight: float = 10.0

    def __post_init__(self) -> None:
        choices = {
            "scaling": Scaling,
            "categories": Categories,
            "target": Target,
            "loss": Loss,
            "optimizer": Optimizer,
            "validation": Validation,
            "resample": Resample,
        }
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise LearningError(f"{name} = {getattr(self, name)!r}; choose one of {known}.")
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise LearningError(f"hidden = {self.hidden}; give at least one width above 0.")
        if not 0 <= self.dropout < 1:
            raise LearningError(f"dropout = {self.dropout:g}; it is a share from 0 to below 1.")
        if not 0 <= self.validation_share < 1:
            raise LearningError(
                f"validation_share = {self.validation_share:g}; it must be at least 0 and below 1."
            )
        if self.validation_share == 0 and self.patience is not None:
            raise LearningError(
                f"patience = {self.patience} needs validation sites: set validation_share above 0, "
                "or no patience."
            )
        for name in (
            "batch_size",
            "epochs",
            "members",
            "patience",
            "learning_rate",
            "block_degrees",
            "prior_weight",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise LearningError(f"{name} = {value}; it must be above 0.")
        for name in ("tuning_rate", "tuning_batch", "tuning_patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise LearningError(f"{name} = {value}; it must be above 0.")
        for name in ("weight_decay", "unexplained_sd", "seed", "tuning_epochs", "parameter_weight"):
            if not getattr(self, name) >= 0:
                raise LearningError(f"{name} = {getattr(self, name)}; it must not be negative.")
        if self.loss == "study" and self.target != "posterior_mean":
            raise LearningError("The study's loss needs target = 'posterior_mean'.")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for headers and messages."""
        return {**dataclasses.asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LearningSettings:
        """Build settings from plain values.

        Raises
        ------
        LearningError
            Naming settings that are not known.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise LearningError(f"Unknown settings: {', '.join(unknown)}.")
        return cls(**{**values, "hidden": tuple(values.get("hidden", cls.hidden))})


def study(**changes: Any) -> LearningSettings:
    """Return the paper's settings (P-section 2.6), with `changes`.

    The paper does not name Adadelta's rate; it is 1, as in Zeiler (2012). Nor does it say how
    the validation sites were chosen or how many they were: random ones, one fifth.
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
