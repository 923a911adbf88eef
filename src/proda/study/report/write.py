"""Put the report together and write it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from proda.files import whole_file
from proda.plots.files import saved_figures
from proda.study.report.blocks import Section, Table
from proda.study.report.render import render
from proda.study.report.results import StudyResults, open_results
from proda.study.report.sections.answer import answer
from proda.study.report.sections.assimilation import assimilation
from proda.study.report.sections.cost import cost
from proda.study.report.sections.counterparts import counterparts
from proda.study.report.sections.data import data
from proda.study.report.sections.findings import findings
from proda.study.report.sections.further import further
from proda.study.report.sections.models import models
from proda.study.report.sections.preference import preference
from proda.study.report.sections.routes import routes
from proda.study.report.sections.settings import settings
from proda.study.report.sections.skill import skill
from proda.study.report.sections.sources import sources
from proda.study.report.sections.totals import totals
from proda.study.report.sections.truth import truth

SECTIONS: tuple[Callable[[StudyResults], Section | None], ...] = (
    answer,
    truth,
    findings,
    routes,
    counterparts,
    data,
    models,
    assimilation,
    preference,
    skill,
    totals,
    cost,
    settings,
    sources,
)

FIGURES_OF = (
    "answer",
    "truth",
    "findings",
    "figure-2",
    "figure-3",
    "figure-4",
    "figure-5",
    "figure-s1",
    "figure-s2",
    "figure-s3",
    "data",
    "models",
    "assimilation",
    "preference",
    "skill",
    "totals",
)
"""Keys by which the sidecar of a figure can name its place."""


def write_report(
    run: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write report.html of a study, with its figures (figures/) and tables (tables/).

    A stage that has not been run has a sentence that says so. What stages saved is read anew, so
    the report can be written again at any time. Tables and figures of an earlier report that no
    longer belong to it are removed.

    Parameters
    ----------
    run
        The folder of a study, as `proda run` makes it (docs/report.md says what is read).
    progress
        Called with (sections done, sections in all).

    Returns
    -------
    Path of report.html.

    Raises
    ------
    FileError, StudyError
        If the folder is no study's, or naming the file that is damaged.
    """
    study = open_results(run)
    known = FIGURES_OF if study.record.synthetic else tuple(k for k in FIGURES_OF if k != "truth")
    last: Callable[[StudyResults], Section | None] = partial(further, known=known)
    jobs = (*SECTIONS, last)
    sections: list[Section] = []
    for done, job in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs))
        section = job(study)
        sections += [section] if section is not None else []
    _write_tables(study.tables, sections)
    _remove_old_figures(study)
    target = study.report
    with whole_file(target) as temporary:
        temporary.write_text(render(study.record, sections), "utf-8")
    if progress is not None:
        progress(len(jobs), len(jobs))
    return target


def _write_tables(folder: Path, sections: list[Section]) -> None:
    folder.mkdir(exist_ok=True)
    tables = [b for s in sections for b in s.blocks if isinstance(b, Table)]
    for table in tables:
        with whole_file(folder / f"{table.stem}.csv") as temporary:
            table.frame.to_csv(temporary, index=False)
    written = {f"{table.stem}.csv" for table in tables}
    for old in folder.glob("*.csv"):
        if old.name not in written:
            old.unlink()


def _remove_old_figures(study: StudyResults) -> None:
    folder = study.figures
    for stem, described in list(saved_figures(folder)):
        if described.drawn_by == "report" and stem not in study.drawn:
            for ending in ("json", "png", "pdf"):
                (folder / f"{stem}.{ending}").unlink(missing_ok=True)
