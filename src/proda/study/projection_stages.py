"""The stages of projections: for each model, and their comparison (`proda project`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proda.blocks.executor import Executor
from proda.comparison.model_files import AFTER, BEFORE, END_TO_END
from proda.comparison.projections import compare_projections
from proda.drivers.forcing_rules import rules_named
from proda.plots.figure_files import save_figure
from proda.plots.projections import projection_figures
from proda.projection.projection_from_files import project_files, sample_of
from proda.projection.thawed import thawed_water
from proda.study.folder import StudyFolder
from proda.study.model_stages import learns_default
from proda.study.stage import Context

SECTION = "projections"
"""Key of the report's section."""


def projected_states(place: StudyFolder) -> tuple[str, ...]:
    """Return the states of the parameters that a study projects."""
    learning, chosen = place.settings.learning, place.settings.projection
    return (
        *((BEFORE,) if chosen.default else ()),
        *((END_TO_END,) if learning.through else ()),
        *((AFTER,) if learning.posterior else ()),
    )


def project(context: Context, *, model: str) -> str:
    """Project a model with its default parameters and those of each route."""
    place = context.folder
    settings = place.settings
    driver = settings.forcing
    thawed = None
    if driver.climate is not None:
        cells = sample_of(place.forcing, settings.projection)
        rules = rules_named(driver.rules)
        thawed = thawed_water(driver.climate, dict(driver.names), cells, driver.w_floor, rules)
    sentences = []
    for state in projected_states(place):
        made = project_files(
            place.forcing,
            place.projection(model, state),
            settings.projection,
            **_source(place, model, state),
            thawed=thawed,
            progress=context.reporter.steps(f"cells, {state}"),
            executor=Executor(control=context.control),
        )
        first = next(iter(made.cells_by_reason.values()))
        sentences.append(f"{state}: {first.get('feasible', 0):,} of {sum(first.values()):,} cells")
        if made.remark:
            sentences.append(made.remark.removesuffix("."))
    return "; ".join(sentences)


def _source(place: StudyFolder, model: str, state: str) -> dict[str, Any]:
    """Return the source of the parameters of a state, as for the maps of the study."""
    settings = place.settings
    kind = settings.study.reference(model)
    if state == BEFORE:
        if not learns_default(place, model):
            return {"default": kind, "variant": settings.study.variant, "b": settings.maps.b}
        if settings.learning.through:
            return {"constant": place.end_to_end(model)}
        return {"mean_of": place.kept(model), "model": model}
    network: Path = place.end_to_end(model) if state == END_TO_END else place.network(model)
    return {
        "network": network,
        "covariates": settings.covariates.grid,
        "model": model,
        "variant": settings.study.variant,
        "draws": state == AFTER,
    }


def compare(context: Context) -> str:
    """Compare the projections of all models."""
    place = context.folder
    states = projected_states(place)
    files = {
        model: {state: place.projection(model, state) for state in states}
        for model in place.settings.study.models
    }
    result = compare_projections(files, place.projections)
    for name, caption, figure in projection_figures(result):
        save_figure(figure, place.figures, f"projections_{name}", caption, SECTION)
    return f"{len(result.tables['agreement'])} comparisons of changes"
