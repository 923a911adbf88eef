"""The stages of one model: assimilation, filter, training, maps."""

from __future__ import annotations

import os
import shutil

import jax

from proda.files import whole_folder
from proda.inference.assessment import assess
from proda.inference.cluster import work_on_cluster
from proda.inference.cluster_settings import client_from, read_cluster
from proda.inference.run import Run, create, open_posterior
from proda.inference.runner import Progress, total_evaluations, work
from proda.study.diagnosis import draw, write_kept, write_table
from proda.study.stage import Context


def assimilation(context: Context, *, model: str) -> str:
    """Estimate a model's parameters at every profile, or go on with it (`proda assimilate`)."""
    place, reporter = context.folder, context.reporter
    chosen = place.settings.assimilation
    folder = place.assimilation(model)
    if (folder / "run.json").is_file():
        run = Run(folder)
    else:
        # What was left by a try that ended before it had begun.
        shutil.rmtree(folder, ignore_errors=True)
        run = create(folder, place.settings.assimilation_of(model), place.profiles, place.sites,
                     n_sites=chosen.sites)  # fmt: skip
    total, done = total_evaluations(run), [0]

    def evaluated(n: int) -> None:
        done[0] += n
        reporter.progress(done[0], total, "evaluations")

    told = Progress(evaluations=evaluated, warn=reporter.warn)
    if run.complete:
        pass
    elif chosen.cluster is not None:
        with client_from(read_cluster(chosen.cluster)) as client:
            work_on_cluster(run, client, context.control, told)
    else:
        work(run, context.control, told, chosen.workers or processes())
    return f"{run.description.n_sites:,} sites, {total:,} model evaluations"


def processes() -> int:
    """Return how many processes assimilate on this machine: one per core, or one for a GPU."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


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
