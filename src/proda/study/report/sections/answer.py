"""The answer in a few sentences, computed from the tables and maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from proda.comparison.inputs import AFTER, BEFORE, END_TO_END
from proda.comparison.paper import PAIR
from proda.inference.assessment import Assessment
from proda.latitude import GLOBE
from proda.maps.compare import compare
from proda.maps.totals import land_area, totals
from proda.study.report.assessments import assessment_of
from proda.study.report.blocks import Block, Items, Notice, Section, Text
from proda.study.report.maps import CONSTRAINED, DEFAULT, STOCK, map_of
from proda.study.report.missing import not_run
from proda.study.report.results import StudyResults
from proda.study.report.sections.findings import FINDINGS, read_findings, tally, without_pair
from proda.study.report.tables import read_csv

STATES = {
    BEFORE: (DEFAULT, "with default parameters", "−0.026"),
    END_TO_END: (CONSTRAINED[END_TO_END], "constrained by the profiles end to end", "0.51"),
    AFTER: (CONSTRAINED[AFTER], "constrained by the profiles from posteriors", "0.51"),
}
"""By state of the comparison: map, words, and correlation of log SOC in the paper (section 3)."""

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


def answer(study: StudyResults) -> Section:
    """Return the answer: convergence, totals, sites, findings, each from this run's files."""
    said: list[str] = []
    blocks: list[Block] = []
    states = (BEFORE, *study.routes)
    table = read_findings(study)
    if table is None:
        blocks.append(not_run("comparison", "verdict on the paper's findings"))
    else:
        absent = without_pair(study)
        said += [] if absent else _convergence(study)
        blocks += [*([Text(absent)] if absent else []), *map(Text, tally(table))]
    if len(study.models) > 2:
        said += _agreement(study, blocks)
    correlations = _rows(study, "correlations", _CORRELATION, blocks)
    for state in states:
        said += _correlations(study, state, correlations) + _totals(study, state)
    preference = _rows(study, "preference", _PREFERENCE, blocks)
    if len(study.models) > 2:
        said += _evidence(study, blocks)
    elif preference is not None:
        said += _preference(preference)
    for model in study.models if AFTER in study.routes else ():
        found = assessment_of(study, model)
        if found is None:
            blocks.append(not_run(f"assimilation of {model.upper()}", "fit of it"))
        else:
            said.append(_sites(model, found))
    if not study.models:
        blocks.append(Notice("No model of this study has any result yet."))
    lacking = [
        f"{model.upper()} {words}"
        for file, words, _ in (STATES[s] for s in states)
        for model in study.models
        if not (study.path / model / file).is_file()
    ]
    if lacking:
        blocks.append(Notice(f"Maps that have not been made: {', '.join(lacking)}."))
    if said:
        blocks.append(Items(tuple(said)))
    blocks += study.pictures("answer")
    return Section("answer", "The answer", tuple(blocks))


def _convergence(study: StudyResults) -> list[str]:
    """Quote the paper's main finding as the comparison judged it."""
    frame = read_csv(study.comparison_table(FINDINGS))
    rows = _records(frame[frame["id"] == "r_rises"]) if "id" in frame else []
    told = []
    for row in rows:
        why = f" ({row['reason']})" if isinstance(row["reason"], str) else ""
        route = f", {row['route']}" if len(rows) > 1 else ""
        told.append(
            _minus(
                f"Do the models converge? The paper: {row['paper']}. This run{route}: "
                f"{row['run']}. Verdict: {row['verdict']}{why}."
            )
        )
    return told


def _rows(
    study: StudyResults, name: str, columns: tuple[str, ...], blocks: list[Block]
) -> pd.DataFrame | None:
    """Return a table of the comparison, None if it is not there or is not to be quoted."""
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
    """Say whether all of more than two models agree more on carbon than before."""
    table = _rows(study, "agreement", _AGREEMENT, blocks)
    if table is None:
        return []
    told = []
    for row in _records(table[table["variable"] == STOCK]):
        if row["state"] not in STATES or not row["pairs"]:
            continue
        change = ""
        if np.isfinite(row["change"]):
            error = f" ± {row['change_error']:.2f}" if np.isfinite(row["change_error"]) else ""
            change = (
                f"; {row['change']:+.2f}{error} against default parameters, and it rises for "
                f"{row['share_rising']:.0%} of the pairs"
            )
        told.append(
            _minus(
                f"{STATES[row['state']][1].capitalize()}, the maps of soil carbon (0-100 cm, "
                f"logarithms) of {row['models']} models correlate with r = {row['mean_r']:.2f} on "
                f"the mean of {row['pairs']} pairs ({row['low']:.2f} to {row['high']:.2f}){change}."
            )
        )
    return told


def _evidence(study: StudyResults, blocks: list[Block]) -> list[str]:
    """Say which of more than two models the data prefer, measure by measure."""
    table = _rows(study, "evidence", _EVIDENCE, blocks)
    if table is None:
        return []
    told = []
    whole = table[(table["grouping"] == "all") & (table["sites"] > 0)]
    for measure, rows in whole.groupby("measure", sort=False):
        best, *others = _records(rows.sort_values("mean", ascending=False))
        behind = ", ".join(
            f"{str(r['model']).upper()} {r['difference']:.2f}"
            + (f" ± {r['standard_error']:.2f}" if np.isfinite(r["standard_error"]) else "")
            for r in others
        )
        told.append(
            _minus(
                f"By {measure} ({best['sites']:,} sites that all models share), "
                f"{str(best['model']).upper()} is best on average and at "
                f"{best['share_preferred']:.0%} of the sites; mean difference to it, "
                f"with standard error: {behind}."
            )
        )
    return told


def _correlations(study: StudyResults, state: str, table: pd.DataFrame | None) -> list[str]:
    """Quote the comparison; before it has run, correlate the maps."""
    file, words, number = STATES[state]
    found: list[tuple[str, str, float, str]] = []
    if table is not None:
        chosen = table[(table["variable"] == STOCK) & (table["state"] == state)]
        for row in _records(chosen):
            if len(study.models) > 2 and (row["first"], row["second"]) != PAIR:
                continue  # the mean of the pairs is said; all are in the table
            interval = (
                f"95 % interval {row['low']:.2f} to {row['high']:.2f}"
                if np.isfinite(row["low"])
                else "no interval"
            )
            interval = f" ({interval}, for {row['n_effective']:.0f} effective cells)"
            found.append((row["first"], row["second"], row["r"], interval))
    else:
        made = [(m, d) for m in study.models if (d := map_of(study, m, file)) is not None]
        for i, (first, x) in enumerate(made):
            for second, y in made[i + 1 :]:
                r = compare(x[STOCK], y[STOCK], land_area(x))["r_log"].to_dict()[GLOBE]
                found.append((first, second, r, " (without an interval before the comparison)"))
    told = []
    for first, second, r, interval in found:
        paper = f" The paper has {number}." if {first, second} == {"clm5", "compas"} else ""
        told.append(
            _minus(
                f"{words.capitalize()}, the logarithms of soil carbon (0-100 cm) of "
                f"{first.upper()} and {second.upper()} correlate over land, weighted by area, with "
                f"r = {r:.2f}"
                f"{interval}.{paper}"
            )
        )
    return told


def _totals(study: StudyResults, state: str) -> list[str]:
    file, words, _ = STATES[state]
    told = []
    for model in study.models:
        found = map_of(study, model, file)
        if found is not None:
            table = totals(found).reset_index()
            globe = table[(table["zone"] == GLOBE) & (table["stock"] == STOCK)]
            row = _records(globe)[0]
            spread = f" ± {row['sd']:,.0f}" if np.isfinite(row["sd"]) else ""
            told.append(
                f"{model.upper()} {row['mean']:,.0f}{spread} Pg C (on "
                f"{row['answered']:.1%} of the mapped land)"
            )
    if not told:
        return []
    return [f"{words.capitalize()}, the first metre of soil holds: {'; '.join(told)}."]


def _preference(table: pd.DataFrame) -> list[str]:
    told = []
    for row in _records(table[table["grouping"] == "all"]):
        if row["sites"] > 0:
            criterion = CRITERIA.get(row["criterion"], row["criterion"])
            tie = "" if row["low"] > 0 or row["high"] < 0 else "; the interval holds 0"
            told.append(
                _minus(
                    f"By {criterion}, {str(row['second']).upper()} is "
                    f"preferred to {str(row['first']).upper()} at {row['prefer_second']:.0%} of "
                    f"{row['sites']:,} sites; the median difference is {row['median']:.2g} (95 % "
                    f"interval {row['low']:.2g} to {row['high']:.2g}{tie})."
                )
            )
    return told


def _sites(model: str, found: Assessment) -> str:
    kept, n = int(found.kept.sum()), len(found.sites)
    caveat = f" {found.caveat}." if found.caveat else ""
    return (
        f"{model.upper()} was fitted to {n:,} profiles, of which {kept:,} ({kept / n:.0%}) "
        f"pass the filter and are learnt from.{caveat}"
    )


def _minus(text: str) -> str:
    """Set the minus signs of numbers, not the hyphens."""
    for before in (" ", "("):
        for digit in "0123456789":
            text = text.replace(f"{before}-{digit}", f"{before}−{digit}")
    return text
