"""Rules for what the paper says of components, judged by an attribution (`proda attribute`)."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from proda import files
from proda.attribution.measures import MOVED, STOCK, VARIANCE
from proda.attribution.single import ONE_AT_A_TIME, SHAPLEY
from proda.comparison.evidence import Evidence
from proda.comparison.inputs import ROUTES
from proda.comparison.paper import PAIR
from proda.comparison.rules import Judgement, Rule, Verdict, decide
from proda.errors import ComparisonError

IMPORTANCE = "importance"
LACKING = "needs the attribution of the maps of {} (`proda attribute`)"
LITTLE, MUCH = ("V", "B"), ("CTE", "K", "XI")
_OF_PUBLISHED = {"CUE": "CTE", "transfer": "CTE"}


def read_importance(folder: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    """Return the table of importance of an attribution, with the states of the comparison.

    Raises
    ------
    ComparisonError
        If the file is damaged.
    """
    path = Path(folder) / f"{IMPORTANCE}.csv"
    if not path.is_file():
        return {}
    table = files.read_csv(path, what="table of `proda attribute`", kind=ComparisonError,
                           needed=("model", "route", "method", "component", "measure", "value"))  # fmt: skip
    states = {words: state for state, words in ROUTES.items()}
    return {IMPORTANCE: table.assign(state=table["route"].map(states))}


def _values(e: Evidence, model: str, method: str, measure: str) -> pd.Series:
    rows = e.rows(IMPORTANCE, LACKING.format(model), state="after", model=model, method=method,
                  measure=measure)  # fmt: skip
    names = rows["component"].replace(_OF_PUBLISHED)
    # Of a component that the published method splits, the larger part counts.
    return rows["value"].groupby(names, sort=False).max()


def transport_matters_little(e: Evidence) -> Judgement:
    """Judge whether V and B change less carbon than CTE, K and XI, for both models."""
    parts, verdicts = [], []
    for method, measure, words in ((ONE_AT_A_TIME, STOCK, "one at a time"),
                                   (SHAPLEY, MOVED, "Shapley")):  # fmt: skip
        holds = []
        for model in PAIR:
            found = _values(e, model, method, measure)
            holds.append(bool(found[[*LITTLE]].max() < found[[*MUCH]].min()))
            told = ", ".join(f"{c} {found[c]:,.0f}" for c in (*MUCH, *LITTLE))
            parts.append(f"{words}, {model}: {told} Pg")
        verdicts.append(all(holds))
    says = "; ".join(parts)
    if verdicts[0] != verdicts[1]:
        return Judgement(says, Verdict.UNDECIDED, "the two methods differ")
    return decide(says, verdicts[0])


def converged_shape_pattern(model: str) -> Rule:
    """Judge whether CTE, K and XI add more variance to a model's map than V, B and I."""

    def judge(e: Evidence) -> Judgement:
        found = _values(e, model, SHAPLEY, VARIANCE)
        much = float(found[[*MUCH]].sum())
        rest = float(found.sum()) - much
        told = ", ".join(f"{c} {v:+.2f}" for c, v in found.items())
        return decide(f"{told}: {much:+.2f} against {rest:+.2f}", much > rest)

    return judge
