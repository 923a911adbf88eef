"""The answer in a few sentences, computed from the tables and maps."""

from __future__ import annotations

import numpy as np

from proda.inference.assessment import Assessment
from proda.maps.compare import compare
from proda.maps.totals import GLOBE, land_area, open_map, totals
from proda.study.report.assessments import assessment_of
from proda.study.report.blocks import Block, Items, Notice, Section, Text
from proda.study.report.folder import StudyFolder
from proda.study.report.missing import not_run
from proda.study.report.sections.findings import read_findings, tally

STOCK = "cSoilAbove1m"
PAPER = {"default.nc": "−0.026", "maps.nc": "0.51"}
"""Correlation of log SOC of the two models in the study (P-section 3)."""


def answer(study: StudyFolder) -> Section:
    """Return the answer: convergence, totals, sites, findings, each from this run's files."""
    if not study.models:
        return Section("answer", "The answer", (
            not_run("assimilation", "answer: no model of this study has any result"),
        ))  # fmt: skip
    said: list[str] = []
    for file, words in (("default.nc", "with default parameters"),
                        ("maps.nc", "constrained by the profiles")):  # fmt: skip
        said += _correlations(study, file, words) + _totals(study, file, words)
    for model in study.models:
        found = assessment_of(study, model)
        if found is not None:
            said.append(_sites(model, found))
    blocks: list[Block] = [Items(tuple(said))] if said else []
    table = read_findings(study)
    if table is None:
        blocks.append(not_run("comparison", "verdict on the paper's findings"))
    else:
        blocks.insert(0, Text(tally(table)))
    lacking = [f"{m.upper()} ({file})" for file in PAPER for m in study.models
               if not (study.path / m / file).is_file()]  # fmt: skip
    if lacking:
        blocks.append(Notice(f"Maps that have not been made: {', '.join(lacking)}."))
    blocks += study.pictures("answer")
    return Section("answer", "The answer", tuple(blocks))


def _correlations(study: StudyFolder, file: str, words: str) -> list[str]:
    made = [m for m in study.models if (study.path / m / file).is_file()]
    told = []
    for i, first in enumerate(made):
        for second in made[i + 1 :]:
            x, y = (open_map(study.path / m / file) for m in (first, second))
            r = float(compare(x[STOCK], y[STOCK], land_area(x)).loc[GLOBE, "r_log"])
            paper = (f" The paper has {PAPER[file]}." if {first, second} == {"clm5", "compas"}
                     else "")  # fmt: skip
            told.append(
                f"{words.capitalize()}, the logarithms of soil carbon (0-100 cm) of "
                f"{first.upper()} and {second.upper()} correlate over land, weighted by area, "
                f"with r = {r:.2f}.".replace("-0.", "−0.") + paper
            )
    return told


def _totals(study: StudyFolder, file: str, words: str) -> list[str]:
    told = []
    for model in study.models:
        path = study.path / model / file
        if path.is_file():
            row = totals(open_map(path)).loc[(GLOBE, STOCK)]
            spread = f" ± {row['sd']:,.0f}" if np.isfinite(row["sd"]) else ""
            told.append(f"{model.upper()} {row['mean']:,.0f}{spread} Pg C (on "
                        f"{row['answered']:.1%} of the mapped land)")  # fmt: skip
    if not told:
        return []
    return [f"{words.capitalize()}, the first metre of soil holds: {'; '.join(told)}."]


def _sites(model: str, found: Assessment) -> str:
    kept, n = int(found.kept.sum()), len(found.sites)
    caveat = f" {found.caveat}." if found.caveat else ""
    return (f"{model.upper()} was fitted to {n:,} profiles, of which {kept:,} ({kept / n:.0%}) pass "
            f"the filter and are learnt from.{caveat}")  # fmt: skip
