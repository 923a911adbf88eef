"""The findings of the paper, the results of this run, and whether they agree."""

from __future__ import annotations

import pandas as pd

from proda.comparison.paper import PAIR
from proda.comparison.routes import side_by_side
from proda.errors import FileError
from proda.study.report.comparison_tables import compared
from proda.study.report.elements import Block, Notice, Table, Text, not_run
from proda.study.report.results import StudyResults

VERDICT = ("verdict", "agrees", "agreement")
"""Possible names of the column with the verdict."""

FINDINGS = "findings"
"""Table of the comparison."""

LABELS = {
    "paper": "paper",
    "run": "this run",
    "section": "section of the paper",
    "reason": "reason for no verdict",
    "rule": "rule",
    "holds": "does it hold?",
}


def findings(study: StudyResults) -> list[Block]:
    """Return the table of findings, and how many agree."""
    blocks: list[Block] = []
    table = read_findings(study)
    if table is None:
        blocks.append(not_run("comparison", "table of findings"))
    else:
        blocks += [
            Text("Each finding is judged by the rule in its row, from the numbers of this run."),
            *([Text(lacking)] if (lacking := without_pair(study)) else []),
            *([Text(only_one_route(table))] if "holds" in table.frame else []),
            table,
        ]
        if study.record.synthetic:
            blocks.insert(
                0,
                Notice(
                    "The data are synthetic: agreement or disagreement with the paper has no "
                    "meaning for real soils."
                ),
            )
    return blocks


def without_pair(study: StudyResults) -> str:
    """State which of the paper's models the study lacks; "" if it has both."""
    lacking = [name.upper() for name in PAIR if name not in study.models]
    if not lacking or not study.models:
        return ""
    return (
        f"The paper compares CLM5 and COMPAS. This study has no {' and no '.join(lacking)}: "
        "findings on it, and on both together, cannot be judged. The other models are compared in "
        "the tables of agreement, evidence and carbon."
    )


def read_findings(study: StudyResults) -> Table | None:
    """Return the findings with their columns of verdicts, or None before the comparison.

    With two routes, each finding is one row with two verdicts.

    Raises
    ------
    FileError
        If the table has no column of verdicts.
    """
    path, table = study.comparison_table(FINDINGS), compared(study, FINDINGS)
    if table is None:
        return None
    routes = tuple(table.frame["route"].unique()) if "route" in table.frame else ()
    if len(routes) > 1:
        frame = side_by_side(table.frame)
        return Table(
            table.stem, table.title, frame.drop(columns="id"), labels=LABELS, verdicts=routes
        )
    named = [name for name in VERDICT if name in table.frame]
    if not named:
        raise FileError(f"{path}: has none of the columns {', '.join(VERDICT)}.")
    frame = table.frame.drop(columns=["id", "route"], errors="ignore")
    return Table(table.stem, table.title, frame, labels=LABELS, verdicts=(named[0],))


def tone(verdict: object) -> str:
    """Return the mark of a verdict: `yes`, `no` or `open` (not judged)."""
    word = str(verdict).strip().lower()
    if word in ("yes", "true", "holds") or word.startswith("agree"):
        return "yes"
    if word in ("no", "false") or word.startswith(("disagree", "does not", "not agree")):
        return "no"
    return "open"


def tally(table: Table) -> list[str]:
    """State how many findings of :func:`read_findings` agree, disagree, or cannot be judged.

    One sentence for each route, and one on those that hold under one route only.
    """
    sentences = []
    for column in table.verdicts:
        tones = pd.Series([tone(v) for v in table.frame[column]], dtype=str)
        count = {name: int((tones == name).sum()) for name in ("yes", "no", "open")}
        route = f" {column}" if len(table.verdicts) > 1 else ""
        sentences.append(
            f"Of {len(tones)} findings of the paper, this run{route} agrees with {count['yes']} "
            f"and does not agree with {count['no']}; {count['open']} could not be judged."
        )
    return [*sentences, *([only_one_route(table)] if "holds" in table.frame else [])]


def only_one_route(table: Table) -> str:
    """State how many findings hold under both routes, and how many under one only.

    Parameters
    ----------
    table
        Result of :func:`read_findings` with two routes.
    """
    holds = table.frame["holds"]
    parts = [f"{(holds == f'only {route}').sum()} only {route}" for route in table.verdicts]
    return (
        f"Where both routes judge a finding, {(holds == 'yes').sum()} hold under both, "
        f"{(holds == 'no').sum()} under neither, {' and '.join(parts)}."
    )
