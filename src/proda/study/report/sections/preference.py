"""Which model structure the data prefer."""

from __future__ import annotations

from dataclasses import replace

from proda.comparison.inputs import AFTER
from proda.study.report.blocks import Block, Heading, Notice, Section, Table, Text
from proda.study.report.missing import not_run
from proda.study.report.results import StudyResults

_OF_PAIRS = (
    "A profile with few layers often cannot tell two structures apart. A difference in expected "
    "predictive density counts only where it is clearly larger than its standard error, and "
    "PSIS-LOO is not to be trusted where Pareto k exceeds 0.7 (shares in the tables of the "
    "assimilation)."
)
_OF_ALL = (
    "All models are judged by the same data: sites that each was assimilated at and that passed "
    "the filter for each, and layers that the networks of each have left out of their training. "
    "The log evidence charges a model for the width of its prior; the densities at places left out "
    "do not, but they also depend on how well covariates predict its parameters. The standard "
    "errors take blocks of 5 degrees as independent. A stacking weight is the share of a model in "
    "the mixture of all models that predicts best: it is not the probability that the model is "
    "right, and of two models that predict alike either may have the weight of both."
)
_SKILL = (
    "Shown: all layers left out; the file also has depths, zones, climates, warm and cold soil. "
    "Natural logarithms. constant: one calibrated set of parameters; depth, boosting and plain "
    "network have no soil model, the ceiling is what no map of half-degree cells can exceed; they "
    "stand once for each route, under the model “none”."
)


def preference(study: StudyResults) -> Section:
    """Return evidence, stacking weights and skill of all models, and the pairs by zone."""
    table = study.table(
        study.comparison_table("preference"),
        "comparison_preference",
        "Which structure the data prefer, by pair and zone",
    )
    blocks: list[Block] = []
    if table is None:
        blocks.append(not_run("comparison", "preference between structures"))
    else:
        blocks += _of_all(study)
        if table.frame.empty and AFTER not in study.routes:
            blocks.append(not_run("assimilation", "evidence at sites"))
        else:
            blocks += [Heading("Pairs of models at sites"), Text(_OF_PAIRS), table]
    blocks += study.pictures("preference")
    return Section("preference", "Which structure the data prefer", tuple(blocks))


def _of_all(study: StudyResults) -> list[Block]:
    """Return what all models have in common to be judged by; nothing of older comparisons."""
    evidence = study.table(
        study.comparison_table("evidence"),
        "comparison_evidence",
        "Log densities of the same data by every model",
    )
    if evidence is None:
        return []
    blocks: list[Block] = [Text(_OF_ALL)]
    judged = evidence.frame[evidence.frame["sites"] > 0]
    shown = judged.drop(columns="reason").sort_values(
        ["measure", "mean"], ascending=[True, False], kind="stable"
    )
    if len(shown):
        blocks.append(_all_sites(replace(evidence, frame=shown, note=_EVIDENCE)))
    for why, rows in evidence.frame[evidence.frame["sites"] == 0].groupby("reason", sort=False):
        names = ", ".join(str(n).upper() for n in dict.fromkeys(rows["model"]))
        blocks.append(
            Notice(
                f"Not judged by {' and '.join(dict.fromkeys(rows['measure']))}: {names} ({why})."
            )
        )
    stacking = study.table(
        study.comparison_table("stacking"), "comparison_stacking", "Stacking weights of the models"
    )
    if stacking is not None and len(stacking.frame):
        blocks.append(_all_sites(replace(stacking, note="Shown: all sites.")))
    skill = study.table(
        study.comparison_table("skill_left_out"),
        "comparison_skill_left_out",
        "Carbon at places left out, by every model and without one",
    )
    if skill is not None and len(skill.frame):
        blocks.append(replace(skill, note=_SKILL, only=("by", "all")))
    return blocks


_EVIDENCE = (
    "Shown: all sites; the file also has zones. Natural logarithms; total and mean per site. "
    "difference: of the mean to the best model's; behind best of site: to the model that is best "
    "at each site, on average; sampling error: of the total, by the chains' spread."
)


def _all_sites(table: Table) -> Table:
    return replace(table, only=("grouping", "all"))
