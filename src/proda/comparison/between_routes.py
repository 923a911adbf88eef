"""Compare the two maps of one model, one from each route: what profiles determine agrees."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from proda.comparison.correlations import compare_maps
from proda.comparison.model_files import AFTER, COMPARED, END_TO_END, OpenedModel, common_land

COLUMNS = ("model", "variable", "scale", "r", "low", "high", "n", "n_effective", "bias")
"""Columns, which an empty table has too."""


def between_routes_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Compare each model's map from posteriors with its map of end-to-end training.

    Returns
    -------
    pandas.DataFrame
        One row per variable of each model that has both maps, on the land where both have carbon:
        `model`, `variable`, and the columns that
        :func:`~proda.comparison.correlations.correlation_table` has of two maps; `bias` is "from
        posteriors" minus "end to end". Empty where no model has both.
    """
    rows = []
    for name, model in models.items():
        if not {AFTER, END_TO_END} <= set(model.maps):
            continue
        land = common_land(models, (name,), (AFTER, END_TO_END), with_carbon=True)
        rows += [
            {
                "model": name,
                "variable": variable,
                **compare_maps(model.maps[END_TO_END][variable], model.maps[AFTER][variable], land),
            }
            for variable in COMPARED
        ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(COLUMNS))
