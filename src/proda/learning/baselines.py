"""Baselines of a network: mean parameters, the nearest site, a random forest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from proda.errors import LearningError
from proda.learning.join import TrainingSites
from proda.machine import let_threads_sleep
from proda.places import unit_vectors
from proda.validation_settings import TREES

LEAF = 5
"""Sites in the smallest leaf of a tree; parameters of single sites are noisy."""


def mean_parameters(train: TrainingSites, n: int) -> Float[np.ndarray, "n parameter"]:
    """Mean of the posterior means of the training sites, for n places."""
    return np.tile(train.targets.posterior.mean(axis=0), (n, 1))


def weighted_mean(train: TrainingSites, n: int) -> Float[np.ndarray, "n parameter"]:
    """Mean of the training targets weighted by information; the middle of the prior without any."""
    w, z = train.targets.weight, train.targets.value
    total = w.sum(axis=0)
    mean = np.divide((w * z).sum(axis=0), total, out=np.full_like(total, 0.5), where=total > 0)
    return np.tile(mean, (n, 1))


def nearest_site(train: TrainingSites, test: TrainingSites) -> Float[np.ndarray, "site parameter"]:
    """Posterior mean of the training site that is nearest along the great circle."""
    tree = cKDTree(unit_vectors(train.targets.latitude, train.targets.longitude))
    _, nearest = tree.query(unit_vectors(test.targets.latitude, test.targets.longitude))
    return train.targets.posterior[nearest]


def random_forest(
    train: TrainingSites, test: TrainingSites, seed: int, trees: int = TREES, jobs: int = 1
) -> Float[np.ndarray, "site parameter"]:
    """Posterior means by a random forest on the same encoded covariates, all parameters at once."""
    let_threads_sleep()
    from sklearn.ensemble import RandomForestRegressor  # slow to import, and only needed here

    forest = RandomForestRegressor(
        n_estimators=trees,
        min_samples_leaf=LEAF,
        max_features=1 / 3,
        random_state=seed,
        n_jobs=jobs,
    )
    forest.fit(train.inputs, train.targets.posterior)
    # Threads would add up the trees in any order, and the last bits would differ between runs.
    forest.n_jobs = 1
    return np.asarray(forest.predict(test.inputs)).reshape(len(test.inputs), -1)


def default_parameters(
    values: Float[np.ndarray, "..."], sites: TrainingSites
) -> Float[np.ndarray, "site parameter"]:
    """Defaults, one set or one per site in physical units, as shares of the prior range.

    They may lie outside the range, as CLM5's e-folding depth does.

    Raises
    ------
    LearningError
        If their number does not fit, or one is not finite.
    """
    goal = sites.targets
    shape = (goal.sites.size, len(goal.parameters))
    values = np.asarray(values, float)
    if values.shape not in (shape, shape[1:]):
        raise LearningError(
            f"Default parameters have the shape {values.shape}; expected {shape[1:]} or {shape}."
        )
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values.reshape(-1, shape[1])).all(axis=0))
        names = ", ".join(goal.parameters[i] for i in bad)
        raise LearningError(f"The default of {names} is not finite; give the value of each site.")
    return goal.share(np.broadcast_to(values, shape))
