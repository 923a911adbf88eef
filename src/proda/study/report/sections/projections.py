"""The projections of the study, and the agreement of models today and in their changes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.comparison.paper import PAIR
from proda.comparison.projections import OPEN_QUESTION, TABLES
from proda.projection.write_projection import WITHOUT
from proda.study.report.elements import Block, Text, minus
from proda.study.report.results import STATES, StudyResults
from proda.study.report.tables import read_csv

TITLES = {
    "agreement": "Agreement of the changes between models, by experiment",
    "totals": "Projected change of soil carbon (0-100 cm, Pg) by region",
    "split": "The change of all carbon split into input, turnover and imbalance (Pg)",
    "constraints": "The response to warming, compared with published numbers",
}


def projections(study: StudyResults) -> list[Block]:
    """Return the agreement of the models today and in their changes, and the tables."""
    blocks: list[Block] = [Text(sentence) for sentence in agreement_in_words(study)]
    blocks.append(Text(WITHOUT))
    for name in TABLES:
        table = study.table(study.projections_table(name), f"projections_{name}", TITLES[name])
        blocks += [table] if table is not None and len(table.frame) else []
    return blocks


def agreement_in_words(study: StudyResults) -> list[str]:
    """State how well models agree today and in their change with 4 K, for each state.

    Of more than two models: on the mean of all pairs, and the pair of the paper; the others are in
    the table.
    """
    path = study.projections_table("agreement")
    if not path.is_file():
        return []
    table = read_csv(path)
    if "experiment" not in table:
        return []
    rows = table[table["experiment"] == OPEN_QUESTION]
    rows = rows[pd.to_numeric(rows["years"], errors="coerce").notna()]
    last = rows.groupby(["first", "second", "state"], sort=False).tail(1)
    sentences = []
    if len(last[["first", "second"]].drop_duplicates()) > 1:
        sentences.append(_all_pairs(last))
        last = last[(last["first"] == PAIR[0]) & (last["second"] == PAIR[1])]
    for (first, second), pair in last.groupby(["first", "second"], sort=False):
        parts = []
        for row in pair.to_dict("records"):
            ends = f" ({row['low']:.2f} to {row['high']:.2f})" if np.isfinite(row["low"]) else ""
            parts.append(
                f"{STATES[row['state']]}: today r = {row['r_today']:.2f}, after {row['years']} "
                f"years of 4 K r = {row['r']:.2f}{ends}, same sign on {row['same_sign']:.0%} of "
                "the land"
            )
        names = " and ".join(str(name).upper() for name in (first, second))
        sentences.append(minus(f"Do {names} agree in their changes? {'; '.join(parts)}."))
    return sentences


def _all_pairs(last: pd.DataFrame) -> str:
    """State the agreement of all pairs, as means and ranges."""
    parts = []
    for state, rows in last.groupby("state", sort=False):
        today, change = (
            f"r = {rows[name].mean():.2f} ({rows[name].min():.2f} to {rows[name].max():.2f})"
            for name in ("r_today", "r")
        )
        parts.append(
            f"{STATES[str(state)]}: today {today}, after {rows['years'].iloc[0]} years of 4 K "
            f"{change}, same sign on {rows['same_sign'].mean():.0%} of the land"
        )
    pairs = len(last[["first", "second"]].drop_duplicates())
    text = f"Do the models agree in their changes? Mean (range) of {pairs} pairs; "
    return minus(f"{text}{'; '.join(parts)}.")
