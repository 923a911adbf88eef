"""How networks are judged by places left out of training, by route."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proda.settings_table import SettingsTable

Split = Literal["5-degree", "2-degree", "random"]
"""How sites are divided into folds: by blocks of the map, or at random."""

FOLDS = 5
FROM_POSTERIORS, END_TO_END = 4, 2
"""Networks in each fold, by route: end to end each is trained through the soil model. Never more
than in the end: the mean of more networks predicts better, and would be judged in their place."""
OF_FOLD = "Networks in each fold; at most as many as in the end."
SPLIT: Split = "5-degree"
TREES = 200


class PosteriorValidation(SettingsTable):
    """Cross-validation of networks that learn from posteriors."""

    folds: int = Field(FOLDS, ge=0, description="Folds of the cross-validation; 0: none.")
    fold_members: int = Field(FROM_POSTERIORS, ge=1, description=OF_FOLD)
    trees: int = Field(TREES, ge=1, description="Trees of the random forest to compare with.")
    curve: bool = Field(True, description="Compute the skill against the number of sites.")


class EndToEndValidation(SettingsTable):
    """Cross-validation of networks that learn end to end."""

    folds: int = Field(
        FOLDS,
        ge=0,
        description="Folds left out in turn; 0: none, and so no skill and no intervals.",
    )
    fold_members: int = Field(END_TO_END, ge=1, description=OF_FOLD)
    split: Split = Field(
        SPLIT, description="How sites are divided into folds: 5-degree, 2-degree or random."
    )
