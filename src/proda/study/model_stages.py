"""The stages of one model: networks from posteriors or end to end, and maps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from proda.blocks.executor import Executor, executor_of, processes
from proda.files import whole_folder
from proda.inference.assessment import assess
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.diagnostics.filter import Filter
from proda.inference.runner import total_evaluations, work
from proda.layout import RUN_DESCRIPTION
from proda.learning.from_posteriors import train_network
from proda.learning.through_model import train_end_to_end
from proda.learning.train import Progress
from proda.maps.map_from_files import map_constant, map_default, map_mean, map_network
from proda.maps.run_map import MapResult
from proda.models.registry import load_model
from proda.plots.figure_files import save_figure
from proda.plots.style import save_all
from proda.plots.training import (
    CAPTIONS,
    THROUGH_CAPTIONS,
    through_figures,
    training_figures,
)
from proda.study.diagnosis import figures_of, write_kept, write_table
from proda.study.folder import StudyFolder
from proda.study.stage import Context


def assimilation(context: Context, *, model: str) -> str:
    """Estimate a model's parameters at every profile, or resume it (`proda assimilate`)."""
    place, reporter = context.folder, context.reporter
    chosen = place.settings.assimilation
    folder = place.assimilation(model)
    if (folder / RUN_DESCRIPTION).is_file():
        run = Run(folder)
        if not run.complete:
            # If the folder of the study was moved, its own files are at new paths.
            moved = {"profiles": place.profiles, "forcing": place.sites}
            run.relocate(**{n: p for n, p in moved.items() if not Path(run.places[n]).exists()})
    else:
        # Remains of an attempt that ended before the run was created.
        shutil.rmtree(folder, ignore_errors=True)
        run = create(
            folder,
            place.settings.assimilation_of(model),
            place.profiles,
            place.sites,
            n_sites=chosen.sites,
        )

    def finished(done: int, total: int, rate: float) -> None:
        reporter.progress(done, total, f"sites, {rate / 1e6:.2f} million evaluations per second")

    if not run.complete:
        with executor_of(chosen.workers, chosen.cluster, control=context.control) as executor:
            work(run, executor, progress=finished, warn=reporter.warn)
    return f"{run.description.n_sites:,} sites, {total_evaluations(run):,} model evaluations"


def select(context: Context, *, model: str) -> str:
    """Assess the sites and keep those for training (`proda diagnose`)."""
    place = context.folder
    draws, summary = open_posterior(place.assimilation(model))
    assessment = assess(summary, Filter.of(place.settings.filter))
    with whole_folder(place.diagnosis(model), place.kept(model).name, "diagnosis") as folder:
        folder.mkdir()
        write_table(assessment, folder / place.site_table(model).name)
        kept = write_kept(assessment, folder / place.kept(model).name)
        figures = figures_of(assessment, draws, land_mask=place.settings.profiles.land_mask)
        for i, _ in enumerate(save_all(figures, folder / "figures"), 1):
            context.reporter.progress(i, len(figures), "figures")
    return f"{kept.sizes['site']:,} of {len(assessment.sites):,} sites are kept"


def _follow(context: Context) -> tuple[Callable[[Progress], None], Callable[[str], None]]:
    """Return the callbacks of a training: for its epochs, and for each part that it begins.

    Both raise `Stopped` when the time limit is near. Epochs of networks are saved before they are
    reported, so that training resumes after them; the calibrated constant is fitted again.
    """
    unit, control, latest = "epochs", context.control, time.monotonic()

    def stage(what: str) -> None:
        nonlocal unit, latest
        control.check()
        unit, latest = what, time.monotonic()
        context.reporter.part(what)

    def epochs(progress: Progress) -> None:
        nonlocal latest
        before, latest = latest, time.monotonic()
        control.longest = max(control.longest, latest - before)
        context.reporter.progress(progress.epoch, progress.epochs, unit)
        if progress.epoch < progress.epochs:
            control.check()

    return epochs, stage


def training(context: Context, *, model: str) -> str:
    """Train, cross-validate and keep a network (`proda train`)."""
    place = context.folder
    settings = place.settings
    progress, stage = _follow(context)
    result = train_network(
        place.kept(model),
        place.covariates,
        place.network(model),
        settings.training.build(settings.study.seed),
        profiles=place.profiles,
        forcing=place.sites,
        assimilation=place.assimilation(model),
        folds=settings.training.folds,
        curve=settings.training.curve,
        jobs=processes(),
        progress=progress,
        on_stage=stage,
    )
    for note in result.notes:
        context.reporter.warn(f"{model}: {note}")
    for name, make in training_figures(result).items():
        save_figure(
            make(), place.figures, f"{model}_{name}", f"{model.upper()}: {CAPTIONS[name]}", "skill"
        )
    learnt = result.learned.ensemble
    return f"{learnt.members} networks on {learnt.n_sites:,} sites"


def end_to_end(context: Context, *, model: str) -> str:
    """Train networks through the soil model on all profiles (`proda train --model`)."""
    place = context.folder
    settings, chosen = place.settings, place.settings.learning.end_to_end
    reference = settings.study.reference(model)
    progress, stage = _follow(context)
    place.end_to_end(model).parent.mkdir(parents=True, exist_ok=True)
    result = train_end_to_end(
        place.covariates,
        place.end_to_end(model),
        profiles=place.profiles,
        forcing=place.sites,
        model=reference,
        variant=settings.study.variant,
        settings=chosen.build(settings.study.seed, reference, settings.study.variant),
        folds=chosen.folds,
        fold_members=chosen.fold_members,
        split=chosen.split,
        streams=settings.study.streams,
        progress=progress,
        on_stage=stage,
    )
    for name, why in result.not_learnt.items():
        context.reporter.warn(f"{model}: nothing is learnt from {name}: {why}")
    draw_end_to_end(place, model, result.ensemble.history, result.skill)
    return f"{result.ensemble.members} networks on {result.ensemble.n_sites:,} sites"


def draw_end_to_end(
    place: StudyFolder, model: str, history: pd.DataFrame, skill: pd.DataFrame | None
) -> None:
    """Save the figures of an end-to-end training."""
    for name, make in through_figures(history, skill).items():
        save_figure(
            make(),
            place.figures,
            f"{model}_end_to_end_{name}",
            f"{model.upper()}, end to end: {THROUGH_CAPTIONS[name]}",
            "skill",
        )


def learns_default(place: StudyFolder, model: str) -> bool:
    """Whether the default map of a model without a tuned default uses values from profiles."""
    kind = load_model(place.settings.study.reference(model), place.settings.study.variant)
    return not kind.tuned and place.settings.maps.default != "registry"


def default_map(context: Context, *, model: str) -> str:
    """Map a model with its default parameters (`proda map --default`).

    The default of a model without a tuned parameterisation is the constant that is calibrated on
    all profiles; without end-to-end learning, the mean of its accepted sites (P-section 2.5).
    """
    place = context.folder
    settings, output = place.settings, place.default_map(model)
    steps, chunk = context.reporter.steps("cells, default parameters"), settings.maps.chunk
    executor = Executor(control=context.control)
    if not learns_default(place, model):
        made = map_default(
            place.forcing,
            output,
            model=settings.study.reference(model),
            variant=settings.study.variant,
            b=settings.maps.b,
            chunk=chunk,
            ages=settings.maps.ages,
            progress=steps,
            executor=executor,
        )
        return f"{_answered(made)}, the model's own values"
    if settings.learning.through:
        made = map_constant(
            place.forcing,
            output,
            network=place.end_to_end(model),
            chunk=chunk,
            ages=settings.maps.ages,
            progress=steps,
            executor=executor,
        )
        return f"{_answered(made)}, the calibrated constant"
    made = map_mean(
        place.forcing,
        output,
        kept=place.kept(model),
        model=model,
        chunk=chunk,
        ages=settings.maps.ages,
        progress=steps,
        executor=executor,
    )
    return f"{_answered(made)}, the mean of the accepted sites"


def maps(context: Context, *, model: str) -> str:
    """Map a model with networks trained on posteriors, and with joint draws (`proda map`)."""
    place = context.folder
    made = _map(context, model, place.network(model), place.map(model), "all networks", False)
    # The mean of the draws is not a better estimate (their carbon is skewed), but their range
    # covers the truth; the networks agree more with each other than with the truth.
    _map(context, model, place.network(model), place.spread(model), "joint draws", True)
    return made


def end_to_end_maps(context: Context, *, model: str) -> str:
    """Map a model with networks trained end to end (`proda map`)."""
    place = context.folder
    return _map(
        context,
        model,
        place.end_to_end(model),
        place.end_to_end_map(model),
        "networks trained end to end",
        False,
    )


def _map(context: Context, model: str, network: Path, output: Path, what: str, draws: bool) -> str:
    place = context.folder
    settings = place.settings
    made = map_network(
        place.forcing,
        output,
        network=network,
        draws=draws,
        covariates=settings.covariates.grid,
        model=model,
        variant=settings.study.variant,
        chunk=settings.maps.chunk,
        ages=settings.maps.ages,
        progress=context.reporter.steps(f"cells, {what}"),
        executor=Executor(control=context.control),
    )
    return _answered(made.result)


def _answered(made: MapResult) -> str:
    counts = made.cells_by_reason
    return f"{counts.get('feasible', 0):,} of {sum(counts.values()):,} land cells"
