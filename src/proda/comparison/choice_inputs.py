"""Inputs for the comparison of models by evidence and skill: assimilations and networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from proda.comparison.model_files import (
    AFTER,
    END_TO_END,
    OpenedModel,
    path_if_there,
    read_site_table,
    read_summary,
)
from proda.errors import ComparisonError, FileError
from proda.inference.assessment import assess
from proda.inference.diagnostics.filter import Filter
from proda.layout import SUMMARY, RunFolder
from proda.learning.network_folder import HEADER
from proda.learning.unseen_file import UNSEEN


def open_choice(
    runs: Sequence[str], tables: Mapping[str, str | Path] | None = None
) -> dict[str, OpenedModel]:
    """Open the results of models in folders, in alphabetical order of the models' names.

    Parameters
    ----------
    runs
        Folders, or NAME=FOLDER: of a study, of `proda assimilate`, or of a network of `proda
        train`. Without a name, the name in the files is used, and results of one model are
        combined.
    tables
        By model: table of `proda diagnose` with the sites that passed. Without it, the default
        limits are applied to the sites of a single assimilation; a study has its own table.

    Raises
    ------
    ComparisonError
        If a folder is none of these, one model has two of a kind, or there are fewer than two
        models.
    FileError, AssimilationError
        If a file cannot be read or is incomplete.
    """
    opened_models: dict[str, OpenedModel] = {}
    for text in runs:
        name, equals, path = text.rpartition("=")
        for each in _opened(Path(path if equals else text), name):
            opened_models[each.name] = _together(opened_models.get(each.name), each)
    for name, table in (tables or {}).items():
        if name not in opened_models:
            raise ComparisonError(f"--sites {name}: none of the given folders belongs to {name}.")
        opened_models[name] = replace(opened_models[name], sites=read_site_table(table))
    for name, model in opened_models.items():
        if model.summary is not None and model.sites is None:
            judged = assess(model.summary, Filter()).sites.set_index("site")
            opened_models[name] = replace(model, sites=judged)
    if len(opened_models) < 2:
        held = ", ".join(opened_models) or "none"
        raise ComparisonError(
            f"The folders contain results of {len(opened_models)} models ({held}); evidence "
            "compares two or more. Two runs of one model need names: NAME=FOLDER."
        )
    return dict(sorted(opened_models.items()))


def _opened(folder: Path, name: str) -> list[OpenedModel]:
    if (folder / SUMMARY).is_file():
        summary = read_summary(folder / SUMMARY)
        return [OpenedModel(name or str(summary.attrs.get("model", folder.name)), {}, summary)]
    if (folder / HEADER).is_file():
        state = END_TO_END if (folder / UNSEEN).is_file() else AFTER
        return [OpenedModel(name or _model_of(folder / HEADER), {}, networks={state: folder})]
    models = _of_study(folder)
    if not models:
        raise ComparisonError(
            f"{folder}: not a folder of a study, of `proda assimilate` (finished, with {SUMMARY}) "
            f"or of a network ({HEADER})."
        )
    if name:
        raise ComparisonError(f"{name}={folder}: a study's models have names; give the folder.")
    return models


def _of_study(folder: Path) -> list[OpenedModel]:
    models = []
    place = RunFolder(folder)
    for model in sorted(own.name for own in folder.glob("*/")):
        summary = path_if_there(place.summary(model))
        table = path_if_there(place.site_table(model))
        networks = {AFTER: place.network(model), END_TO_END: place.end_to_end(model)}
        networks = {state: path for state, path in networks.items() if path.is_dir()}
        if summary is not None or networks:
            models.append(
                OpenedModel(
                    model,
                    {},
                    None if summary is None else read_summary(summary),
                    None if table is None else read_site_table(table),
                    networks=networks,
                )
            )
    return models


def _model_of(header: Path) -> str:
    try:
        return str(json.loads(header.read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{header}: damaged ({error}); copy it again or train again.") from error


def _together(first: OpenedModel | None, second: OpenedModel) -> OpenedModel:
    """Combine the results of one model in two folders."""
    if first is None:
        return second
    twice = first.summary is not None and second.summary is not None
    if twice or set(first.networks) & set(second.networks):
        kind = "assimilations" if twice else "networks"
        raise ComparisonError(
            f"Two {kind} of {first.name} were given; give them different names: NAME=FOLDER."
        )
    return replace(
        first,
        summary=first.summary if first.summary is not None else second.summary,
        sites=first.sites if first.sites is not None else second.sites,
        networks={**first.networks, **second.networks},
    )
