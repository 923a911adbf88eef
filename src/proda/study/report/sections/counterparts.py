"""The counterparts of the paper's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from proda.models.registry import load_recorded
from proda.observations.build_summary import read_build
from proda.plots.assimilation_marginals import marginals
from proda.plots.profiles import site_map
from proda.study.report.assessments import assessment_of, draws_of
from proda.study.report.comparison_tables import compared
from proda.study.report.elements import Block, Heading, Notice, not_run
from proda.study.report.map_tables import CONSTRAINED, DEFAULT, land_of
from proda.study.report.results import StudyResults
from proda.study.report.sections.counterpart_maps import by_maps

KEY = "counterparts"


def _by_comparison(study: StudyResults) -> list[Block]:
    if study.comparison.is_dir():
        return [Notice("The comparison has been run, but it has no figure for this.")]
    return [not_run("comparison", "counterpart of this figure")]


def _site_map(study: StudyResults) -> list[Block]:
    folder = study.profiles
    if not folder.is_dir():
        return [not_run("profiles", "map of them")]
    _, profiles, _ = read_build(folder, ["profile_id"])
    group = profiles["collection"].fillna(profiles["source"])
    table = pd.DataFrame({"lat": profiles["lat"], "lon": profiles["lon"], "group": group})
    return [
        study.draw(
            site_map(table, land_of(study)),
            "profiles_map",
            "Usable profiles by collection, before the study's choice of sites and its filter.",
            KEY,
        )
    ]


def _marginals(study: StudyResults) -> list[Block]:
    blocks: list[Block] = []
    for model in study.models:
        assessment, opened = assessment_of(study, model), draws_of(study, model)
        if assessment is None or opened is None:
            blocks.append(not_run(f"assimilation of {model.upper()}", "posterior"))
            continue
        if not assessment.sampled.any():
            continue  # reported in the section on assimilation
        rows = load_recorded(assessment.summary.attrs, f"the posterior of {model}").rows
        figure = marginals(assessment, opened[0], {row.name: row.default for row in rows})
        blocks.append(
            study.draw(
                figure,
                f"{model}_marginals",
                f"{model.upper()}: posterior means of all kept sites (grey), posteriors of three "
                "of them, the prior, and the default. The paper shows one site; several sites "
                "show the differences between them.",
                KEY,
            )
        )
    return blocks or [not_run("assimilation", "posterior")]


def _before(study: StudyResults) -> list[Block]:
    return by_maps(study, DEFAULT, "figure-2")


def _after(study: StudyResults) -> list[Block]:
    maps = [by_maps(study, CONSTRAINED[route], "figure-3") for route in study.routes]
    return [block for blocks in maps for block in blocks]


FIGURES: Mapping[str, tuple[str, Callable[[StudyResults], list[Block]]]] = {
    "figure-2": ("Figure 2: soil carbon with default parameters", _before),
    "figure-3": ("Figure 3: soil carbon after data assimilation", _after),
    "figure-4": ("Figure 4: the six components after data assimilation", _by_comparison),
    "figure-5": ("Figure 5: Michaelis constants and their substrates (COMPAS)", _by_comparison),
    "figure-s1": ("Figure S1: locations of the profiles", _site_map),
    "figure-s2": ("Figure S2: posterior distributions at sites", _marginals),
    "figure-s3": ("Figure S3: share of litter carbon that reaches mineral soil", _by_comparison),
}
"""Figures of the paper, in its order: title, and the function that draws it if no stage saved
one."""


def counterparts(study: StudyResults) -> list[Block]:
    """Return the counterpart of every figure of the paper.

    Figures that a stage saved under the key of a figure are shown; otherwise the report draws the
    figure from the files of earlier stages, if possible.
    """
    blocks: list[Block] = []
    for key, (title, draw) in FIGURES.items():
        blocks.append(Heading(f"Counterpart of {title}"))
        blocks += list(study.pictures(key)) or draw(study)
        if key == "figure-5" and (table := compared(study, "michaelis")) is not None:
            blocks.append(table)
    return blocks
