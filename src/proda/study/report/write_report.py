"""Assemble and write the report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from proda.files import whole_file, write_csv
from proda.plots.figure_files import saved_figures
from proda.study.report.contents import CONTENTS, make
from proda.study.report.elements import Section, Table
from proda.study.report.render import render
from proda.study.report.results import StudyResults, open_results
from proda.study.report.sections.counterparts import FIGURES
from proda.study.report.sections.further import further


def write_report(
    run: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write report.html of a study, with its figures (figures/) and tables (tables/).

    The report names each stage that has not been run. It can be written again at any time from the
    files of the stages. Tables and figures of an earlier report that are no longer part of it are
    removed.

    Parameters
    ----------
    run
        The folder of a study, as `proda run` writes it (docs/report.md lists the files that are
        read).
    progress
        Called with (sections done, sections in total).

    Returns
    -------
    Path of report.html.

    Raises
    ------
    FileError, StudyError
        If the folder does not belong to a study, or naming the file that is damaged.
    """
    study = open_results(run)
    sections: list[Section] = []
    for done, spec in enumerate(CONTENTS):
        if progress is not None:
            progress(done, len(CONTENTS))
        section = make(spec, study)
        sections += [section] if section is not None else []
    rest = further(study, known={*(section.key for section in sections), *FIGURES})
    sections += [rest] if rest is not None else []
    _write_tables(study.tables, sections)
    _remove_old_figures(study)
    target = study.report
    with whole_file(target) as temporary:
        temporary.write_text(render(study.record, sections), "utf-8")
    if progress is not None:
        progress(len(CONTENTS), len(CONTENTS))
    return target


def _write_tables(folder: Path, sections: list[Section]) -> None:
    folder.mkdir(exist_ok=True)
    tables = [b for s in sections for b in s.blocks if isinstance(b, Table)]
    for table in tables:
        write_csv(table.frame, folder / f"{table.stem}.csv")
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
