"""Training and validation sites: folds, blocks of the map, and the sample of every member."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from proda.errors import LearningError
from proda.latitude import row_of
from proda.learning.learning_settings import LearningSettings

NO_FOLD = -1
"""Fold of a run that is trained on all sites."""


@dataclass(frozen=True)
class TrainingPlan:
    """Rows of the training table for each run; a run is one member in one fold.

    `train` and `validation` hold row numbers, padded with -1 at the end of each row; `fold` is the
    fold left out (`NO_FOLD`: none).
    """

    train: Int[np.ndarray, "run train"]
    validation: Int[np.ndarray, "run validation"]
    fold: Int[np.ndarray, " run"]
    member: Int[np.ndarray, " run"]

    def select(self, runs: np.ndarray) -> TrainingPlan:
        """Return some of the runs."""
        return TrainingPlan(
            self.train[runs], self.validation[runs], self.fold[runs], self.member[runs]
        )


def blocks(
    latitude: Float[np.ndarray, " site"], longitude: Float[np.ndarray, " site"], degrees: float
) -> Int[np.ndarray, " site"]:
    """Return the number of each site's block of `degrees` x `degrees`; 0 and 360 E are one place.

    Raises
    ------
    LearningError
        If a coordinate is not finite or not on Earth.
    """
    if not (np.isfinite(longitude).all() and (np.abs(latitude) <= 90).all()):
        raise LearningError("Sites have latitudes or longitudes that are not on Earth.")
    row = row_of(latitude, degrees)
    column = np.floor(np.mod(longitude, 360.0) / degrees).astype(int)
    return np.unique(row * (int(360 / degrees) + 1) + column, return_inverse=True)[1]


def random_folds(n: int, k: int, seed: int) -> Int[np.ndarray, " site"]:
    """Return the fold, 0 to k-1, of each of n sites: random, equal in size to one site.

    Raises
    ------
    LearningError
        If there are fewer sites than folds, or fewer than 2 folds.
    """
    _check_folds(n, k, "sites")
    fold = np.arange(n) % k
    return np.random.default_rng([seed, 1]).permutation(fold)


def spatial_folds(
    latitude: Float[np.ndarray, " site"],
    longitude: Float[np.ndarray, " site"],
    k: int,
    degrees: float,
    seed: int,
) -> Int[np.ndarray, " site"]:
    """Return the fold of each site; all sites of a block of the map are in one fold.

    Blocks are assigned in random order, each to the fold with the fewest sites so far.

    Raises
    ------
    LearningError
        If the sites lie in fewer blocks than folds, or there are fewer than 2 folds.
    """
    block = blocks(latitude, longitude, degrees)
    size = np.bincount(block)
    _check_folds(len(size), k, f"blocks of {degrees:g} degrees with sites")
    filled, fold_of = np.zeros(k, int), np.zeros(len(size), int)
    for b in np.random.default_rng([seed, 2]).permutation(len(size)):
        fold_of[b] = int(np.argmin(filled))
        filled[fold_of[b]] += size[b]
    return fold_of[block]


def _check_folds(n: int, k: int, what: str) -> None:
    if k < 2:
        raise LearningError(f"{k} folds; cross-validation needs at least 2.")
    if n < k:
        raise LearningError(f"{n} {what} cannot be divided into {k} folds; use fewer folds.")


def plan(
    latitude: Float[np.ndarray, " site"],
    longitude: Float[np.ndarray, " site"],
    settings: LearningSettings,
    folds: Int[np.ndarray, " site"] | None = None,
    fold_members: int = 0,
    members: int | None = None,
) -> TrainingPlan:
    """Draw every run's training and validation sites.

    Parameters
    ----------
    latitude, longitude
        Of all sites, degrees.
    settings
        Seed, number of members, share and kind of validation sites, bootstrap.
    folds, fold_members
        Fold of each site, and how many members to train without each fold.
    members
        Members trained on all sites (except their own validation sites); default:
        `settings.members`.

    Raises
    ------
    LearningError
        If a run would have no training or no validation sites.
    """
    members = settings.members if members is None else members
    runs = [(NO_FOLD, m) for m in range(members)]
    if folds is not None:
        runs += [(int(f), m) for f in np.unique(folds) for m in range(fold_members)]
    if not runs:
        raise LearningError("There is no network to train: members and fold members are both 0.")
    block = blocks(latitude, longitude, settings.block_degrees)
    train, validation = [], []
    for fold, member in runs:
        rows = np.arange(len(block)) if folds is None else np.flatnonzero(folds != fold)
        rng = np.random.default_rng([settings.seed, 3, fold + 1, member])
        kept, held = _hold_out(rows, block[rows], settings, rng)
        if settings.resample == "bootstrap":
            kept = np.sort(rng.choice(kept, kept.size))
        train.append(kept)
        validation.append(held)
    return TrainingPlan(
        padded(train),
        padded(validation),
        np.array([f for f, _ in runs]),
        np.array([m for _, m in runs]),
    )


def _hold_out(
    rows: np.ndarray, block: np.ndarray, settings: LearningSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    if settings.validation_share == 0:
        return rows, rows[:0]
    wanted = max(1, round(settings.validation_share * rows.size))
    if settings.validation == "random":
        held = np.isin(np.arange(rows.size), rng.permutation(rows.size)[:wanted])
    else:
        order = rng.permutation(np.unique(block))
        filled = np.cumsum([np.sum(block == b) for b in order])
        held = np.isin(block, order[: int(np.searchsorted(filled, wanted)) + 1])
    if held.all() or not held.any():
        raise LearningError(
            f"{rows.size} sites in {np.unique(block).size} blocks of {settings.block_degrees:g} "
            "degrees leave none to train on beside the validation sites; use smaller blocks, "
            "validation = 'random', or more sites."
        )
    return rows[~held], rows[held]


def padded(rows: list[np.ndarray]) -> Int[np.ndarray, "run most"]:
    """Stack rows of different lengths, padded with -1."""
    out = np.full((len(rows), max(len(r) for r in rows)), -1, np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
