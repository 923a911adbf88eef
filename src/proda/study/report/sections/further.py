"""Figures and tables of stages that no other section shows."""

from __future__ import annotations

from collections.abc import Collection

from proda.plots.figure_files import saved_figures
from proda.study.report.comparison_tables import TABLES
from proda.study.report.elements import Block, Notice, Section
from proda.study.report.results import StudyResults


def further(study: StudyResults, known: Collection[str]) -> Section | None:
    """Return the remaining figures and tables, or None.

    Parameters
    ----------
    study
        The folder.
    known
        Keys of the figures that the other sections show.
    """
    blocks: list[Block] = []
    for path in sorted(study.comparison.glob("*.csv")):
        if path.stem not in TABLES:
            table = study.table(
                path, f"comparison_{path.stem}", f"Comparison: {path.stem.replace('_', ' ')}"
            )
            blocks += [table] if table is not None else []
    described = dict(saved_figures(study.figures))
    for stem, figure in described.items():
        if figure.section not in known and figure.drawn_by != "report":
            blocks.append(study.picture(stem))
    plain = [p.name for p in sorted(study.figures.glob("*.png")) if p.stem not in described]
    if plain:
        blocks.append(
            Notice(
                "Figures without a description are not shown (save them with "
                f"proda.plots.figure_files.save_figure): {', '.join(plain)}."
            )
        )
    return Section("further", "Further tables and figures", tuple(blocks)) if blocks else None
