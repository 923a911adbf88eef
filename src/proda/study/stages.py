"""The stages of a study, in order, each with the settings on which it depends."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from proda.layout import chunks_of, left_out_of, training_of
from proda.models.outside import ORIGIN, origin_of
from proda.models.registry import load_model, model_class
from proda.study import model_stages, projection_stages, shared_stages
from proda.study.assimilated import take_over
from proda.study.folder import StudyFolder
from proda.study.projection_stages import projected_states
from proda.study.stage import Stage
from proda.study.trained import take_over_networks


def stages_of(folder: StudyFolder) -> list[Stage]:
    """Return all stages of a study.

    Workers, clusters and chunks are not among the settings that a stage depends on: they change the
    speed, not the result.
    """
    settings = folder.settings
    stages = [_profiles(folder), _forcing(folder), _covariates(folder)]
    # Stage by stage, not model by model, so that an error in one model appears before long work for
    # the next.
    names, learning = settings.study.models, settings.learning
    # End to end first, because it takes minutes and an assimilation takes hours.
    makers = [_end_to_end, _default_map, _end_to_end_maps] if learning.through else []
    if learning.posterior:
        makers += [_assimilation, _filter, _training, _maps]
    if not learning.through:
        makers.insert(-1, _default_map)
    for make in makers:
        stages += [make(folder, name) for name in names]
    if settings.projection.run:
        stages += [_projection(folder, name) for name in names]
        stages.append(_projections(folder))
    if settings.attribution.compute:
        stages.append(_attribution(folder))
    if len(names) > 1:
        stages.append(_comparison(folder))
    return [*stages, _report(folder)]


def _profiles(folder: StudyFolder) -> Stage:
    chosen = folder.settings.profiles
    return Stage(
        "profiles",
        (),
        chosen.model_dump(mode="json"),
        (
            *(p for source in chosen.source for p in source.files()),
            *([chosen.land_mask] if chosen.land_mask else []),
        ),
        (folder.profiles,),
        shared_stages.profiles,
    )


def _forcing(folder: StudyFolder) -> Stage:
    settings, driver = folder.settings, folder.settings.forcing
    origin = driver.climate or driver.file
    assert origin is not None  # the settings ensure this
    written = () if driver.file else (folder.forcing,)
    properties = settings.needed_properties()
    return Stage(
        "forcing",
        ("profiles",),
        driver.model_dump(mode="json", include={"names", "w_floor", "rules", "limit_km"})
        | ({"properties": list(properties)} if properties else {}),
        (
            origin,
            *([driver.drainage] if driver.drainage else []),
            *([settings.covariates.grid] if properties and driver.climate else []),
        ),
        (*written, folder.sites),
        shared_stages.forcing,
        partial=(left_out_of(folder.sites),),
    )


def _covariates(folder: StudyFolder) -> Stage:
    settings = folder.settings
    return Stage(
        "covariates",
        ("profiles",),
        {"limit_km": settings.covariates.limit_km},
        (settings.covariates.grid,),
        (folder.covariates,),
        shared_stages.covariates,
        partial=(left_out_of(folder.covariates),),
    )


def _model_file(folder: StudyFolder, model: str) -> tuple[Path, ...]:
    """Return the file of a model from outside the package, on which its results depend."""
    origin = origin_of(model_class(folder.settings.study.reference(model)))
    return (Path(origin.file),) if origin is not None and origin.file else ()


def _end_to_end(folder: StudyFolder, model: str) -> Stage:
    settings, target = folder.settings, folder.end_to_end(model)
    chosen, variant = settings.learning.end_to_end, settings.study.variant
    if (source := chosen.networks.get(model)) is not None:
        return Stage(
            f"{model}/end-to-end",
            ("profiles", "forcing", "covariates"),
            {"variant": variant},
            (source, *_model_file(folder, model)),
            (target,),
            partial(take_over_networks, model=model, source=source),
            doing="copying trained networks",
        )
    about = chosen.build(settings.study.seed, settings.study.reference(model), variant).as_dict()
    about |= chosen.model_dump(mode="json", include={"folds", "fold_members", "split"})
    return Stage(
        f"{model}/end-to-end",
        ("profiles", "forcing", "covariates"),
        about | {"variant": variant},
        (*_model_file(folder, model), *settings.study.streams.values()),
        (target,),
        partial(model_stages.end_to_end, model=model),
        resumable=True,
        partial=(training_of(target),),
    )


def _default_map(folder: StudyFolder, model: str) -> Stage:
    settings, written = folder.settings, folder.default_map(model)
    kind = load_model(settings.study.reference(model), settings.study.variant)
    about: dict[str, Any] = {"variant": settings.study.variant}
    about |= {"b": settings.maps.b} if kind.tuned else {"default": settings.maps.default}
    about |= _ages(folder)
    of = f"{model}/end-to-end" if settings.learning.through else f"{model}/filter"
    learnt = model_stages.learns_default(folder, model)
    return Stage(
        f"{model}/default-map",
        ("forcing", *((of,) if learnt else ())),
        about,
        _model_file(folder, model),
        (written,),
        partial(model_stages.default_map, model=model),
        resumable=True,
        partial=(chunks_of(written),),
    )


def _ages(folder: StudyFolder) -> dict[str, Any]:
    """Return the setting of maps with ages; nothing without, so that older maps stay valid."""
    return {"ages": True} if folder.settings.maps.ages else {}


def _end_to_end_maps(folder: StudyFolder, model: str) -> Stage:
    settings, written = folder.settings, folder.end_to_end_map(model)
    return Stage(
        f"{model}/end-to-end-maps",
        ("forcing", f"{model}/end-to-end"),
        {"variant": settings.study.variant} | _ages(folder),
        (settings.covariates.grid, *_model_file(folder, model)),
        (written,),
        partial(model_stages.end_to_end_maps, model=model),
        resumable=True,
        partial=(chunks_of(written),),
    )


def _assimilation(folder: StudyFolder, model: str) -> Stage:
    settings = folder.settings
    if (source := settings.assimilation.runs.get(model)) is not None:
        return Stage(
            f"{model}/assimilation",
            ("profiles", "forcing"),
            {"variant": settings.study.variant},
            (source, *_model_file(folder, model)),
            (folder.assimilation(model),),
            partial(take_over, model=model, source=source),
            doing="copying a finished assimilation",
        )
    about = settings.assimilation_of(model).model_dump(mode="json")
    # The file itself is one of the inputs of the stage.
    about = {name: value for name, value in about.items() if name not in ORIGIN}
    return Stage(
        f"{model}/assimilation",
        ("profiles", "forcing"),
        about | {"sites": settings.assimilation.sites},
        (*_model_file(folder, model), *settings.study.streams.values()),
        (folder.assimilation(model),),
        partial(model_stages.assimilation, model=model),
        resumable=True,
    )


def _filter(folder: StudyFolder, model: str) -> Stage:
    return Stage(
        f"{model}/filter",
        (f"{model}/assimilation",),
        folder.settings.filter.model_dump(mode="json"),
        (),
        (folder.diagnosis(model),),
        partial(model_stages.select, model=model),
    )


def _training(folder: StudyFolder, model: str) -> Stage:
    settings = folder.settings
    about: dict[str, Any] = settings.training.build(settings.study.seed).as_dict()
    about |= settings.training.model_dump(mode="json", include={"folds", "curve"})
    return Stage(
        f"{model}/training",
        ("profiles", "forcing", "covariates", f"{model}/filter"),
        about,
        _model_file(folder, model),
        (folder.network(model),),
        partial(model_stages.training, model=model),
        resumable=True,
        partial=(training_of(folder.network(model)),),
    )


def _maps(folder: StudyFolder, model: str) -> Stage:
    settings = folder.settings
    written = (folder.map(model), folder.spread(model))
    return Stage(
        f"{model}/maps",
        ("forcing", f"{model}/training"),
        {"variant": settings.study.variant} | _ages(folder),
        (settings.covariates.grid, *_model_file(folder, model)),
        written,
        partial(model_stages.maps, model=model),
        resumable=True,
        partial=tuple(map(chunks_of, written)),
    )


def _projection(folder: StudyFolder, model: str) -> Stage:
    settings = folder.settings
    chosen = settings.projection
    written = tuple(folder.projection(model, state) for state in projected_states(folder))
    files = (*chosen.anomalies, chosen.warming, chosen.pattern, settings.forcing.climate)
    return Stage(
        f"{model}/projection",
        ("forcing", *(f"{model}/{kind}" for kind in _last(folder))),
        chosen.model_dump(mode="json", exclude={"run", "chunk", "anomalies", "warming", "pattern"}),
        (
            settings.covariates.grid,
            *(p for p in files if p is not None),
            *_model_file(folder, model),
        ),
        written,
        partial(projection_stages.project, model=model),
        resumable=True,
        partial=tuple(map(chunks_of, written)),
    )


def _projections(folder: StudyFolder) -> Stage:
    return Stage(
        "projections",
        tuple(f"{name}/projection" for name in folder.settings.study.models),
        {},
        (),
        (folder.projections,),
        projection_stages.compare,
    )


def _last(folder: StudyFolder) -> tuple[str, ...]:
    """Return the kinds of a model's stages whose results are compared and shown."""
    learning = folder.settings.learning
    through = ("end-to-end", "end-to-end-maps") if learning.through else ()
    return (
        *through,
        *(("filter", "training", "maps") if learning.posterior else ()),
        "default-map",
    )


def _attribution(folder: StudyFolder) -> Stage:
    settings = folder.settings
    kinds = [kind for kind in _last(folder) if kind != "default-map"]
    names = settings.study.models
    return Stage(
        "attribution",
        ("profiles", "forcing", "covariates", *(f"{n}/{kind}" for n in names for kind in kinds)),
        settings.attribution.model_dump(mode="json", exclude={"compute"})
        | {"seed": settings.study.seed},
        (settings.covariates.grid,),
        (folder.attribution,),
        shared_stages.attribution,
    )


def _attributed(folder: StudyFolder) -> tuple[str, ...]:
    return ("attribution",) if folder.settings.attribution.compute else ()


def _comparison(folder: StudyFolder) -> Stage:
    settings = folder.settings
    names = settings.study.models
    reference, truth = settings.maps.reference, settings.study.truth
    return Stage(
        "comparison",
        (
            "forcing",
            "covariates",
            *(f"{n}/{kind}" for n in names for kind in _last(folder)),
            *(("projections",) if settings.projection.run else ()),
            *_attributed(folder),
        ),
        {"route": settings.learning.route},
        tuple(p for p in (reference, truth) if p),
        (folder.comparison,),
        shared_stages.comparison,
    )


def _report(folder: StudyFolder) -> Stage:
    settings = folder.settings
    last = tuple(f"{n}/{kind}" for n in settings.study.models for kind in _last(folder))
    last += _attributed(folder)
    return Stage(
        "report",
        (
            *(("comparison",) if len(settings.study.models) > 1 else last),
            *(("projections",) if settings.projection.run else ()),
        ),
        {"name": settings.study.name},
        (),
        (folder.report,),
        shared_stages.report,
    )
