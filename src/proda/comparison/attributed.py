"""Rules for the paper's findings on components, judged by an attribution (`proda attribute`)."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from proda import files
from proda.attribution.measures import LOG_R2, MOVED, STOCK, VARIANCE
from proda.attribution.single import ONE_AT_A_TIME, SHAPLEY
from proda.comparison.evidence import Evidence, NotJudged
from proda.comparison.finding_rules import Judgement, Rule, decide
from proda.comparison.model_files import ROUTES
from proda.comparison.paper import PAIR
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
    table = files.read_csv(
        path,
        what="table of `proda attribute`",
        kind=ComparisonError,
        needed=("model", "route", "method", "component", "measure", "value"),
    )
    states = {words: state for state, words in ROUTES.items()}
    return {IMPORTANCE: table.assign(state=table["route"].map(states))}


def _values(e: Evidence, model: str, method: str, measure: str) -> pd.Series:
    rows = e.rows(
        IMPORTANCE,
        LACKING.format(model),
        state="after",
        model=model,
        method=method,
        measure=measure,
    )
    names = rows["component"].replace(_OF_PUBLISHED)
    # For a component that the published method splits, the larger part is used.
    values: pd.Series = rows["value"].groupby(names, sort=False).max()
    return values


def transport_matters_little(e: Evidence) -> Judgement:
    """Judge whether V and B redistribute less carbon than CTE, K and XI, for both models."""
    parts, holds = [], []
    for model in PAIR:
        moved = _values(e, model, SHAPLEY, MOVED)
        holds.append(_less(moved))
        parts.append(f"{model}: {_in_words(moved, ',.0f')} Pg")
        try:
            published = _values(e, model, ONE_AT_A_TIME, STOCK)
        except NotJudged:
            continue
        parts.append(f"{model}, one at a time: {_in_words(published, ',.0f')} Pg")
    return decide("; ".join(parts), all(holds))


def transport_improves_little(e: Evidence) -> Judgement:
    """Judge whether V and B add less to the skill at profiles than CTE, K and XI."""
    parts, holds = [], []
    for model in PAIR:
        values = _values(e, model, SHAPLEY, LOG_R2)
        holds.append(_less(values))
        parts.append(f"{model}: {_in_words(values, '+.3f')}")
    return decide("; ".join(parts), all(holds))


def determinants_shape_pattern(model: str) -> Rule:
    """Judge whether CTE, K and XI add more variance to a model's map than V, B and I."""

    def judge(e: Evidence) -> Judgement:
        values = _values(e, model, SHAPLEY, VARIANCE)
        much = float(values[[*MUCH]].sum())
        rest = float(values.sum()) - much
        changes = ", ".join(f"{name} {value:+.2f}" for name, value in values.items())
        return decide(f"{changes}: {much:+.2f} against {rest:+.2f}", much > rest)

    return judge


def _less(values: pd.Series) -> bool:
    return bool(values[[*LITTLE]].max() < values[[*MUCH]].min())


def _in_words(values: pd.Series, form: str) -> str:
    return ", ".join(f"{name} {values[name]:{form}}" for name in (*MUCH, *LITTLE))
