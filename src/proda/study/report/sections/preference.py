"""Which model structure the data prefer."""

from __future__ import annotations

from dataclasses import replace

from proda.comparison.model_files import AFTER
from proda.study.report.comparison_tables import compared
from proda.study.report.elements import Block, Heading, Notice, Text, not_run
from proda.study.report.results import StudyResults

_OF_PAIRS = (
    "A profile with few layers often cannot distinguish two structures. A difference in expected "
    "predictive density is meaningful only where it is clearly larger than its standard error, and "
    "PSIS-LOO is unreliable where Pareto k exceeds 0.7 (shares in the tables of the assimilation)."
)
_OF_ALL = (
    "All models are compared on the same data: sites at which each was assimilated and passed the "
    "filter, and layers that were held out from the networks of each. The log evidence penalises a "
    "model for the width of its prior; the densities at held-out places do not, but they also "
    "depend on how well covariates predict its parameters. The standard errors assume that blocks "
    "of 5 degrees are independent. A stacking weight is the share of a model in the mixture of all "
    "models with the best predictions: it is not the probability that the model is right, and of "
    "two models with the same predictions, either may have the weight of both."
)


def evidence(study: StudyResults) -> list[Block]:
    """Return how well all models predict the same data; nothing for older comparisons."""
    table = compared(study, "evidence")
    if table is None:
        return []
    judged = table.frame[table.frame["sites"] > 0]
    shown = judged.drop(columns="reason").sort_values(
        ["measure", "mean"], ascending=[True, False], kind="stable"
    )
    blocks: list[Block] = [Text(_OF_ALL), *([replace(table, frame=shown)] if len(shown) else [])]
    for why, rows in table.frame[table.frame["sites"] == 0].groupby("reason", sort=False):
        names = ", ".join(str(n).upper() for n in dict.fromkeys(rows["model"]))
        measures = " and ".join(dict.fromkeys(rows["measure"]))
        blocks.append(Notice(f"Not judged by {measures}: {names} ({why})."))
    return blocks


def pairs(study: StudyResults) -> list[Block]:
    """Return which of two models the profiles prefer, by zone."""
    table = compared(study, "preference")
    if table is None:
        return []
    if table.frame.empty and AFTER not in study.routes:
        return [not_run("assimilation", "evidence at sites")]
    return [Heading("Pairs of models at sites"), Text(_OF_PAIRS), table]
