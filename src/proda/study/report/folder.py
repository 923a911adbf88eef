"""The folder of a study, as the report reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, ValidationError

from proda import faults
from proda.comparison.inputs import AFTER, END_TO_END, ROUTES
from proda.errors import FileError
from proda.files import parse_toml, reading
from proda.plots.files import save_figure, saved_figures
from proda.study.report.blocks import Picture, Table
from proda.study.report.tables import read_csv

_OF_ROUTE = {END_TO_END: ("end_to_end",),
             AFTER: ("assimilation", "diagnosis", "network", "maps.nc")}  # fmt: skip
"""What a model's folder holds of each route."""
_OF_A_MODEL = ("default.nc", *(name for names in _OF_ROUTE.values() for name in names))
_PLANNED = {"end-to-end": (END_TO_END,), "posterior": (AFTER,), "both": (END_TO_END, AFTER)}
STATES = {"before": "default", AFTER: ROUTES[AFTER], END_TO_END: ROUTES[END_TO_END]}
"""States of the comparison, as the report calls them."""


class Stage(BaseModel):
    """One stage, as `proda run` noted it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    status: str
    seconds: float | None = None
    peak_memory_bytes: float | None = None
    disk_bytes: float | None = None
    finished: str | None = None


class Record(BaseModel):
    """What study.json holds of use to the report."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    synthetic: bool
    proda_version: str
    packages: dict[str, str] = {}
    machine: dict[str, Any] = {}
    models: dict[str, dict[str, str]] = {}
    stages: dict[str, Stage] = {}


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study, what `proda run` noted, and what the report draws."""

    path: Path
    record: Record
    settings: str
    """study.toml as it stands; empty if there is none."""
    models: tuple[str, ...]
    routes: tuple[str, ...] = tuple(ROUTES)
    """How profiles constrain the models: by the settings, else by what is there; states of the
    comparison."""
    drawn: list[str] = field(default_factory=list)
    """Stems of the figures drawn so far."""

    def table(self, path: str, stem: str, title: str, note: str = "") -> Table | None:
        """Return a CSV of a stage, None if that stage wrote none.

        States of the comparison get the words of the report.

        Raises
        ------
        FileError
            If it is damaged.
        """
        source = self.path / path
        if not source.is_file():
            return None
        frame = read_csv(source)
        if "state" in frame:
            frame = frame.assign(state=frame["state"].replace(STATES))
        return Table(stem, title, frame, note)

    def picture(self, stem: str) -> Picture:
        """Return a saved figure."""
        described = dict(saved_figures(self.path / "figures"))[stem]
        png = (self.path / "figures" / f"{stem}.png").read_bytes()
        if not (png.startswith(b"\x89PNG") and b"IEND" in png[-16:]):
            raise FileError(f"{self.path / 'figures' / stem}.png: not a whole PNG; draw it again.")
        return Picture(stem, described.title, described.caption, png)

    def pictures(self, section: str) -> Iterator[Picture]:
        """Yield the figures that stages saved for a section."""
        for stem, described in list(saved_figures(self.path / "figures")):
            if described.section == section and described.drawn_by != "report":
                yield self.picture(stem)

    def draw(self, figure: Figure, stem: str, caption: str, section: str) -> Picture:
        """Save a figure that the report draws itself, close it, and return it."""
        save_figure(figure, self.path / "figures", stem, caption, section, drawn_by="report")
        plt.close(figure)
        self.drawn.append(stem)
        return self.picture(stem)


def open_study(path: str | os.PathLike[str]) -> StudyFolder:
    """Open the folder of a study.

    Raises
    ------
    FileError
        If it is none, or study.json or study.toml is damaged.
    """
    folder = Path(path)
    file = folder / "study.json"
    if not file.is_file():
        raise FileError(f"{folder}: no folder of a study (it holds no study.json).")
    try:
        record = Record.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise FileError(f"{file}: damaged: {faults.say(error, Record)}.") from error
    # Planned models first, also those that have no folder yet: their sections say so.
    settings, planned, routes = _settings(folder / "study.toml")
    found = [p.name for p in sorted(folder.iterdir())
             if p.is_dir() and any((p / part).exists() for part in _OF_A_MODEL)]  # fmt: skip
    models = tuple(dict.fromkeys([*planned, *found]))
    # What is left of a route that the settings no longer ask for is not shown.
    routes = routes or tuple(
        route for route, names in _OF_ROUTE.items()
        if any((folder / m / n).exists() for m in models for n in names)
    )  # fmt: skip
    return StudyFolder(folder, record, settings, models, routes or tuple(ROUTES))


def _settings(path: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the settings as text, the models they name, in order, and the routes."""
    if not path.is_file():
        return "", (), ()
    with reading(path, "file of settings"):
        text = path.read_text("utf-8")
        given = parse_toml(text.encode(), str(path))
        planned = given.get("study", {}).get("models", ())
        routes = _PLANNED.get(given.get("learning", {}).get("route", ""), ())
        return text, tuple(str(name) for name in planned), routes
