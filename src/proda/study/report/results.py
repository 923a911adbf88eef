"""The results of a study for the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from proda.comparison.model_files import AFTER, END_TO_END, ROUTES
from proda.errors import FileError
from proda.files import parse_toml, reading
from proda.label import LABEL_COLUMN
from proda.layout import RunFolder
from proda.plots.figure_files import save_figure, saved_figure, saved_figures
from proda.plots.training import CAPTIONS, THROUGH_CAPTIONS
from proda.study.record import Record, read_record
from proda.study.report.elements import Picture, Table
from proda.study.report.tables import read_csv

_PLANNED = {"end-to-end": (END_TO_END,), "posterior": (AFTER,), "both": (END_TO_END, AFTER)}
STATES = {"before": "default", AFTER: ROUTES[AFTER], END_TO_END: ROUTES[END_TO_END]}
"""Names of the states of the comparison in the report."""


@dataclass(frozen=True)
class StudyResults(RunFolder):
    """Paths of a study, the record of `proda run`, and the figures drawn by the report."""

    record: Record
    settings: str
    """The text of study.toml; empty if there is none."""
    models: tuple[str, ...]
    routes: tuple[str, ...] = tuple(ROUTES)
    """Routes by which profiles constrain the models (states of the comparison), from the settings
    or the existing files."""
    drawn: list[str] = field(default_factory=list)
    """Stems of the figures drawn so far."""
    without_attribution: bool = False
    """Whether the settings switch off the attribution."""
    forcing_file: Path | None = None
    """Forcing that the settings name, instead of forcing that the study estimates."""

    @property
    def forcing(self) -> Path:
        """Forcing on the grid."""
        return self.forcing_file or super().forcing

    def table(self, path: Path, stem: str, title: str, note: str = "") -> Table | None:
        """Return a CSV of a stage, or None if the stage wrote none.

        States of the comparison are replaced by their names in the report.

        Raises
        ------
        FileError
            If it is damaged.
        """
        if not path.is_file():
            return None
        frame = read_csv(path).drop(columns=LABEL_COLUMN, errors="ignore")
        if "state" in frame:
            frame = frame.assign(state=frame["state"].replace(STATES))
        return Table(stem, title, frame, note)

    def picture(self, stem: str) -> Picture:
        """Return a saved figure."""
        described = saved_figure(self.figures / f"{stem}.json")
        path = self.figures / f"{stem}.png"
        png = path.read_bytes()
        if not (png.startswith(b"\x89PNG") and b"IEND" in png[-16:]):
            raise FileError(f"{path}: incomplete PNG; draw it again.")
        return Picture(stem, described.title, described.caption, png)

    def pictures(self, section: str) -> Iterator[Picture]:
        """Yield the figures that stages saved for a section, of the routes that the study has."""
        other = set(self._of_other_routes())
        for stem, described in list(saved_figures(self.figures)):
            own = described.section == section and described.drawn_by != "report"
            if own and stem not in other:
                yield self.picture(stem)

    def _of_other_routes(self) -> Iterator[str]:
        """Yield the figures of trainings by a route that is no longer in the settings."""
        for model in self.models:
            if AFTER not in self.routes:
                yield from (f"{model}_{name}" for name in CAPTIONS)
            if END_TO_END not in self.routes:
                yield from (f"{model}_end_to_end_{name}" for name in THROUGH_CAPTIONS)

    def draw(self, figure: Figure, stem: str, caption: str, section: str) -> Picture:
        """Save a figure that the report draws itself, close it, and return it."""
        save_figure(figure, self.figures, stem, caption, section, drawn_by="report")
        self.drawn.append(stem)
        return self.picture(stem)


def open_results(path: str | os.PathLike[str]) -> StudyResults:
    """Open the folder of a study.

    Its settings are not checked, so that a report can be written when the sources of the study no
    longer exist.

    Raises
    ------
    FileError
        If it is not the folder of a study, or study.toml is damaged.
    StudyError
        If study.json is damaged.
    """
    place = RunFolder(Path(path))
    if not place.record_file.is_file():
        raise FileError(f"{place.path}: not the folder of a study (it contains no study.json).")
    record = read_record(place.path)
    text, given = _settings(place.settings_file)
    planned = [str(name) for name in given.get("study", {}).get("models", ())]
    routes: tuple[str, ...] = _PLANNED.get(given.get("learning", {}).get("route", ""), ())
    written = {END_TO_END: place.from_end_to_end, AFTER: place.from_posteriors}
    # Planned models first, including those without a folder, which the sections report.
    made = [
        p.name
        for p in sorted(place.path.iterdir())
        if p.is_dir()
        and any(
            file.exists()
            for file in (
                place.default_map(p.name),
                *(f for paths in written.values() for f in paths(p.name)),
            )
        )
    ]
    models = tuple(dict.fromkeys([*planned, *made]))
    # Results of a route that is no longer in the settings are not shown.
    routes = routes or tuple(
        route
        for route, paths in written.items()
        if any(file.exists() for model in models for file in paths(model))
    )
    file = given.get("forcing", {}).get("file")
    unattributed = given.get("attribution", {}).get("compute") is False
    return StudyResults(
        place.path,
        record,
        text,
        models,
        routes or tuple(ROUTES),
        without_attribution=unattributed,
        forcing_file=Path(file) if file else None,
    )


def _settings(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the settings as text and as values; empty if there are none."""
    if not path.is_file():
        return "", {}
    with reading(path, "file of settings"):
        text = path.read_text("utf-8")
        return text, parse_toml(text.encode(), str(path))
