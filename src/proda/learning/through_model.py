"""From profiles, forcing and covariates to a network in a folder, without any assimilation."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from jaxtyping import Int

from proda import files
from proda.drivers.forcing_rules import rules_of
from proda.errors import LearningError
from proda.layout import TRAINING, training_of
from proda.learning import carbon_baselines
from proda.learning.archive import versions, write_archive
from proda.learning.carbon_baselines import BASELINES, BOOSTING
from proda.learning.carbon_sites import CarbonSites, read_carbon_sites
from proda.learning.end_to_end import named
from proda.learning.end_to_end_inputs import with_covariates
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.ensemble import Ensemble
from proda.learning.families import TrainedFamilies, train_families
from proda.learning.features import Missing
from proda.learning.network_folder import save_ensemble
from proda.learning.places_left_out import fit_to_sites, judge_places_left_out
from proda.learning.splits import NO_FOLD, plan, random_folds, spatial_folds
from proda.learning.stream_loss import trainable
from proda.learning.train import Progress
from proda.learning.unseen_file import write_unseen
from proda.models.model import SoilModel
from proda.models.outside import provenance
from proda.streams.table import StreamTable
from proda.validation_settings import END_TO_END, FOLDS, SPLIT, Split

BASELINE_FILE = "baselines.npz"
LEFT_OUT = "left_out.csv"
CHECKSUMS = "data"
"""Entry of `TRAINING` with :meth:`proda.learning.carbon_sites.CarbonSites.checksums`."""
FORCING_RULES = "forcing_rules"
"""Entry of `TRAINING` with the rules by which the forcing was estimated."""


@dataclass(frozen=True)
class ThroughResult:
    """Result of an end-to-end training."""

    folder: Path
    ensemble: Ensemble
    constant: dict[str, float]
    """Calibrated constant: one value per parameter, physical units."""
    skill: pd.DataFrame | None
    """Skill at held-out sites (`skill_table`); None without folds."""
    left_out: pd.DataFrame
    seconds: float
    streams: pd.DataFrame | None = None
    """How data beside carbon are met at held-out sites (`stream_skill`); None: there are none."""
    not_learnt: dict[str, str] = field(default_factory=dict)
    """Streams from which networks of this model cannot learn, and why."""


def train_end_to_end(
    covariates: str | os.PathLike[str],
    network: str | os.PathLike[str],
    *,
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
    model: str,
    variant: str = "default",
    settings: EndToEndSettings | None = None,
    folds: int = FOLDS,
    fold_members: int = END_TO_END,
    split: Split = SPLIT,
    baselines: tuple[str, ...] = BASELINES,
    residual: bool = False,
    missing: Missing = "leave_out",
    streams: Mapping[str, str | os.PathLike[str]] | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> ThroughResult:
    """Train networks through the soil model on all profiles, and evaluate them at held-out places.

    An interrupted call resumes from its checkpoint, a hidden folder beside `network`, when it is
    repeated with the same data and settings.

    Parameters
    ----------
    covariates
        Covariates of the sites (.parquet), of `proda covariates build --sites`.
    network
        Folder to write; an existing network is replaced, anything else is refused.
    profiles, forcing
        Folder of `proda profiles build`, and forcing at these sites.
    model, variant
        The soil model.
    settings
        Settings of network and training; by default ours.
    folds, fold_members, split
        Number of folds (0: none, and then no skill and no intervals), networks in each, and how
        sites are divided.
    baselines
        Methods without a soil model, for comparison.
    residual
        Whether to add a product that carries no mechanism: the network's carbon with a share of its
        difference from boosting. It needs folds, to which the share is fitted.
    missing
        Sites that lack a covariate: "leave_out" lists them, "median" fills them in.
    streams
        Data beside carbon to learn from: folder of `proda streams build` by name. A stream from
        which networks of this model cannot learn is named in the result.

    Raises
    ------
    FileError, LearningError, ObservationError
        Naming what is absent, damaged or inconsistent.
    """
    begun = time.monotonic()
    tell = on_stage or (lambda _: None)
    settings = EndToEndSettings() if settings is None else settings
    _check_choices(split, folds, baselines, residual)
    tell("reading")
    target = Path(network)
    table = files.read_parquet(covariates, needed=("site",))
    sites = read_carbon_sites(profiles, forcing, table, model, variant)
    checksums = sites.checksums()
    sites, filled = with_covariates(sites, settings, missing)
    tables, not_learnt = trainable(sites.layers.model, streams or {})
    fold, group = _division(sites, folds, split, settings)
    p = sites.layers.profiles
    fold_members = min(fold_members, settings.members)
    design = plan(p.latitude, p.longitude, settings.network(), fold, fold_members if folds else 0)
    checkpoint = training_of(target)
    own = group if fold is None else fold
    trained = train_families(
        sites, design, own, group, settings, checkpoint, missing, tell, progress, tables
    )
    ensemble = trained.ensemble(sites, settings)
    values = named(trained.constants[NO_FOLD], sites.layers.model)
    tell("methods without a soil model")
    whole = trained.inputs.of(NO_FOLD)
    fitted = {name: fit_to_sites(name, sites, whole, settings) for name in baselines}
    judged = None
    if fold is not None:
        judged = judge_places_left_out(sites, trained, fold, fitted, residual, settings, tell)
    result = ThroughResult(
        target,
        ensemble,
        values,
        None if judged is None else judged.skill,
        sites.left_out,
        time.monotonic() - begun,
        None if judged is None else judged.skill_of_streams,
        not_learnt,
    )
    paths = {"covariates": covariates, "profiles": profiles, "forcing": forcing}
    header = {
        **_about_run(sites.layers.model, paths),
        CHECKSUMS: checksums,
        FORCING_RULES: rules_of(forcing),
        "settings": settings.as_dict(),
        "cross_validation": {"folds": folds, "members": fold_members, "split": split},
        "stocks_left_out": {} if judged is None else judged.stocks,
        **_about_sites(sites, filled, ensemble),
        **_about_streams(trained, sites, tables, not_learnt),
        "seconds": round(result.seconds, 1),
    }

    def beside(folder: Path) -> None:
        intervals = {} if judged is None else judged.intervals
        plain = {name: one.as_dict() for name, one in intervals.items()}
        write_unseen(folder, values, trained.error_scale().tolist(), plain)
        (folder / TRAINING).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        arrays = carbon_baselines.as_arrays(list(fitted.values()))
        write_archive(folder / BASELINE_FILE, {"kind": "baselines"}, arrays)
        sites.left_out.to_csv(folder / LEFT_OUT, index=False)
        if judged is not None:
            judged.write(folder)

    tell("writing")
    save_ensemble(ensemble, target, beside)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return result


def _check_choices(split: str, folds: int, baselines: tuple[str, ...], residual: bool) -> None:
    if split not in get_args(Split):
        raise LearningError(f"split = {split!r}; choose one of {', '.join(get_args(Split))}.")
    if unknown := sorted(set(baselines) - set(BASELINES)):
        raise LearningError(
            f"Unknown baseline: {', '.join(unknown)}; known: {', '.join(BASELINES)}."
        )
    if residual and not folds:
        raise LearningError(
            f"A residual needs folds: it is fitted at held-out sites; folds = {folds}."
        )
    if residual and BOOSTING not in baselines:
        raise LearningError(
            f"The residual is a share of the baseline {BOOSTING}; add it to the baselines."
        )


def _about_run(model: SoilModel, paths: Mapping[str, str | os.PathLike[str]]) -> dict[str, Any]:
    """Describe model, versions and inputs in the header."""
    return {
        "route": "end-to-end",
        "model": model.name,
        "variant": model.variant,
        **provenance(model),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "inputs": {name: str(path) for name, path in paths.items()},
    }


def _about_sites(sites: CarbonSites, filled: dict[str, int], ensemble: Ensemble) -> dict[str, Any]:
    """Describe the sites and their covariates in the header."""
    return {
        "sites": len(sites),
        "left_out": len(sites.left_out),
        "left_out_by_reason": sites.left_out["reason"].value_counts().to_dict(),
        "filled": filled,
        "constant_covariates": list(ensemble.features.constant),
    }


def _about_streams(
    trained: TrainedFamilies,
    sites: CarbonSites,
    tables: tuple[StreamTable, ...],
    not_learnt: dict[str, str],
) -> dict[str, Any]:
    """Describe the data beside carbon in the header; nothing where none were given."""
    if not tables and not not_learnt:
        return {}
    about: dict[str, Any] = {"streams_not_learnt": not_learnt}
    if tables:
        about["streams"] = {table.stream.name: table.made.table for table in tables}
        about["stream_parameters"] = trained.stream_parameters(NO_FOLD, sites.layers.model)
    return about


def _division(
    sites: CarbonSites, folds: int, split: Split, settings: EndToEndSettings
) -> tuple[Int[np.ndarray, " site"] | None, Int[np.ndarray, " site"] | None]:
    """Return the fold of each site, and the group that is left out of an inverted network."""
    fold = _folds(sites, folds, split, settings) if folds else None
    if folds <= 2 and settings.inverted_of(settings.members):
        # with two folds, nothing would be left beside a fold and a group
        return fold, _folds(sites, FOLDS, split, settings)
    return fold, fold


def _folds(
    sites: CarbonSites, k: int, split: Split, settings: EndToEndSettings
) -> Int[np.ndarray, " site"]:
    p = sites.layers.profiles
    if split == "random":
        return random_folds(len(sites), k, settings.seed)
    degrees = float(split.partition("-")[0])
    return spatial_folds(p.latitude, p.longitude, k, degrees, settings.seed)
