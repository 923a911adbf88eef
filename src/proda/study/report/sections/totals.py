"""Total carbon of the maps, before they are compared with reference maps."""

from __future__ import annotations

import pandas as pd

from proda.comparison.model_files import ROUTES
from proda.maps.totals import totals as totals_of
from proda.study.report.comparison_tables import compared
from proda.study.report.elements import Block, Notice, Table, not_run
from proda.study.report.map_tables import CONSTRAINED, DEFAULT, STOCK, map_of
from proda.study.report.results import StudyResults

MAPS = (("default", DEFAULT), *((ROUTES[s], file) for s, file in CONSTRAINED.items()))


def totals(study: StudyResults) -> list[Block]:
    """Return the totals of the comparison, otherwise those of the existing maps."""
    table = compared(study, "totals")
    return _of_maps(study) if table is None else [table]


def _of_maps(study: StudyResults) -> list[Block]:
    """Return the totals of every map, without reference maps."""
    frames = []
    for model in study.models:
        for words, file in MAPS:
            dataset = map_of(study, model, file)
            if dataset is not None:
                frame = totals_of(dataset).reset_index()
                frame.insert(0, "parameters", words)
                frame.insert(0, "model", model.upper())
                frames.append(frame)
    if not frames:
        return [not_run("maps", "table of totals")]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame["stock"] == STOCK].drop(columns="stock")
    frame = frame.rename(
        columns={
            "land": "land (10⁶ km²)",
            "mean": "carbon (Pg)",
            "answered": "share of land with a result",
        }
    )
    return [
        Notice(
            "The comparison has not been run, so these totals are not compared with reference maps."
        ),
        Table(
            "totals_of_maps",
            "Carbon in 0-100 cm of the globe and of zones",
            frame,
            "Spread over the members of the ensemble; one member has none.",
        ),
    ]
