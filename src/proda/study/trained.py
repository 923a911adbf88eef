"""Use networks that were trained end to end elsewhere (on a GPU or a cluster) in a study."""

from __future__ import annotations

import shutil
from pathlib import Path

from proda import files
from proda.errors import ProdaError, StudyError
from proda.files import whole_folder
from proda.layout import SKILL_CARBON, TRAINING
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.network_folder import HEADER, load_for_model
from proda.learning.through_model import CHECKSUMS
from proda.study.folder import StudyFolder
from proda.study.model_stages import draw_end_to_end
from proda.study.stage import Context


def take_over_networks(context: Context, *, model: str, source: Path) -> str:
    """Copy the networks of `proda train --model` into the study, if they belong to its data.

    Raises
    ------
    StudyError
        If they were trained for another model, or on other profiles, forcing or covariates.
    """
    place, reference = context.folder, context.folder.settings.study.reference(model)
    target = place.end_to_end(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        ensemble, _ = load_for_model(source, reference, place.settings.study.variant)
        _check(source, place, reference)
        with whole_folder(target, HEADER, "network") as temporary:
            shutil.copytree(source, temporary)
    except ProdaError as error:
        raise StudyError(
            f"{source}: learning.end_to_end.networks names it for {model}, but it cannot be used "
            f"({str(error).rstrip('.')}). Train with the data of the study: proda train "
            f"{place.covariates} FOLDER --model {reference} --profiles {place.profiles} --forcing "
            f"{place.sites}."
        ) from error
    skill = target / SKILL_CARBON
    draw_end_to_end(place, model, ensemble.history, files.read_csv(skill, what="table of skill"))
    return f"{ensemble.members} networks on {ensemble.n_sites:,} sites, taken from {source.name}"


def _check(source: Path, place: StudyFolder, reference: str) -> None:
    """Compare the values on which the networks were trained with those of the study."""
    header = source / TRAINING
    trained = files.read_json(header) if header.is_file() else {}
    before = trained.get(CHECKSUMS)
    if before is None:
        raise StudyError("it does not say on which data it was trained end to end")
    if not (source / SKILL_CARBON).is_file():
        raise StudyError("it was trained without folds, so that its skill is unknown")
    table = files.read_parquet(place.covariates, needed=("site",))
    variant = place.settings.study.variant
    now = read_carbon_sites(place.profiles, place.sites, table, reference, variant).checksums()
    if other := [name for name in now if now[name] != before[name]]:
        raise StudyError(f"it was trained with other {', '.join(other)}")
