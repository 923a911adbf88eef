"""Finished assimilations, assessed by the limits of the study's own filter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import xarray as xr

from proda import files
from proda.comparison.model_files import AFTER
from proda.inference.assessment import Assessment, assess
from proda.inference.assimilation_run import open_posterior
from proda.inference.diagnostics.filter import Filter
from proda.study.report.results import StudyResults


def limits_of(study: StudyResults, model: str) -> Filter:
    """Return the limits that the filter recorded; those of the paper before it has run."""
    path = study.kept(model)
    if not path.is_file():
        return Filter()
    with files.open_netcdf(path) as kept:
        names = Filter.__dataclass_fields__
        return Filter(**{n: float(kept.attrs[n]) for n in names if n in kept.attrs})


def draws_of(study: StudyResults, model: str) -> tuple[xr.Dataset, xr.Dataset] | None:
    """Return draws and summary of a model's assimilation.

    None until it is finished, and if the study does not use posteriors.
    """
    summary = study.summary(model)
    if AFTER not in study.routes or not summary.is_file():
        return None
    return _open(summary, summary.stat().st_mtime_ns)


def assessment_of(study: StudyResults, model: str) -> Assessment | None:
    """Return a model's sites with their verdicts, None until its assimilation is finished."""
    opened = draws_of(study, model)
    return None if opened is None else assess(opened[1], limits_of(study, model))


@lru_cache(maxsize=8)
def _open(path: Path, _changed: int) -> tuple[xr.Dataset, xr.Dataset]:
    draws, summary = open_posterior(path.parent)
    return draws, files.load(summary, path)
