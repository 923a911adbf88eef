"""The answer in a few sentences, computed from the tables and maps."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from proda.comparison.model_files import AFTER, BEFORE, END_TO_END
from proda.comparison.paper import CORRELATIONS, PAIR
from proda.inference.assessment import Assessment
from proda.latitude import GLOBE
from proda.maps.map_comparison import compare
from proda.maps.totals import land_area, totals
from proda.plots.before_after import before_and_after
from proda.study.report.assessments import assessment_of
from proda.study.report.elements import Block, Items, Notice, Text, minus, not_run
from proda.study.report.map_tables import CONSTRAINED, DEFAULT, STOCK, map_of
from proda.study.report.results import StudyResults
from proda.study.report.sections.findings import FINDINGS, read_findings, tally, without_pair
from proda.study.report.sections.projections import agreement_in_words
from proda.study.report.tables import read_csv

STATES = {
    BEFORE: (DEFAULT, "with default parameters"),
    END_TO_END: (CONSTRAINED[END_TO_END], "constrained by the profiles end to end"),
    AFTER: (CONSTRAINED[AFTER], "constrained by the profiles from posteriors"),
}
"""By state of the comparison: the map and its description."""

CRITERIA = {
    "log_evidence": "log evidence",
    "elpd_loo": "predictive density (PSIS-LOO)",
    "elpd_waic": "predictive density (WAIC)",
}
_CORRELATION = ("first", "second", "state", "variable", "r", "low", "high", "n_effective")
_AGREEMENT = (
    "variable",
    "state",
    "models",
    "pairs",
    "mean_r",
    "low",
    "high",
    "change",
    "change_error",
    "share_rising",
)
_EVIDENCE = (
    "measure",
    "grouping",
    "model",
    "sites",
    "mean",
    "difference",
    "standard_error",
    "share_preferred",
)
_PREFERENCE = (
    "first",
    "second",
    "criterion",
    "grouping",
    "sites",
    "median",
    "low",
    "high",
    "prefer_second",
)


def answer(study: StudyResults) -> list[Block]:
    """Return the answer (convergence, totals, sites, findings) from the files of this run."""
    sentences: list[str] = []
    blocks: list[Block] = []
    states = (BEFORE, *study.routes)
    table = read_findings(study)
    if table is None:
        blocks.append(not_run("comparison", "verdict on the paper's findings"))
    else:
        absent = without_pair(study)
        sentences += [] if absent else _convergence(study)
        blocks += [*([Text(absent)] if absent else []), *map(Text, tally(table))]
    if len(study.models) > 2:
        sentences += _agreement(study, blocks)
    correlations = _rows(study, "correlations", _CORRELATION, blocks)
    blocks = [*_picture(study, correlations), *blocks]
    for state in states:
        sentences += _correlations(study, state, correlations) + _totals(study, state)
    sentences += agreement_in_words(study)
    preference = _rows(study, "preference", _PREFERENCE, blocks)
    if len(study.models) > 2:
        sentences += _evidence(study, blocks)
    elif preference is not None:
        sentences += _preference(preference)
    for model in study.models if AFTER in study.routes else ():
        assessment = assessment_of(study, model)
        if assessment is None:
            blocks.append(not_run(f"assimilation of {model.upper()}", "fit of it"))
        else:
            sentences.append(_sites(model, assessment))
    if not study.models:
        blocks.append(Notice("No model of this study has any result yet."))
    lacking = [
        f"{model.upper()} {words}"
        for file, words in (STATES[s] for s in states)
        for model in study.models
        if not (study.path / model / file).is_file()
    ]
    if lacking:
        blocks.append(Notice(f"Maps that have not been computed: {', '.join(lacking)}."))
    if sentences:
        blocks.append(Items(tuple(sentences)))
    return blocks


def _convergence(study: StudyResults) -> list[str]:
    """Quote the paper's main finding with the verdict of the comparison."""
    frame = read_csv(study.comparison_table(FINDINGS))
    rows = _records(frame[frame["id"] == "r_rises"]) if "id" in frame else []
    sentences = []
    for row in rows:
        why = f" ({row['reason']})" if isinstance(row["reason"], str) else ""
        route = f", {row['route']}" if len(rows) > 1 else ""
        sentences.append(
            minus(
                f"Do the models converge? The paper: {row['paper']}. This run{route}: "
                f"{row['run']}. Verdict: {row['verdict']}{why}."
            )
        )
    return sentences


def _rows(
    study: StudyResults, name: str, columns: tuple[str, ...], blocks: list[Block]
) -> pd.DataFrame | None:
    """Return a table of the comparison, or None if it does not exist or cannot be quoted."""
    path = study.comparison_table(name)
    frame = read_csv(path) if path.is_file() else pd.DataFrame()
    if frame.empty:
        return None
    if lacking := [c for c in columns if c not in frame]:
        blocks.append(
            Notice(
                f"comparison/{name}.csv is shown below but not quoted here: it has no "
                f"column {', '.join(lacking)}."
            )
        )
        return None
    return frame


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _agreement(study: StudyResults, blocks: list[Block]) -> list[str]:
    """State whether more than two models agree more on carbon than before."""
    table = _rows(study, "agreement", _AGREEMENT, blocks)
    if table is None:
        return []
    sentences = []
    for row in _records(table[table["variable"] == STOCK]):
        if row["state"] not in STATES or not row["pairs"]:
            continue
        change = ""
        if np.isfinite(row["change"]):
            error = f" ± {row['change_error']:.2f}" if np.isfinite(row["change_error"]) else ""
            change = (
                f"; the change from default parameters is {row['change']:+.2f}{error}, and r "
                f"increases for {row['share_rising']:.0%} of the pairs"
            )
        sentences.append(
            minus(
                f"{STATES[row['state']][1].capitalize()}, the maps of soil carbon (0-100 cm, "
                f"logarithms) of {row['models']} models correlate with r = {row['mean_r']:.2f} on "
                f"the mean of {row['pairs']} pairs ({row['low']:.2f} to {row['high']:.2f}){change}."
            )
        )
    return sentences


def _evidence(study: StudyResults, blocks: list[Block]) -> list[str]:
    """State which of more than two models the data prefer, measure by measure."""
    table = _rows(study, "evidence", _EVIDENCE, blocks)
    if table is None:
        return []
    sentences = []
    whole = table[(table["grouping"] == "all") & (table["sites"] > 0)]
    for measure, rows in whole.groupby("measure", sort=False):
        best, *others = _records(rows.sort_values("mean", ascending=False))
        behind = ", ".join(
            f"{str(r['model']).upper()} {r['difference']:.2f}"
            + (f" ± {r['standard_error']:.2f}" if np.isfinite(r["standard_error"]) else "")
            for r in others
        )
        sentences.append(
            minus(
                f"By {measure} ({best['sites']:,} sites that all models share), "
                f"{str(best['model']).upper()} is best on average and at "
                f"{best['share_preferred']:.0%} of the sites; mean difference from it, with "
                f"standard error: {behind}."
            )
        )
    return sentences


def _of_pairs(
    study: StudyResults, state: str, table: pd.DataFrame | None
) -> list[tuple[str, str, float, str]]:
    """Return models, r and the description of its interval, for the pairs that are quoted.

    They come from the comparison or, before it has run, from the maps.
    """
    if table is not None:
        rows = _records(table[(table["variable"] == STOCK) & (table["state"] == state)])
        if len(study.models) > 2:  # the mean of the pairs is quoted too; all are in the table
            rows = [row for row in rows if (row["first"], row["second"]) == PAIR]
        return [(row["first"], row["second"], row["r"], _interval(row)) for row in rows]
    file = STATES[state][0]
    made = [(m, d) for m in study.models if (d := map_of(study, m, file)) is not None]
    pairs = []
    for (first, x), (second, y) in combinations(made, 2):
        r = compare(x[STOCK], y[STOCK], land_area(x))["r_log"].to_dict()[GLOBE]
        pairs.append((first, second, r, " (without an interval before the comparison)"))
    return pairs


def _interval(row: Mapping[str, Any]) -> str:
    words = "no interval"
    if np.isfinite(row["low"]):
        words = f"95 % interval {row['low']:.2f} to {row['high']:.2f}"
    return f" ({words}, for {row['n_effective']:.0f} effective cells)"


def _correlations(study: StudyResults, state: str, table: pd.DataFrame | None) -> list[str]:
    """State the correlation of the models' maps in one state."""
    number = CORRELATIONS[STOCK, BEFORE if state == BEFORE else AFTER]
    sentences = []
    for first, second, r, interval in _of_pairs(study, state, table):
        paper = f" The paper has {number:g}." if {first, second} == set(PAIR) else ""
        sentences.append(
            minus(
                f"{STATES[state][1].capitalize()}, the logarithms of soil carbon (0-100 cm) of "
                f"{first.upper()} and {second.upper()} correlate over land, weighted by area, with "
                f"r = {r:.2f}{interval}.{paper}"
            )
        )
    return sentences


def _picture(study: StudyResults, correlations: pd.DataFrame | None) -> list[Block]:
    """Return the maps of all models, before and after profiles constrain them."""
    maps, parts = {}, []
    for state in (BEFORE, *study.routes):
        file, words = STATES[state]
        made = {m: d for m in study.models if (d := map_of(study, m, file)) is not None}
        if made:
            maps[words] = made
            pairs = _of_pairs(study, state, correlations)
            parts += [f"r = {r:.2f} {words}" for _, _, r, _ in pairs] if len(pairs) == 1 else []
    if not maps:
        return []
    title = "Soil carbon in 0-100 cm before and after profiles constrain the models"
    if parts:
        title = f"Correlation of the models' maps of soil carbon\n{minus(', '.join(parts))}"
    caption = (
        "Organic carbon in 0-100 cm of every model, before and after the profiles constrain it; "
        "all maps have one colour scale."
    )
    figure = before_and_after(maps, title)
    return [study.draw(figure, "answer_before_and_after", caption, "answer")]


def _totals(study: StudyResults, state: str) -> list[str]:
    file, words = STATES[state]
    sentences = []
    for model in study.models:
        dataset = map_of(study, model, file)
        if dataset is not None:
            table = totals(dataset).reset_index()
            globe = table[(table["zone"] == GLOBE) & (table["stock"] == STOCK)]
            row = _records(globe)[0]
            spread = f" ± {row['sd']:,.0f}" if np.isfinite(row["sd"]) else ""
            sentences.append(
                f"{model.upper()} {row['mean']:,.0f}{spread} Pg C (on "
                f"{row['answered']:.1%} of the mapped land)"
            )
    if not sentences:
        return []
    return [f"{words.capitalize()}, the first metre of soil contains: {'; '.join(sentences)}."]


def _preference(table: pd.DataFrame) -> list[str]:
    sentences = []
    for row in _records(table[table["grouping"] == "all"]):
        if row["sites"] > 0:
            criterion = CRITERIA.get(row["criterion"], row["criterion"])
            tie = "" if row["low"] > 0 or row["high"] < 0 else "; the interval contains 0"
            sentences.append(
                minus(
                    f"By {criterion}, {str(row['second']).upper()} is "
                    f"preferred to {str(row['first']).upper()} at {row['prefer_second']:.0%} of "
                    f"{row['sites']:,} sites; the median difference is {row['median']:.2g} (95 % "
                    f"interval {row['low']:.2g} to {row['high']:.2g}{tie})."
                )
            )
    return sentences


def _sites(model: str, assessment: Assessment) -> str:
    kept, n = int(assessment.kept.sum()), len(assessment.sites)
    caveat = f" {assessment.caveat}." if assessment.caveat else ""
    return (
        f"{model.upper()} was fitted to {n:,} profiles, of which {kept:,} ({kept / n:.0%}) "
        f"pass the filter and are used for training.{caveat}"
    )
