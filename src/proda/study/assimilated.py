"""Use an assimilation that was finished elsewhere (on a GPU or a cluster) in a study."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from proda.errors import AssimilationError, ProdaError, StudyError
from proda.files import open_dataset, whole_folder
from proda.forcing import FORCING_VARIABLES
from proda.inference.assimilation_run import Run
from proda.layout import SUMMARY
from proda.models.outside import ORIGIN
from proda.study.folder import StudyFolder
from proda.study.stage import Context


def take_over(context: Context, *, model: str, source: Path) -> str:
    """Copy a finished run of `proda assimilate` into the study, if it belongs to the study's data.

    Raises
    ------
    StudyError
        If the run is not finished, or belongs to another model, other profiles or other forcing.
    """
    place = context.folder
    run = Run(source)
    _check(run, place.settings.assimilation_of(model).model_dump(include=_IDENTITY), model)
    target = place.assimilation(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_folder(target, SUMMARY, "finished assimilation") as temporary:
            shutil.copytree(source, temporary)
            _place(Run(temporary), place)
    except ProdaError as error:
        raise StudyError(
            f"{source}: assimilation.runs names it for {model}, but it is not an assimilation of "
            f"this study's data ({str(error).rstrip('.')}). Assimilate with the profiles and the "
            f"forcing of the study: proda assimilate {place.profiles} {place.sites} FOLDER "
            f"--model {model}."
        ) from error
    settings = run.settings
    return (
        f"{run.description.n_sites:,} sites, taken from {source.name} ({settings.sampler}, "
        f"{settings.chains} chains of {settings.draws} draws)"
    )


def _place(run: Run, place: StudyFolder) -> None:
    """Set the data of a copied run to those of the study, if they are the same."""
    run.relocate(profiles=place.profiles)
    try:
        run.relocate(forcing=place.sites)  # compares checksums
    except AssimilationError:
        if not Path(run.places["forcing"]).exists():
            raise
        run.check_forcing()
        _same_forcing(run, place.sites)


def _same_forcing(run: Run, ours: Path) -> None:
    """Compare values where the run's forcing is another file, for example with soil properties."""
    theirs = Path(run.places["forcing"])
    site = run.sites["site"].to_numpy()
    with open_dataset(theirs) as a, open_dataset(ours) as b:
        known = b["site"].to_numpy().astype(str)
        if lost := [s for s in site if s not in set(known)]:
            raise AssimilationError(
                f"{ours}: has no forcing of {len(lost)} of the run's sites, such as {lost[0]}"
            )
        index = pd.Index(known).get_indexer(pd.Index(site))
        for variable in FORCING_VARIABLES:
            before = a[variable.name].isel(site=run.sites["forcing_index"].to_numpy())
            if not np.array_equal(before, b[variable.name].isel(site=index), equal_nan=True):
                raise AssimilationError(f"{variable.name} differs between {theirs} and {ours}")


_IDENTITY = {"model", "variant", *ORIGIN}
"""Settings that must agree with the study; the others are those of the run."""


def _check(run: Run, expected: dict[str, object], model: str) -> None:
    """Refuse a run that is unfinished, or of another model."""
    named = f"{run.folder}: assimilation.runs names it for {model}, but it is"
    if not run.complete:
        raise StudyError(
            f"{named} not finished. Finish it first: proda assimilate --resume {run.folder}."
        )
    stored = run.settings.model_dump(include=set(expected))
    for name, value in expected.items():
        if stored.get(name) != value:
            raise StudyError(
                f"{named} of {name} {stored.get(name)!r}; expected {value!r}. Name a run of this "
                "model, or remove it from assimilation.runs."
            )
