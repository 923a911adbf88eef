"""The projections of the study, and the agreement of models today and in their changes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.comparison.projections import OPEN_QUESTION, TABLES
from proda.projection.write_projection import WITHOUT
from proda.study.report.elements import Block, Text
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
    """State how well each pair agrees today and in its change with 4 K, for each state."""
    path = study.projections_table("agreement")
    if not path.is_file():
        return []
    table = read_csv(path)
    if "experiment" not in table:
        return []
    rows = table[table["experiment"] == OPEN_QUESTION]
    rows = rows[pd.to_numeric(rows["years"], errors="coerce").notna()]
    sentences = []
    for (first, second), pair in rows.groupby(["first", "second"], sort=False):
        parts = []
        for row in pair.groupby("state", sort=False).tail(1).to_dict("records"):
            ends = f" ({row['low']:.2f} to {row['high']:.2f})" if np.isfinite(row["low"]) else ""
            parts.append(
                f"{STATES[row['state']]}: today r = {row['r_today']:.2f}, after {row['years']} "
                f"years of 4 K r = {row['r']:.2f}{ends}, same sign on {row['same_sign']:.0%} of "
                "the land"
            )
        names = " and ".join(str(name).upper() for name in (first, second))
        sentences.append(
            f"Do {names} agree in their changes? {'; '.join(parts)}.".replace("= -", "= −")
        )
    return sentences
