"""How well the networks predict sites that they have not seen."""

from __future__ import annotations

from proda.study.report.blocks import Block, Heading, Section
from proda.study.report.folder import StudyFolder
from proda.study.report.missing import not_run

TABLES = (
    ("skill_carbon", "predicted soil carbon at sites held out"),
    ("skill_parameters", "predicted parameters at sites held out"),
)


def skill(study: StudyFolder) -> Section:
    """Return the cross-validation of every model's networks."""
    blocks: list[Block] = []
    for model in study.models:
        blocks.append(Heading(model.upper()))
        for name, words in TABLES:
            table = study.table(f"{model}/network/{name}.csv", f"{model}_{name}",
                                f"{model.upper()}: {words}")  # fmt: skip
            blocks.append(table or not_run(f"training of {model.upper()}", f"table of {words}"))
    if not study.models:
        blocks.append(not_run("training", "skill"))
    blocks += study.pictures("skill")
    return Section("skill", "Skill of the networks", tuple(blocks))
