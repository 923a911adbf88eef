"""What the paper found, what this run finds, and whether they agree."""

from __future__ import annotations

import pandas as pd

from proda.comparison.paper import PAIR
from proda.comparison.routes import side_by_side
from proda.errors import FileError
from proda.study.report.blocks import Block, Notice, Section, Table, Text
from proda.study.report.missing import not_run
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


def findings(study: StudyResults) -> Section:
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
    agreement = study.table(
        study.comparison_table("agreement"),
        "comparison_agreement",
        "Agreement of all models: mean correlation of the pairs over land",
        "Spread (sd, low, high) between pairs; the standard error leaves out one model at a time, "
        "because pairs share models. Changes are from default parameters, over the same pairs.",
    )
    if agreement is not None and len(study.models) < 3:
        agreement = None  # the one pair's numbers stand in the next table
    correlations = study.table(
        study.comparison_table("correlations"),
        "comparison_correlations",
        "Correlation of the models' maps over land",
        "The effective number of cells allows for neighbouring cells being alike; p-values from "
        "the plain number of cells are far too small.",
    )
    compensation = study.table(
        study.comparison_table("compensation"),
        "comparison_compensation",
        "Do the models' differences in decomposition and in transfer offset each other?",
        "Correlation over land of the log ratios of K and of CTE.",
    )
    blocks += [t for t in (agreement, correlations, compensation) if t is not None]
    blocks += study.pictures("findings")
    return Section("findings", "Findings: the paper and this run", tuple(blocks))


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
    path = study.comparison_table(FINDINGS)
    table = study.table(path, FINDINGS, "Findings of the paper in this run")
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
    told = []
    for column in table.verdicts:
        tones = pd.Series([tone(v) for v in table.frame[column]], dtype=str)
        count = {name: int((tones == name).sum()) for name in ("yes", "no", "open")}
        route = f" {column}" if len(table.verdicts) > 1 else ""
        told.append(
            f"Of {len(tones)} findings of the paper, this run{route} agrees with {count['yes']} "
            f"and does not agree with {count['no']}; {count['open']} could not be judged."
        )
    return [*told, *([only_one_route(table)] if "holds" in table.frame else [])]


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
