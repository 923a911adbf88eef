"""From environment to parameters: a network, its ensemble, and how good it is."""

from proda.learning.applicability import applicability
from proda.learning.diagnose import learning_curve, permutation_importance
from proda.learning.ensemble import Ensemble
from proda.learning.join import TrainingSites, join
from proda.learning.learn import Learned, learn
from proda.learning.settings import LearningSettings, study
from proda.learning.store import load_ensemble, save_ensemble
from proda.learning.train import Progress
from proda.learning.validation import CrossValidation, cross_validate, folds_of

__all__ = [
    "CrossValidation",
    "Ensemble",
    "Learned",
    "LearningSettings",
    "Progress",
    "TrainingSites",
    "applicability",
    "cross_validate",
    "folds_of",
    "join",
    "learn",
    "learning_curve",
    "load_ensemble",
    "permutation_importance",
    "save_ensemble",
    "study",
]
