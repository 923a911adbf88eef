"""The models of the study: their pools, flows and sources."""

from __future__ import annotations

from proda.errors import ModelError
from proda.models.outside import CHECKSUM, SOURCE
from proda.models.registry import load_recorded
from proda.plots.model_diagram import draw_model
from proda.study.report.elements import Block, Heading, Notice, Text
from proda.study.report.results import StudyResults

KEY = "models"


def models(study: StudyResults) -> list[Block]:
    """Return a diagram of every model, drawn from its declaration."""
    blocks: list[Block] = []
    for name in study.models:
        outside = study.record.models.get(name, {})
        blocks.append(Heading(name.upper()))
        try:
            model = load_recorded({"model": name, **outside}, f"the study {study.path.name}")
        except ModelError as error:
            blocks.append(Notice(f"There is no diagram of {name.upper()}: {error}"))
            continue
        pools = f"{len(model.pools)} pools, {len(model.rows)} parameters"
        place = (
            f" From outside the package: {outside[SOURCE]}, SHA-256 of the file "
            f"{outside.get(CHECKSUM, '')}."
            if SOURCE in outside
            else ""
        )
        blocks.append(Text(f"{model.title}; {pools}. Source: {model.source}.{place}"))
        blocks.append(
            study.draw(
                draw_model(model),
                f"{name}_pools_and_flows",
                f"{name.upper()}: pools (boxes), transfers (blue), input of plants (green) and "
                "losses to CO2 (orange).",
                KEY,
            )
        )
    return blocks
