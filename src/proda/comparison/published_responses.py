"""The response of soil carbon to warming, compared with published numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.latitude import GLOBE

TURNOVER_TABLE = (
    "turnover part at 2 K of warming, 0-100 cm in the source, all carbon here",
    "-232 ± 52 (emergent constraint); -196 ± 117 (CMIP models)",
    "Pg",
    "Varney et al. 2020, Nature Communications 11, 5544",
)
Q10_ROW = (
    "Q10 of the change of the turnover time",
    "2.2 (1.6 to 2.7)",
    "1",
    "Todd-Brown et al. 2018, Biogeosciences 15, 3659-3671",
)
CENTURY_ROW = (
    "change in 100 years of 4 K and 20 % more input",
    "-72 to 253 (CMIP5 models, 21st century, their own input)",
    "Pg",
    "Todd-Brown et al. 2014, Biogeosciences 11, 2341-2356",
)


def constraints_table(totals: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Compare each model's response to warming with published ranges.

    Published numbers come from other experiments (scenarios with their own climate, or soils warmed
    in the field), so they show the range of possible responses and are not a test.

    Parameters
    ----------
    totals, split
        Tables of :mod:`proda.comparison.projections`.

    Returns
    -------
    pandas.DataFrame
        `quantity`, `model`, `state`, `years` of the experiment, `value`, `unit`, `published`,
        `source`; a quantity has no row without the experiment that it needs.
    """
    rows: list[dict[str, object]] = []

    def add(about: tuple[str, str, str, str], row: pd.Series, value: float) -> None:
        quantity, published, unit, source = about
        labels = {
            "quantity": quantity,
            "model": row["model"],
            "state": row["state"],
            "years": row["years"],
            "value": value,
        }
        rows.append(labels | {"unit": unit, "published": published, "source": source})

    for _, row in _last(split, "plus_2K").iterrows():
        add(TURNOVER_TABLE, row, row["from_turnover"])
    globe = totals[totals["region"] == GLOBE]
    for _, row in _last(split, "plus_4K").iterrows():
        same = globe[
            (globe["model"] == row["model"])
            & (globe["state"] == row["state"])
            & (globe["experiment"] == "plus_4K")
        ]
        if len(same) and row["carbon"] > 0:
            left = 1.0 + row["from_turnover"] / row["carbon"]
            add(Q10_ROW, row, float(left ** (-10.0 / 4.0)) if left > 0 else float("nan"))
    century = globe[(globe["experiment"] == "plus_4K_input_plus_20") & (globe["years"] == 100.0)]
    for _, row in century.iterrows():
        add(CENTURY_ROW, row, row["change"])
    columns = ["quantity", "model", "state", "years", "value", "unit", "published", "source"]
    return pd.DataFrame(rows, columns=columns).replace({np.inf: np.nan})


def _last(table: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of an experiment at its latest time."""
    here = table[table["experiment"] == experiment]
    return here[here["years"] == here["years"].max()]
