"""From the kept posteriors of a run to a network in a folder, with its skill."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from proda import files
from proda.errors import LearningError
from proda.inference.assimilation_run import open_posterior
from proda.layout import SKILL_CARBON, TRAINING, training_of
from proda.learning.archive import versions
from proda.learning.carbon import (
    ASSIMILATED,
    DEFAULT,
    MEMBERS,
    Modelled,
    assimilated_carbon,
    carbon_skill,
    default_carbon,
    ensemble_carbon,
    groups_of,
    held_out_carbon,
)
from proda.learning.features import Missing
from proda.learning.layers import SiteLayers, assimilation_settings, read_layers
from proda.learning.learn import Learned, learn
from proda.learning.learning_settings import LearningSettings
from proda.learning.network_diagnosis import learning_curve, permutation_importance
from proda.learning.network_folder import save_ensemble
from proda.learning.residuals import joint_residuals, write_residuals
from proda.learning.spread import JOINT, Spread, spread_of_carbon
from proda.learning.train import Progress
from proda.learning.validation import NETWORK, CrossValidation
from proda.places import check_dataset_sites
from proda.validation_settings import FOLDS, FROM_POSTERIORS, TREES

BASELINES = ("mean", "nearest_site", "random_forest")
SKILL_PARAMETERS = "skill_parameters.csv"
IMPORTANCE, CURVE, HELD_OUT = "importance.csv", "curve.csv", "held_out.nc"
CURVE_SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Sizes of the learning curve, as shares of the training sites of the smallest fold."""


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training; tables are None where they were not requested or not possible."""

    folder: Path
    learned: Learned
    skill_parameters: pd.DataFrame | None
    skill_carbon: pd.DataFrame | None
    importance: pd.DataFrame | None
    curve: pd.DataFrame | None
    held_out: xr.Dataset | None
    spread: dict[str, Spread]
    residuals: xr.Dataset | None
    notes: tuple[str, ...]
    seconds: float


def train_network(
    kept: str | os.PathLike[str],
    covariates: str | os.PathLike[str],
    network: str | os.PathLike[str],
    settings: LearningSettings | None = None,
    *,
    profiles: str | os.PathLike[str] | None = None,
    forcing: str | os.PathLike[str] | None = None,
    assimilation: str | os.PathLike[str] | None = None,
    folds: int = FOLDS,
    fold_members: int = FROM_POSTERIORS,
    spatial: bool = True,
    trees: int = TREES,
    jobs: int = 1,
    curve: bool = True,
    importance: int = 1,
    missing: Missing = "leave_out",
    default_b: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train, cross-validate and write a network.

    An interrupted call resumes from its checkpoint, a hidden folder beside `network`, when it is
    repeated with the same data and settings.

    Parameters
    ----------
    kept
        Posteriors of the kept sites, of `proda diagnose --output`.
    covariates
        Covariates of the sites (.parquet), of `proda covariates build --sites`.
    network
        Folder to write; an existing network is replaced, anything else is refused.
    settings
        Settings of network and training; by default ours. `learning_settings.study()` returns
        those of the paper.
    profiles, forcing
        Folder of `proda profiles build` and forcing at the sites (netCDF or Zarr), both those of
        the assimilation. With them the network is tuned through the soil model (unless
        `tuning_epochs` is 0) and evaluated by the carbon of held-out profiles; without them, by
        parameters only.
    assimilation
        Folder of `proda assimilate`, for the fit of the sites' own posteriors as the ceiling and
        for joint draws of maps.
    folds, fold_members, spatial
        Folds of the cross-validation (0: none), networks in each (at most `settings.members`), and
        whether they are blocks of the map.
    trees, jobs
        Size of the random forest, and processes to grow it.
    curve, importance
        Whether to compute the learning curve; how often each covariate is shuffled (0: never).
    missing
        "leave_out" or "median", as in :func:`proda.learning.join.join`.
    default_b
        CLM5's b, whose default depends on the plant functional type; None: the mean over all
        vegetation.
    progress, on_stage
        Called with the losses during training, and with the name of each stage.

    Returns
    -------
    TrainingResult; the folder holds the ensemble, history.csv, skill_parameters.csv,
    skill_carbon.csv, importance.csv, curve.csv, held_out.nc, residuals.nc and train.json.

    Raises
    ------
    FileError, LearningError
        Naming what is absent, damaged or inconsistent.
    """
    begun = time.monotonic()
    tell = on_stage or (lambda _: None)
    settings = LearningSettings() if settings is None else settings
    fold_members = min(fold_members, settings.members)
    target = Path(network)
    _check_inputs(profiles, forcing, assimilation)
    tell("reading")
    posterior, table = _read(kept), files.read_parquet(covariates, needed=("site",))
    checkpoint = training_of(target)
    tell("training")
    learned = learn(
        table,
        posterior,
        settings,
        folds=folds,
        fold_members=fold_members,
        spatial=spatial,
        methods=BASELINES if folds else (),
        trees=trees,
        jobs=jobs,
        missing=missing,
        layers=_reader_of_layers(posterior, profiles, forcing),
        checkpoint=checkpoint,
        keep_checkpoint=True,
        on_progress=progress,
    )
    evaluation = _Evaluation()
    if learned.validation is not None:
        evaluation = _evaluate(
            learned, learned.validation, settings, assimilation, default_b, curve, importance, tell
        )
    notes = _notes(posterior, carbon=profiles is not None)
    seconds = time.monotonic() - begun
    result = TrainingResult(target, learned, **vars(evaluation), notes=notes, seconds=seconds)
    tell("writing")
    inputs = {
        "kept": kept,
        "covariates": covariates,
        "profiles": profiles,
        "forcing": forcing,
        "assimilation": assimilation,
    }
    validated = {"folds": folds, "members": fold_members, "blocks": spatial}
    header = _header(result, settings, inputs, validated)
    save_ensemble(learned.ensemble, target, lambda folder: _write(result, header, folder))
    shutil.rmtree(checkpoint, ignore_errors=True)
    return result


def _check_inputs(
    profiles: str | os.PathLike[str] | None,
    forcing: str | os.PathLike[str] | None,
    assimilation: str | os.PathLike[str] | None,
) -> None:
    """Refuse inputs that need others."""
    if (profiles is None) != (forcing is None):
        raise LearningError("Give both the profiles and the forcing at sites, or neither.")
    if assimilation is not None and profiles is None:
        raise LearningError("The fit of the assimilation also needs profiles and forcing.")


def _reader_of_layers(
    posterior: xr.Dataset,
    profiles: str | os.PathLike[str] | None,
    forcing: str | os.PathLike[str] | None,
) -> Callable[[np.ndarray], SiteLayers] | None:
    """Return the function that reads the measured layers of sites, None without profiles."""
    if profiles is None or forcing is None:
        return None
    return lambda sites: read_layers(sites, profiles, forcing, assimilation_settings(posterior))


@dataclass(frozen=True)
class _Evaluation:
    """Results of a cross-validation, with the names that they have in `TrainingResult`."""

    skill_parameters: pd.DataFrame | None = None
    skill_carbon: pd.DataFrame | None = None
    importance: pd.DataFrame | None = None
    curve: pd.DataFrame | None = None
    held_out: xr.Dataset | None = None
    spread: dict[str, Spread] = field(default_factory=dict)
    residuals: xr.Dataset | None = None


def _evaluate(
    learned: Learned,
    validation: CrossValidation,
    settings: LearningSettings,
    assimilation: str | os.PathLike[str] | None,
    default_b: float | None,
    curve: bool,
    importance: int,
    tell: Callable[[str], None],
) -> _Evaluation:
    """Evaluate the cross-validation by parameters and, with profiles, by carbon."""
    tell("skill of parameters")
    skills = validation.skill()
    held_out = validation.as_dataset()
    carbon, shuffled, growth, residuals = None, None, None, None
    spread: dict[str, Spread] = {}
    if learned.layers is not None:
        tell("skill of carbon")
        modelled = modelled_by_method(validation, learned.layers, assimilation, default_b)
        groups = groups_of(learned.layers, learned.sites.table)
        carbon = carbon_skill(learned.layers, modelled, groups)
        held_out = held_out.merge(_rows(learned.layers, modelled, groups))
        if assimilation is not None:
            tell("joint draws")
            residuals = joint_residuals(
                learned.sites.targets,
                validation.predicted[NETWORK],
                open_posterior(assimilation)[0]["posterior"],
                seed=settings.seed,
            )
        if learned.ensemble.calibration is not None:
            tell("spread of carbon")
            values = None if residuals is None else residuals["residual"].to_numpy()
            spread = spread_of_carbon(
                validation, learned.layers, learned.ensemble.calibration, values, settings.seed
            )
            if residuals is not None:
                factor = spread[JOINT].factor
                residuals["residual"] = residuals["residual"] * factor
                residuals.attrs["factor"] = factor
    if importance:
        tell("importance of covariates")
        shuffled = permutation_importance(validation, repeats=importance)
    if curve:
        tell("learning curve")
        growth = _curve(learned, settings)
    return _Evaluation(skills, carbon, shuffled, growth, held_out, spread, residuals)


def _notes(posterior: xr.Dataset, carbon: bool) -> tuple[str, ...]:
    """Return what limits the evidence of a training; `carbon` is whether it had profiles."""
    notes = []
    if not carbon:
        notes.append(
            "no profiles and forcing: neither tuned through the soil model nor evaluated by carbon"
        )
    if str(posterior.attrs.get("is_posterior", "yes")) != "yes":
        notes.append(
            f"the draws behind the targets are not a posterior: {posterior.attrs['is_posterior']}"
        )
    return tuple(notes)


def modelled_by_method(
    validation: CrossValidation,
    layers: SiteLayers,
    assimilation: str | os.PathLike[str] | None = None,
    default_b: float | None = None,
) -> dict[str, Modelled]:
    """Carbon at the measured layers by every method of a cross-validation and further methods.

    The further methods are `default`, `network_members` (mean carbon of the members; `network` is
    the carbon at their mean parameters) and, with the folder of the run, `assimilated`.
    """
    out = {DEFAULT: default_carbon(layers, default_b)}
    parameters = validation.parameters()
    for method in sorted(parameters, key=lambda name: name.startswith(NETWORK)):
        out[method] = held_out_carbon(layers, parameters[method], method)
    out[MEMBERS] = ensemble_carbon(layers, validation.members())
    if assimilation is not None:
        out[ASSIMILATED] = assimilated_carbon(layers, assimilation)
    return out


def _rows(
    layers: SiteLayers, modelled: dict[str, Modelled], groups: dict[str, np.ndarray]
) -> xr.Dataset:
    """Measured layers beside their modelled carbon, as dimension row."""
    p = layers.profiles
    kg = {"units": "kg m-3"}
    return xr.Dataset(
        {
            "row_site": ("row", p.site[layers.row_site].astype(object)),
            "row_upper": ("row", p.upper, {"units": "m"}),
            "row_lower": ("row", p.lower, {"units": "m"}),
            "row_used": ("row", layers.used),
            "row_observed": ("row", p.carbon / 1000.0, kg),
            "row_modelled": (
                ("carbon_method", "row"),
                np.stack([m.carbon for m in modelled.values()]),
                kg,
            ),
            "feasible": (
                ("carbon_method", "site"),
                np.stack([m.feasible for m in modelled.values()]),
            ),
            **{f"row_{by}": ("row", names) for by, names in groups.items() if by != "all"},
        },
        coords={"carbon_method": list(modelled)},
    )


def _curve(learned: Learned, settings: LearningSettings) -> pd.DataFrame:
    assert learned.validation is not None
    folds = learned.validation.folds
    most = min(int((folds != f).sum()) for f in np.unique(folds))
    sizes = sorted({max(2, round(share * most)) for share in CURVE_SHARES})
    # Some small samples leave no block for validation; those sizes are not possible.
    tables = []
    for size in sizes:
        try:
            tables.append(learning_curve(learned.sites, folds, [size], settings))
        except LearningError as error:
            if "leave none to train on" not in str(error):
                raise
    if not tables:
        raise LearningError("No size of the learning curve can be trained; call with curve=False.")
    return pd.concat(tables, ignore_index=True)


def _read(kept: str | os.PathLike[str]) -> xr.Dataset:
    with files.open_dataset(kept, result=True) as opened:
        loaded = files.load(opened, kept)
    check_dataset_sites(loaded, kept, LearningError)
    return loaded


def _header(
    result: TrainingResult,
    settings: LearningSettings,
    inputs: dict[str, Any],
    validated: dict[str, Any],
) -> dict[str, Any]:
    learned = result.learned
    header: dict[str, Any] = {
        "model": learned.ensemble.model,
        "variant": learned.ensemble.variant,
        **learned.ensemble.origin,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "inputs": {name: None if path is None else str(path) for name, path in inputs.items()},
        "settings": settings.as_dict(),
        "cross_validation": validated,
        "sites": learned.ensemble.n_sites,
        "left_out": len(learned.sites.left_out),
        "left_out_by_reason": learned.sites.left_out["reason"].value_counts().to_dict(),
        "filled": learned.sites.filled,
        "constant": list(learned.sites.features.constant),
        "tuned": learned.tuned is not None,
        "notes": list(result.notes),
        "seconds": round(result.seconds, 1),
    }
    if learned.ensemble.calibration is not None:
        names = learned.ensemble.parameters
        header["calibration"] = {
            part: dict(zip(names, values.tolist(), strict=True))
            for part, values in asdict(learned.ensemble.calibration).items()
        }
    if result.spread:
        header["spread_of_carbon"] = {kind: asdict(s) for kind, s in result.spread.items()}
    return header


def _write(result: TrainingResult, header: dict[str, Any], folder: Path) -> None:
    for name, table in (
        (SKILL_PARAMETERS, result.skill_parameters),
        (SKILL_CARBON, result.skill_carbon),
        (IMPORTANCE, result.importance),
        (CURVE, result.curve),
        ("left_out.csv", result.learned.sites.left_out),
    ):
        if table is not None:
            table.to_csv(folder / name, index=False)
    if result.held_out is not None:
        files.write_netcdf(result.held_out, folder / HELD_OUT)
    if result.residuals is not None:
        write_residuals(result.residuals, folder)
    (folder / TRAINING).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
