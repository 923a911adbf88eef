"""How good a network is where it counts: the carbon of profiles that it has not seen."""

from proda.evaluation.carbon import (
    Modelled,
    assimilated_carbon,
    carbon_skill,
    default_carbon,
    ensemble_carbon,
    groups_of,
    held_out_carbon,
)
from proda.evaluation.predict import predict_table
from proda.evaluation.train import TrainingResult, train_network

__all__ = [
    "Modelled",
    "TrainingResult",
    "assimilated_carbon",
    "carbon_skill",
    "default_carbon",
    "ensemble_carbon",
    "groups_of",
    "held_out_carbon",
    "predict_table",
    "train_network",
]
