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
from proda.evaluation.spread import Spread, carbon_coverage, spread_of_carbon
from proda.evaluation.train import TrainingResult, train_network

__all__ = [
    "Modelled",
    "Spread",
    "TrainingResult",
    "assimilated_carbon",
    "carbon_coverage",
    "carbon_skill",
    "default_carbon",
    "ensemble_carbon",
    "groups_of",
    "held_out_carbon",
    "predict_table",
    "spread_of_carbon",
    "train_network",
]
