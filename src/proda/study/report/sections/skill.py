"""Skill of the networks at held-out sites."""

from __future__ import annotations

from dataclasses import replace

from proda.comparison.model_files import AFTER, END_TO_END
from proda.layout import SKILL_CARBON, TRAINING
from proda.study.report.elements import Block, Heading, Notice, not_run
from proda.study.report.results import StudyResults

OF_POSTERIORS = (
    ("skill_carbon", "predicted soil carbon at held-out sites"),
    ("skill_parameters", "predicted parameters at held-out sites"),
)

NOTE = (
    "Shown: all layers; the file also has depths, zones, climates, warm and cold soil, sources. "
    "Natural logarithms. constant: one set of parameters calibrated on all profiles; depth, "
    "boosting and plain network have no soil model; ceiling: the highest possible skill given the "
    "variation within half-degree cells at equal depth; lost: sites without a steady state; "
    "interval90: share of layers inside the 90 % interval."
)


NOTE_OF_STREAMS = (
    "Errors on the given scale, in the unit of the stream. mean_by_depth: the mean of the values "
    "of other folds in the same band of depth, without a soil model; lost: values at sites without "
    "a steady state."
)


def skill(study: StudyResults) -> list[Block]:
    """Return the cross-validation of every model's networks, by route."""
    blocks: list[Block] = []
    for model in study.models:
        blocks.append(Heading(model.upper()))
        if END_TO_END in study.routes:
            blocks.append(_end_to_end(study, model))
            table = study.table(
                study.end_to_end(model) / "skill_streams.csv",
                f"{model}_end_to_end_skill_streams",
                f"{model.upper()}, end to end: data beside carbon at held-out places",
            )
            if table is not None:
                blocks.append(replace(table, note=NOTE_OF_STREAMS))
        for name, words in OF_POSTERIORS if AFTER in study.routes else ():
            table = study.table(
                study.network(model) / f"{name}.csv",
                f"{model}_{name}",
                f"{model.upper()}, from posteriors: {words}",
            )
            blocks.append(table or not_run(f"training of {model.upper()}", f"table of {words}"))
    return blocks


def _end_to_end(study: StudyResults, model: str) -> Block:
    """Return methods, baselines and ceiling at held-out places of end-to-end training."""
    folder, name = study.end_to_end(model), f"{model.upper()}, end to end"
    words = "carbon at held-out places, by every method"
    table = study.table(
        folder / SKILL_CARBON, f"{model}_end_to_end_skill_carbon", f"{name}: {words}"
    )
    if table is not None:
        return replace(table, only=("by", "all"), note=NOTE)
    if (folder / TRAINING).is_file():
        return Notice(f"{name}: trained without folds, so there is no table of {words}.")
    return not_run(f"end-to-end training of {model.upper()}", f"table of {words}")
