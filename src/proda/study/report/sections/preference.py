"""Which model structure the data prefer."""

from __future__ import annotations

from proda.comparison.inputs import AFTER
from proda.study.report.blocks import Block, Section, Text
from proda.study.report.missing import not_run
from proda.study.report.results import StudyResults


def preference(study: StudyResults) -> Section:
    """Return the comparison of models by predictive density, by climate zone."""
    table = study.table(
        study.comparison_table("preference"), "comparison_preference",
        "Which structure the data prefer, by zone",
    )  # fmt: skip
    blocks: list[Block] = []
    if table is None:
        blocks.append(not_run("comparison", "preference between structures"))
    elif table.frame.empty and AFTER not in study.routes:
        blocks.append(not_run("assimilation", "preference between structures"))
    else:
        blocks += [
            Text("A profile with few layers often cannot tell two structures apart. A difference "
                 "in expected predictive density counts only where it is clearly larger than its "
                 "standard error, and PSIS-LOO is not to be trusted where Pareto k exceeds 0.7 "
                 "(shares in the tables of the assimilation)."),
            table,
        ]  # fmt: skip
    blocks += study.pictures("preference")
    return Section("preference", "Which structure the data prefer", tuple(blocks))
