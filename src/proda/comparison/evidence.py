"""Access to the tables of a comparison for judging findings, in the order of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from proda.comparison.paper import PAIR


class NotJudged(Exception):  # noqa: N818  (no error: an answer)
    """The reason why a finding cannot be judged."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tables of a comparison."""

    tables: Mapping[str, pd.DataFrame]
    not_comparable: str = ""
    """Reason why models cannot be compared by evidence at sites; empty if they can."""

    def rows(self, table: str, missing: str = "", **where: str) -> pd.DataFrame:
        """Return rows of a table.

        Raises
        ------
        NotJudged
            If there are none.
        """
        whole = self.tables.get(table, pd.DataFrame())
        here = np.full(len(whole), set(where) <= set(whole))
        if here.any():
            for column, value in where.items():
                here &= (whole[column] == value).to_numpy()
        selected = whole[here]
        if not len(selected):
            absent = ", ".join(where.values()) or table
            raise NotJudged(missing or f"this run has no result on {absent}")
        return selected

    def one(self, table: str, missing: str = "", **where: str) -> pd.Series:
        """Return the single row.

        Raises
        ------
        NotJudged
            If there is none.
        """
        return self.rows(table, missing, **where).iloc[0]

    def correlation(self, variable: str, state: str) -> pd.Series:
        """Return the row of the paper's pair."""
        return self.one(
            "correlations",
            _lacking(state),
            first=PAIR[0],
            second=PAIR[1],
            state=state,
            variable=variable,
        )

    def region(
        self, model: str, state: str, region: str, variable: str = "cSoilAbove1m"
    ) -> pd.Series:
        """Return a region's row; it must have cells."""
        row = self.one(
            "regions",
            _lacking(state, (model,) if " - " not in model else PAIR),
            region=region,
            model=model,
            state=state,
            variable=variable,
        )
        if not row["cells"] or not np.isfinite(row["mean"]):
            raise NotJudged(f"no cell with a result in {region}")
        return row

    def difference(self, state: str, region: str, variable: str = "cSoilAbove1m") -> pd.Series:
        """Return the row of COMPAS minus CLM5 in a region."""
        return self.region(f"{PAIR[1]} - {PAIR[0]}", state, region, variable)

    def total(self, model: str, state: str) -> pd.Series:
        """Return the row of a model's global carbon in 0-100 cm."""
        return self.one(
            "totals",
            _lacking(state, (model,)),
            source=model,
            state=state,
            stock="cSoilAbove1m",
            zone="globe",
        )

    def preference(self, criterion: str = "log_evidence", grouping: str = "all") -> pd.DataFrame:
        """Return the rows on the paper's pair."""
        if self.not_comparable:
            raise NotJudged(self.not_comparable)
        rows = self.rows(
            "preference", first=PAIR[0], second=PAIR[1], criterion=criterion, grouping=grouping
        )
        if not (rows["sites"] > 0).any():
            raise NotJudged("no site is kept for both models")
        return rows


def _lacking(state: str, models: tuple[str, ...] = PAIR) -> str:
    kind = "default parameters" if state == "before" else "parameters constrained by profiles"
    return f"needs maps of {' and '.join(models)} with {kind}"
