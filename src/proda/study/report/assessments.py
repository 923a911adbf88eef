"""Finished assimilations, judged by the limits that the study's own filter used."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import xarray as xr

from proda import files
from proda.comparison.inputs import AFTER
from proda.inference.assessment import Assessment, assess
from proda.inference.diagnostics.filter import Filter
from proda.inference.run import open_posterior
from proda.study.report.folder import StudyFolder


def kept_path(study: StudyFolder, model: str) -> Path:
    """Return where the filter wrote the posteriors it kept."""
    return study.path / model / "diagnosis" / "kept.nc"


def limits_of(study: StudyFolder, model: str) -> Filter:
    """Return the limits that the filter noted; those of the paper before it has run."""
    path = kept_path(study, model)
    if not path.is_file():
        return Filter()
    with files.open_netcdf(path) as kept:
        names = Filter.__dataclass_fields__
        return Filter(**{n: float(kept.attrs[n]) for n in names if n in kept.attrs})


def draws_of(study: StudyFolder, model: str) -> tuple[xr.Dataset, xr.Dataset] | None:
    """Return draws and summary of a model's assimilation.

    None until it is finished, and where the study does not learn from posteriors.
    """
    folder = study.path / model / "assimilation"
    if AFTER not in study.routes or not (folder / "summary.nc").is_file():
        return None
    return _open(folder, (folder / "summary.nc").stat().st_mtime_ns)


def assessment_of(study: StudyFolder, model: str) -> Assessment | None:
    """Return a model's sites with their verdicts, None until its assimilation is finished."""
    opened = draws_of(study, model)
    return None if opened is None else assess(opened[1], limits_of(study, model))


@lru_cache(maxsize=8)
def _open(folder: Path, _changed: int) -> tuple[xr.Dataset, xr.Dataset]:
    draws, summary = open_posterior(folder)
    return draws, files.load(summary, folder / "summary.nc")
