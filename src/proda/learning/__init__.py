"""From environment to parameters: a network, its ensemble, and the carbon of unseen profiles."""

from proda.learning.applicability import applicability
from proda.learning.carbon import (
    Modelled,
    assimilated_carbon,
    carbon_skill,
    default_carbon,
    ensemble_carbon,
    groups_of,
    held_out_carbon,
)
from proda.learning.ensemble import Ensemble
from proda.learning.from_posteriors import TrainingResult, train_network
from proda.learning.join import TrainingSites, join
from proda.learning.learn import Learned, learn
from proda.learning.learning_settings import LearningSettings, study
from proda.learning.network_diagnosis import learning_curve, permutation_importance
from proda.learning.network_folder import load_ensemble, save_ensemble
from proda.learning.predict import predict_table
from proda.learning.spread import Spread, carbon_coverage, spread_of_carbon
from proda.learning.train import Progress
from proda.learning.validation import CrossValidation, cross_validate, folds_of

__all__ = [
    "CrossValidation",
    "Ensemble",
    "Learned",
    "LearningSettings",
    "Modelled",
    "Progress",
    "Spread",
    "TrainingResult",
    "TrainingSites",
    "applicability",
    "assimilated_carbon",
    "carbon_coverage",
    "carbon_skill",
    "cross_validate",
    "default_carbon",
    "ensemble_carbon",
    "folds_of",
    "groups_of",
    "held_out_carbon",
    "join",
    "learn",
    "learning_curve",
    "load_ensemble",
    "permutation_importance",
    "predict_table",
    "save_ensemble",
    "spread_of_carbon",
    "study",
    "train_network",
]
