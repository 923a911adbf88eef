"""The skill of a trained network at any profiles, such as a user's own or another database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from proda import files
from proda.drivers.forcing_rules import rules_of
from proda.errors import LearningError
from proda.layout import SKILL_CARBON, TRAINING
from proda.learning import carbon_baselines
from proda.learning.archive import read_archive
from proda.learning.boosted_residual import read_residual
from proda.learning.calibrated import with_interval
from proda.learning.carbon import default_carbon, held_out_carbon
from proda.learning.carbon_sites import CarbonSites, read_carbon_sites
from proda.learning.conformal import Intervals
from proda.learning.ensemble import Ensemble
from proda.learning.features import Encoded, Missing
from proda.learning.forcing_inputs import beside, needs_forcing
from proda.learning.join import missing_reasons
from proda.learning.network_folder import load_for_model
from proda.learning.places_left_out import (
    CONSTANT,
    DEFAULT,
    HELD_OUT,
    NETWORK,
    RESIDUAL,
    baseline_answer,
    residual_answer,
)
from proda.learning.through_model import BASELINE_FILE, FORCING_RULES
from proda.learning.unseen import (
    COLUMNS,
    Answer,
    answer_of_carbon,
    answer_of_members,
    groups,
    skill_table,
)
from proda.learning.unseen_file import read_unseen
from proda.models.model import SoilModel
from proda.models.outside import SOURCE


@dataclass(frozen=True)
class Evaluation:
    """Skill of every method, and the profiles that were left out."""

    skill: pd.DataFrame
    """One row per method: `unseen.COLUMNS`."""
    groups: pd.DataFrame
    """The same by depth, zone, climate, soil temperature and source."""
    left_out: pd.DataFrame
    """Profiles that were not compared (columns site, reason)."""
    notes: tuple[str, ...] = ()
    """Reasons why the skill may be misleading, as sentences."""


def evaluate_network(
    network: str | os.PathLike[str],
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
    covariates: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    missing: Missing = "leave_out",
) -> Evaluation:
    """Compare a network and every baseline in its folder with measured profiles.

    Parameters
    ----------
    network
        Folder of `proda train`, of either route.
    profiles, forcing, covariates
        Folder of `proda profiles build`, forcing at these sites, and their covariates (.parquet).
    output
        CSV to write, one row per method.
    missing
        Sites that lack a covariate: "leave_out" lists them, "median" fills them in.

    Raises
    ------
    FileError, LearningError
        Naming what is absent, damaged or does not fit.
    """
    ensemble, model = load_for_model(network)
    sites = read_carbon_sites(
        profiles,
        forcing,
        files.read_parquet(covariates, needed=("site",)),
        ensemble.origin.get(SOURCE, ensemble.model),
        ensemble.variant,
    )
    table, share, encoded = _predicted_shares(ensemble, model, sites, covariates, missing)
    bad = np.flatnonzero(~encoded.usable)
    sites = sites.without(bad, missing_reasons(table.iloc[bad], ensemble.features.names))
    answers = _answers(Path(network), ensemble, sites, share, encoded)
    table = skill_table(sites, answers, groups(sites))
    skill = table[table["by"] == "all"].reindex(columns=list(COLUMNS)).reset_index(drop=True)
    if output is not None:
        with files.whole_file(output) as temporary:
            skill.to_csv(temporary, index=False)
    return Evaluation(skill, table, sites.left_out, _notes(Path(network), sites, encoded, forcing))


def _predicted_shares(
    ensemble: Ensemble,
    model: SoilModel,
    sites: CarbonSites,
    covariates: str | os.PathLike[str],
    missing: Missing,
) -> tuple[pd.DataFrame, np.ndarray, Encoded]:
    """Return the inputs of the network, and its prediction at the sites that have all of them."""
    table = sites.table
    try:
        if needs_forcing(ensemble.features.names):
            made = ensemble.made_of_forcing(table, sites.layers.forcing, model, missing)
            table = beside(table, made)
        share, encoded = ensemble.shares(table, missing)
    except LearningError as error:
        raise LearningError(
            f"{covariates}: {error} Take the covariates from the grid that the network was trained "
            "on: proda covariates build GRID OUT.parquet --sites PROFILES/profiles.parquet."
        ) from error
    if not encoded.usable.any():
        lacking = ", ".join(f"{name} ({n})" for name, n in encoded.missing.items())
        raise LearningError(f"{covariates}: no site has all covariates; missing: {lacking}.")
    return table, share, encoded


def _answers(
    network: Path, ensemble: Ensemble, sites: CarbonSites, share: np.ndarray, encoded: Encoded
) -> dict[str, Answer]:
    """Return the carbon at the sites by the network and by every baseline in its folder."""
    left_out = read_unseen(network)
    members = ensemble.lower + share * (ensemble.upper - ensemble.lower)
    answers = {NETWORK: answer_of_members(sites.layers, members)}
    if (residual := read_residual(network)) is not None:
        answers[RESIDUAL] = residual_answer(answers[NETWORK], sites, residual, encoded.inputs)
    if left_out is not None:
        values = np.array([left_out["constant"][name] for name in ensemble.parameters])
        one = np.tile(values, (len(sites), 1))
        answers[CONSTANT] = answer_of_carbon(held_out_carbon(sites.layers, one, CONSTANT))
        _, arrays = read_archive(network / BASELINE_FILE)
        for baseline in carbon_baselines.from_arrays(arrays):
            answers[baseline.name] = baseline_answer(baseline, sites, encoded.inputs)
    answers[DEFAULT] = answer_of_carbon(default_carbon(sites.layers))
    if left_out is not None:
        for name, values_of in left_out["intervals"].items():
            if name in answers:
                answers[name] = with_interval(answers[name], Intervals.from_dict(values_of), sites)
    return answers


def _notes(
    network: Path, sites: CarbonSites, encoded: Encoded, forcing: str | os.PathLike[str]
) -> tuple[str, ...]:
    """Report profiles that are not new to the network, or unlike those of its training."""
    notes = []
    seen = network / HELD_OUT
    if seen.is_file():
        trained = pd.Index(sites.layers.profiles.site).isin(files.read_parquet(seen)["site"])
        if trained.any():
            notes.append(
                f"The network was trained on {trained.sum():,} of these {len(sites):,} profiles; "
                f"{SKILL_CARBON} in its folder has the skill at held-out places."
            )
    for name, classes in encoded.unseen.items():
        listed = ", ".join(f"{value} (sites: {n:,})" for value, n in classes.items())
        notes.append(f"{name} has classes that are absent from the training data: {listed}.")
    about = network / TRAINING
    header = files.read_json(about) if about.is_file() else {}
    before, now = header.get(FORCING_RULES), rules_of(forcing)
    if before and now and before != now:
        notes.append(
            f"{forcing} was estimated with other rules than the forcing of the training "
            f"({now}; training: {before})."
        )
    return tuple(notes)
