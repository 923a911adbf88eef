"""What the paper found, what this run finds, and whether they agree."""

from __future__ import annotations

import pandas as pd

from proda.comparison.paper import PAIR
from proda.comparison.routes import side_by_side
from proda.errors import FileError
from proda.study.report.comparison_tables import compared
from proda.study.report.elements import Block, Notice, Table, Text, not_run
from proda.study.report.results import StudyResults

VERDICT = ("verdict", "agrees", "agreement")
"""Names that the column with the judgement may have."""

FINDINGS = "findings"
"""Table of the comparison."""

LABELS = {
    "paper": "what the paper says",
    "run": "what this run says",
    "section": "where in the paper",
    "reason": "why not judged",
    "rule": "how it is judged",
    "holds": "does it hold?",
}


def findings(study: StudyResults) -> list[Block]:
    """Return the findings table, with how many agree."""
    blocks: list[Block] = []
    table = read_findings(study)
    if table is None:
        blocks.append(not_run("comparison", "table of findings"))
    else:
        blocks += [
            Text("Each row is judged by the rule it names, from the numbers of this run."),
            *([Text(lacking)] if (lacking := without_pair(study)) else []),
            *([Text(only_one_route(table))] if "holds" in table.frame else []),
            table,
        ]
        if study.record.synthetic:
            blocks.insert(
                0,
                Notice(
                    "The data are synthetic: agreement with the paper, or the lack "
                    "of it, says nothing about real soils."
                ),
            )
    return blocks


def without_pair(study: StudyResults) -> str:
    """Say which of the paper's models the study lacks, and what follows; "" if it has both."""
    lacking = [name.upper() for name in PAIR if name not in study.models]
    if not lacking or not study.models:
        return ""
    return (
        f"The paper compares CLM5 and COMPAS. This study has no {' and no '.join(lacking)}: "
        "findings on it, and on both together, cannot be judged. The other models are compared "
        "by the tables of agreement, evidence and carbon."
    )


def read_findings(study: StudyResults) -> Table | None:
    """Return the findings with their columns of verdicts, None before the comparison.

    Judged under two routes, each finding is one row, with the verdict under each.

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
    """Return how a verdict is marked: `yes`, `no` or `open` (not judged)."""
    word = str(verdict).strip().lower()
    if word in ("yes", "true", "holds") or word.startswith("agree"):
        return "yes"
    if word in ("no", "false") or word.startswith(("disagree", "does not", "not agree")):
        return "no"
    return "open"


def tally(table: Table) -> list[str]:
    """Say how many of the findings of :func:`read_findings` agree, do not, cannot be judged.

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
    """Say how many findings hold under both routes, and how many under one while the other fails.

    Parameters
    ----------
    table
        Of :func:`read_findings`, judged under two routes.
    """
    holds = table.frame["holds"]
    parts = [f"{(holds == f'only {route}').sum()} only {route}" for route in table.verdicts]
    return (
        f"Where both routes judge a finding, {(holds == 'yes').sum()} hold under both, "
        f"{(holds == 'no').sum()} under neither, {' and '.join(parts)}."
    )
