"""Comparison of the two routes by which profiles constrain the models."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.comparison.model_files import COMPONENTS, STOCK
from proda.latitude import GLOBE
from proda.study.report.elements import Block, Table, Text
from proda.study.report.results import STATES, StudyResults
from proda.study.report.sections.findings import only_one_route, read_findings
from proda.study.report.tables import MISSING

COLUMNS = tuple(STATES[state] for state in ("before", "end to end", "after"))
"""States in the order of the columns."""


def _frame(study: StudyResults, name: str, *columns: str) -> pd.DataFrame:
    """Return a table of the comparison, empty if it does not exist or lacks states or columns."""
    table = study.table(study.comparison_table(name), "", "")
    frame = pd.DataFrame() if table is None else table.frame
    return frame if {"state", *columns} <= set(frame) else pd.DataFrame()


def _wide(frame: pd.DataFrame, index: list[str], values: str) -> pd.DataFrame:
    """Return one row per `index`, in the order of the table, and a column per state."""
    states = [s for s in (*COLUMNS, *frame["state"].unique()) if s in set(frame["state"])]
    wide = frame.pivot_table(
        index=index, columns="state", values=values, sort=False, aggfunc="first"
    )
    return wide[list(dict.fromkeys(states))].reset_index().rename_axis(columns=None)


def correlations(study: StudyResults) -> list[Block]:
    """Return the correlations of the models under each route."""
    frame = _frame(
        study, "correlations", "first", "second", "variable", "scale", "r", "low", "high"
    )
    if frame.empty:
        return []
    text = [_interval(*map(float, row)) for row in frame[["r", "low", "high"]].to_numpy()]
    return [
        Table(
            "routes_correlations",
            "Correlation of the models over land, by route",
            _wide(frame.assign(text=text), ["first", "second", "variable", "scale"], "text"),
            "r and its 95 % interval, which accounts for spatial autocorrelation.",
        )
    ]


def same_model(study: StudyResults) -> list[Block]:
    """Return whether the two maps of each model agree, one from each route."""
    table = study.table(study.comparison_table("between_routes"), "", "")
    columns = ("model", "variable", "scale", "r", "low", "high")
    if table is None or not set(columns) <= set(table.frame) or table.frame.empty:
        return []
    frame = table.frame
    text = [_interval(*map(float, row)) for row in frame[["r", "low", "high"]].to_numpy()]
    return [
        Table(
            "routes_same_model",
            "Correlation of each model's two maps over land, one from each route",
            _wide(frame.assign(text=text, state=frame["model"]), ["variable", "scale"], "text"),
            "Both routes use the same profiles: the profiles do not determine a component whose "
            "pattern differs between them.",
        )
    ]


def _interval(r: float, low: float, high: float) -> str:
    if not np.isfinite(r):
        return MISSING
    text = f"{r:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(low) else f"{r:.2f}"
    return text.replace("-", "−")


def components(study: StudyResults) -> list[Block]:
    """Return the means of the components under each route."""
    frame = _frame(study, "regions", "region", "model", "variable", "mean")
    if frame.empty:
        return []
    # The table also has a row "second - first" for the difference of a pair.
    own = frame[(frame["region"] == GLOBE) & ~frame["model"].astype(str).str.contains(" - ")]
    own = own[own["variable"].isin([*COMPONENTS, "litter_to_soil", "residence_time"])]
    if own.empty:
        return []
    order = {name: i for i, name in enumerate(own["variable"].unique())}
    own = own.sort_values(
        ["variable", "model"],
        key=lambda s: s.map(order) if s.name == "variable" else s,
        kind="stable",
    )
    return [
        Table(
            "routes_components",
            "Components of the models by route: means over land",
            _wide(own, ["variable", "model"], "mean"),
            "Weighted by land with soil carbon; units as in the maps.",
        )
    ]


def totals(study: StudyResults) -> list[Block]:
    """Return the carbon of the globe under each route."""
    frame = _frame(study, "totals", "source", "stock", "zone", "mean", "sd")
    if frame.empty:
        return []
    own = frame[(frame["stock"] == STOCK) & (frame["zone"] == GLOBE)]
    text = [
        f"{mean:,.0f}" + (f" ± {sd:,.0f}" if np.isfinite(sd) else "")
        for mean, sd in own[["mean", "sd"]].to_numpy(np.float64)
    ]
    return [
        Table(
            "routes_totals",
            "Carbon in 0-100 cm of the globe by route, Pg",
            _wide(own.assign(text=text), ["source"], "text"),
            "± standard deviation of the members. Numbers of the paper are in the columns of the "
            "same state.",
        )
    ]


def findings(study: StudyResults) -> list[Block]:
    """Return the findings of the paper that hold under one route only."""
    table = read_findings(study)
    if table is None or "holds" not in table.frame:
        return []
    differ = table.frame[table.frame["holds"].str.startswith("only ")]
    return [
        Text(only_one_route(table)),
        Table(
            "routes_findings",
            "Findings of the paper that hold under one route only",
            differ.drop(columns=["section", "rule"]),
            labels=table.labels,
            verdicts=table.verdicts,
        ),
    ]
