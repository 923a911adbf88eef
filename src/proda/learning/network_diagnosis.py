"""On what the skill of a network depends: the number of sites, and each covariate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Int

from proda.errors import LearningError
from proda.learning.ensemble import predict_members
from proda.learning.join import TrainingSites
from proda.learning.learning_settings import LearningSettings
from proda.learning.posterior_loss import train_parameters
from proda.learning.skill import skill
from proda.learning.splits import TrainingPlan, plan
from proda.learning.validation import NETWORK, CrossValidation, assess


def learning_curve(
    sites: TrainingSites,
    folds: Int[np.ndarray, " site"],
    sizes: Sequence[int],
    settings: LearningSettings,
    fold_members: int = 1,
) -> pd.DataFrame:
    """Skill at the sites of each fold after training on increasing numbers of the other sites.

    Smaller samples are subsets of the larger ones. Smaller samples have more epochs (at most 10
    times as many), so that every size gets about the same number of updates.

    Returns
    -------
    table
        `sites_trained`, then the columns of `skill`.

    Raises
    ------
    LearningError
        If a size is larger than the number of training sites of a fold.
    """
    goal = sites.targets
    most = min(int((folds != f).sum()) for f in np.unique(folds))
    if bad := [n for n in sizes if not 2 <= n <= most]:
        raise LearningError(f"Sizes {bad}: each fold has 2 to {most} training sites.")
    order = np.random.default_rng([settings.seed, 5]).permutation(goal.sites.size)
    tables = []
    for size in sizes:
        factor = min(10.0, most / size)
        changed = replace(
            settings,
            epochs=round(settings.epochs * factor),
            patience=None if settings.patience is None else round(settings.patience * factor),
        )
        parts = []
        for fold in np.unique(folds):
            kept = np.sort(order[folds[order] != fold][:size])
            sub = plan(goal.latitude[kept], goal.longitude[kept], changed, members=fold_members)
            parts.append((fold, kept, sub))
        design = _stack(parts)
        trained = train_parameters(sites.inputs, goal, design, changed)
        result = assess(sites, folds, trained, changed)
        table = skill(goal, {NETWORK: result.predicted[NETWORK]}, result.weighted_mean)
        table.insert(0, "sites_trained", size)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _stack(parts: list[tuple[int, np.ndarray, TrainingPlan]]) -> TrainingPlan:
    """One plan of several, each drawn among the sites `kept` of its fold."""

    def widest(rows: list[np.ndarray]) -> np.ndarray:
        out = np.full((len(rows), max(r.size for r in rows)), -1, np.int32)
        for i, row in enumerate(rows):
            out[i, : row.size] = row
        return out

    train_rows, validation_rows, fold_of, member = [], [], [], []
    for fold, kept, sub in parts:
        for i, number in enumerate(sub.member):
            train_rows.append(kept[sub.train[i][sub.train[i] >= 0]])
            validation_rows.append(kept[sub.validation[i][sub.validation[i] >= 0]])
            fold_of.append(fold)
            member.append(number)
    return TrainingPlan(
        widest(train_rows), widest(validation_rows), np.array(fold_of), np.array(member)
    )


def permutation_importance(
    result: CrossValidation,
    groups: Mapping[str, Sequence[str]] | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Increase of the error at held-out sites when a covariate is shuffled among them.

    Parameters
    ----------
    result
        A cross-validation; each fold is predicted with its own networks.
    groups
        Covariates to shuffle together, by name of the group (for example the depths of one soil
        property); by default each one alone. Correlated covariates carry the same information, so
        that one alone may seem unimportant.
    repeats, seed
        How often each is shuffled.

    Returns
    -------
    table
        group, `increase` (relative increase of the information-weighted squared error, mean over
        repeats) and `sd` over repeats; largest first.

    Raises
    ------
    LearningError
        Naming covariates of a group that are not predictors.
    """
    sites = result.sites
    columns = sites.features.input_groups()
    groups = {name: [name] for name in columns} if groups is None else groups
    if bad := sorted({n for names in groups.values() for n in names} - set(columns)):
        raise LearningError(f"These are not predictors: {', '.join(bad)}.")
    goal = sites.targets
    parts = [
        (np.flatnonzero(result.folds == f), result.networks(int(f)))
        for f in np.unique(result.folds)
    ]

    def error(shuffled: np.ndarray | None, rng: np.random.Generator | None) -> float:
        total = 0.0
        for rows, networks in parts:
            inputs = sites.inputs[rows].copy()
            if shuffled is not None and rng is not None:
                inputs[:, shuffled] = inputs[rng.permutation(rows.size)][:, shuffled]
            predicted = predict_members(networks, inputs).mean(axis=0)
            total += float((goal.weight[rows] * (goal.value[rows] - predicted) ** 2).sum())
        return total

    base = error(None, None)
    rows = []
    for i, (name, members) in enumerate(groups.items()):
        which = np.concatenate([np.arange(columns[m].start, columns[m].stop) for m in members])
        worse = [
            error(which, np.random.default_rng([seed, 6, i, r])) / base - 1.0
            for r in range(repeats)
        ]
        rows.append((name, float(np.mean(worse)), float(np.std(worse))))
    table = pd.DataFrame(rows, columns=["group", "increase", "sd"])
    return table.sort_values("increase", ascending=False, kind="stable", ignore_index=True)
