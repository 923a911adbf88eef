"""The stages of one model: assimilation, filter, training, maps."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import matplotlib.pyplot as plt

from proda.evaluation.train import train_network
from proda.files import whole_folder
from proda.inference.assessment import assess
from proda.inference.cluster import work_on_cluster
from proda.inference.cluster_settings import client_from, read_cluster
from proda.inference.run import Run, create, open_posterior
from proda.inference.runner import Progress, processes, total_evaluations, work
from proda.maps.stage import map_default, map_mean, map_network
from proda.models.registry import load_model
from proda.plots.files import save_figure
from proda.plots.training import CAPTIONS, training_figures
from proda.simulate import MEAN_B
from proda.study.diagnosis import draw, write_kept, write_table
from proda.study.stage import Context


def assimilation(context: Context, *, model: str) -> str:
    """Estimate a model's parameters at every profile, or go on with it (`proda assimilate`)."""
    place, reporter = context.folder, context.reporter
    chosen = place.settings.assimilation
    folder = place.assimilation(model)
    if (folder / "run.json").is_file():
        run = Run(folder)
        if not run.complete:
            # A study that was moved as a whole knows where its own files lie now.
            moved = {"profiles": place.profiles, "forcing": place.sites}
            run.relocate(**{n: p for n, p in moved.items() if not Path(run.places[n]).exists()})
    else:
        # What was left by a try that ended before it had begun.
        shutil.rmtree(folder, ignore_errors=True)
        run = create(folder, place.settings.assimilation_of(model), place.profiles, place.sites,
                     n_sites=chosen.sites)  # fmt: skip
    total, n_sites = total_evaluations(run), run.description.n_sites
    done, sites, begun = [0], [0], time.monotonic()

    def evaluated(n: int) -> None:
        done[0] += n
        rate = done[0] / max(time.monotonic() - begun, 1e-9)
        reporter.progress(done[0], total, f"model evaluations, {sites[0]:,} of {n_sites:,} sites "
                          f"done, {rate / 1e6:.2f} M/s")  # fmt: skip

    def finished(n: int) -> None:
        sites[0] += n

    told = Progress(sites_done=finished, evaluations=evaluated, warn=reporter.warn)
    if run.complete:
        pass
    elif chosen.cluster is not None:
        with client_from(read_cluster(chosen.cluster)) as client:
            work_on_cluster(run, client, context.control, told)
    else:
        work(run, context.control, told, chosen.workers or processes())
    return f"{run.description.n_sites:,} sites, {total:,} model evaluations"


def select(context: Context, *, model: str) -> str:
    """Judge the sites and keep those to learn from (`proda diagnose`)."""
    place = context.folder
    draws, summary = open_posterior(place.assimilation(model))
    found = assess(summary, place.settings.filter.build())
    with whole_folder(place.diagnosis(model), "kept.nc", "diagnosis") as folder:
        folder.mkdir()
        write_table(found, folder / "sites.csv")
        kept = write_kept(found, folder / "kept.nc")
        figures = draw(found, draws, folder / "figures",
                       land_mask=place.settings.profiles.land_mask)  # fmt: skip
        for i, _ in enumerate(figures, 1):
            context.reporter.progress(i, 7, "figures")
    return f"{kept.sizes['site']:,} of {len(found.sites):,} sites are kept"


def training(context: Context, *, model: str) -> str:
    """Train, cross-validate and keep a network (`proda train`)."""
    place = context.folder
    settings = place.settings
    units = [""]

    def stage(what: str) -> None:
        units[0] = what

    result = train_network(
        place.kept(model), place.covariates, place.network(model),
        settings.training.build(settings.study.seed),
        profiles=place.profiles, forcing=place.sites, assimilation=place.assimilation(model),
        folds=settings.training.folds, curve=settings.training.curve, jobs=processes(),
        progress=lambda p: context.reporter.progress(p.epoch, p.epochs, units[0] or "epochs"),
        on_stage=stage,
    )  # fmt: skip
    for note in result.notes:
        context.reporter.warn(f"{model}: {note}")
    for name, make in training_figures(result).items():
        figure = make()
        save_figure(figure, place.path / "figures", f"{model}_{name}",
                    f"{model.upper()}: {CAPTIONS[name]}", "skill")  # fmt: skip
        plt.close(figure)
    learnt = result.learned.ensemble
    return f"{learnt.members} networks on {learnt.n_sites:,} sites"


def maps(context: Context, *, model: str) -> str:
    """Map a model with its default parameters, the networks' and joint draws (`proda map`).

    The default of a model without a tuned parameterisation is the mean of its accepted sites
    (P-section 2.5).
    """
    place = context.folder
    settings = place.settings
    kind = load_model(model, settings.study.variant)
    default, final = place.default_map(model), place.map(model)
    if not default.is_file():
        steps = context.reporter.steps("cells, default parameters")
        if kind.tuned or settings.maps.default == "registry":
            b = MEAN_B if settings.maps.b is None else settings.maps.b
            map_default(place.forcing, default, model=model, variant=settings.study.variant, b=b,
                        chunk=settings.maps.chunk, progress=steps)  # fmt: skip
        else:
            map_mean(place.forcing, default, kept=place.kept(model), model=model,
                     chunk=settings.maps.chunk, progress=steps)  # fmt: skip
    made = map_network(
        place.forcing, final, network=place.network(model), draws=False,
        covariates=settings.covariates.grid, model=model, variant=settings.study.variant,
        chunk=settings.maps.chunk, progress=context.reporter.steps("cells, all networks"),
    )  # fmt: skip
    # The draws' mean is no better an estimate (their carbon is skewed), but their range is what
    # holds the truth; the networks agree more with each other than with it.
    map_network(
        place.forcing, place.spread(model), network=place.network(model), draws=True,
        covariates=settings.covariates.grid, model=model, variant=settings.study.variant,
        chunk=settings.maps.chunk, progress=context.reporter.steps("cells, joint draws"),
    )  # fmt: skip
    counts = made.result.cells_by_reason
    return f"{counts.get('feasible', 0):,} of {sum(counts.values()):,} land cells"
