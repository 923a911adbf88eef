"""Baselines of end-to-end networks: carbon predicted without any soil model.

Depth alone, gradient boosting on covariates and depth, and a plain network of the same size. They
are stored as arrays, so that opening the folder of a network does not run code from it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from proda.errors import LearningError
from proda.learning.fit_memory import fitted_once
from proda.machine import let_threads_sleep

DEPTH, BOOSTING, PLAIN = "depth", "boosting", "plain_network"
BASELINES = (DEPTH, BOOSTING, PLAIN)

DEGREE = 4
"""Degree of the polynomial of ln carbon in ln depth."""

SHALLOWEST = 0.005
"""Depth below which the curve of depth no longer changes, m."""

TREES, TREE_RATE = 200, 0.08
PLAIN_EPOCHS = 10
CONSTANT = 1e-6
"""Inputs that vary less than this in training are not used by the plain network."""


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline: its name, and the arrays from which it predicts."""

    name: str
    arrays: dict[str, np.ndarray]

    def predict(
        self,
        inputs: Float[np.ndarray, "site input"],
        site: Int[np.ndarray, " row"],
        depth: Float[np.ndarray, " row"],
    ) -> Float[np.ndarray, " row"]:
        """Return ln carbon (g m-3) of layers at a middle depth (m), each at a row of `inputs`."""
        if self.name == DEPTH:
            return _curve(self.arrays, depth)
        table = design(inputs, site, depth)
        if self.name == PLAIN:
            return _plain(self.arrays, table)
        return trees_of(self.arrays, table)


def fit_baseline(
    name: str,
    inputs: Float[np.ndarray, "site input"],
    site: Int[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"],
    carbon: Float[np.ndarray, " row"],
    hidden: tuple[int, ...] = (128, 128),
    seed: int = 0,
) -> Baseline:
    """Fit a baseline to ln carbon of measured layers.

    A layer has the weight 1 / sqrt(layers of its site), as in the networks' loss.

    Parameters
    ----------
    inputs, site, depth, carbon
        Encoded inputs by site; for each layer the row of its site, the middle depth (m) and the
        carbon (g m-3).
    hidden, seed
        Size of the plain network, and the root of its random numbers.

    Raises
    ------
    LearningError
        If the name is unknown.
    """
    goal = np.log(carbon)
    weight = layer_weights(site)
    if name == DEPTH:
        x = _log_depth(depth)
        ends = np.array([x.min(), x.max()])
        degree = min(DEGREE, len(np.unique(x)) - 1)
        fit = np.polyfit(x, goal, degree, w=np.sqrt(weight))
        return Baseline(name, {"coefficients": fit, "ends": ends})
    table = design(inputs, site, depth)
    if name == BOOSTING:
        return Baseline(name, fit_trees(table, goal, weight, seed))
    if name == PLAIN:
        return Baseline(name, fitted_once(_fit_plain, table, goal, weight, hidden, seed))
    raise LearningError(f"Unknown baseline: {name}; choose from {', '.join(BASELINES)}.")


def layer_weights(site: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """Weight of each layer: 1 / sqrt(layers of its site), as in the networks' loss."""
    _, own, count = np.unique(site, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / np.sqrt(count[own]))


def as_arrays(baselines: list[Baseline]) -> dict[str, np.ndarray]:
    """Return all arrays of several baselines under one set of names."""
    return {f"{b.name}.{key}": value for b in baselines for key, value in b.arrays.items()}


def from_arrays(arrays: dict[str, np.ndarray]) -> list[Baseline]:
    """Rebuild baselines from the arrays of :func:`as_arrays`."""
    own: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        baseline, _, key = name.partition(".")
        own.setdefault(baseline, {})[key] = value
    return [Baseline(name, own[name]) for name in BASELINES if name in own]


def _log_depth(depth: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(depth, SHALLOWEST)))


def design(
    inputs: Float[np.ndarray, "site input"],
    site: Int[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"],
) -> Float[np.ndarray, "row column"]:
    """Return the inputs of each layer's site and ln depth (m), in float32."""
    x = np.empty((len(site), inputs.shape[1] + 1), np.float32)
    x[:, :-1] = inputs[site]
    x[:, -1] = _log_depth(depth)
    return x


def _curve(arrays: dict[str, np.ndarray], depth: np.ndarray) -> np.ndarray:
    low, high = arrays["ends"]
    return np.asarray(np.polyval(arrays["coefficients"], np.clip(_log_depth(depth), low, high)))


def fit_trees(
    table: Float[np.ndarray, "row column"],
    goal: Float[np.ndarray, " row"],
    weight: Float[np.ndarray, " row"],
    seed: int,
    **settings: Any,
) -> dict[str, np.ndarray]:
    """Fit gradient boosting and return its trees as arrays; the same fit is made once.

    `settings` replace the default settings of scikit-learn's HistGradientBoostingRegressor used
    here.

    Raises
    ------
    LearningError
        If this version of scikit-learn stores its trees in another way.
    """
    chosen = {
        "max_iter": TREES,
        "learning_rate": TREE_RATE,
        "min_samples_leaf": 40,
        "l2_regularization": 1.0,
    } | settings
    chosen["min_samples_leaf"] = min(chosen["min_samples_leaf"], max(1, len(goal) // 20))
    return fitted_once(_fit_trees, table, goal, weight, seed, chosen)


def _fit_trees(
    table: np.ndarray, goal: np.ndarray, weight: np.ndarray, seed: int, chosen: dict[str, Any]
) -> dict[str, np.ndarray]:
    let_threads_sleep()
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import

    model = HistGradientBoostingRegressor(early_stopping=False, random_state=seed, **chosen)
    model.fit(table, goal, sample_weight=weight)
    nodes = [tree[0].nodes for tree in model._predictors]
    size = max(len(one) for one in nodes)

    def column(field: str, kind: Any) -> np.ndarray:
        out = np.zeros((len(nodes), size), kind)
        for i, one in enumerate(nodes):
            out[i, : len(one)] = one[field]
        return out

    arrays = {
        "base": np.asarray(model._baseline_prediction, float).reshape(1),
        "feature": column("feature_idx", np.int32),
        "threshold": column("num_threshold", np.float64),
        "left": column("left", np.int32),
        "right": column("right", np.int32),
        "leaf": column("is_leaf", bool),
        "value": column("value", np.float64),
    }
    # The trees are read from internal arrays of scikit-learn: refuse a version with another layout.
    if not np.allclose(trees_of(arrays, table[:500]), model.predict(table[:500]), atol=1e-9):
        raise LearningError(
            "The trees of this version of scikit-learn cannot be exported: the exported trees give "
            "other predictions. Train without the baseline `boosting` and without a residual."
        )
    return arrays


def trees_of(
    arrays: dict[str, np.ndarray], table: Float[np.ndarray, "row column"]
) -> Float[np.ndarray, " row"]:
    """Return the predictions of trees of :func:`fit_trees`."""
    total = np.full(len(table), float(arrays["base"][0]))
    rows = np.arange(len(table))
    for feature, threshold, left, right, leaf, value in zip(
        arrays["feature"],
        arrays["threshold"],
        arrays["left"],
        arrays["right"],
        arrays["leaf"],
        arrays["value"],
        strict=True,
    ):
        node = np.zeros(len(table), np.int32)
        while not leaf[node].all():
            below = table[rows, feature[node]] <= threshold[node]
            node = np.where(leaf[node], node, np.where(below, left[node], right[node]))
        total += value[node]
    return total


def _fit_plain(
    table: np.ndarray, goal: np.ndarray, weight: np.ndarray, hidden: tuple[int, ...], seed: int
) -> dict[str, np.ndarray]:
    let_threads_sleep()
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.neural_network import MLPRegressor

    # Layers are sampled by weight, because the regressor does not accept weights.
    rng = np.random.default_rng([seed, 11])
    drawn = rng.choice(len(goal), len(goal), p=weight / weight.sum())
    mean, sd = goal.mean(), max(float(goal.std()), 1e-6)
    # An input that is the same at all training sites is not used.
    middle, width = table.mean(axis=0), table.std(axis=0)
    width = np.where(width > CONSTANT, width, np.inf)
    model = MLPRegressor(
        hidden_layer_sizes=hidden,
        batch_size=min(512, max(16, len(goal) // 50)),
        max_iter=PLAIN_EPOCHS,
        alpha=1e-3,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # the number of epochs is fixed on purpose
        model.fit(((table - middle) / width)[drawn], (goal[drawn] - mean) / sd)
    arrays = {"middle": middle, "width": width, "goal": np.array([mean, sd])}
    for i, (w, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        arrays |= {f"weight_{i}": w, f"bias_{i}": b}
    return arrays


def _plain(arrays: dict[str, np.ndarray], table: np.ndarray) -> np.ndarray:
    x = (table - arrays["middle"]) / arrays["width"]
    last = sum(name.startswith("weight_") for name in arrays) - 1
    for i in range(last + 1):
        x = x @ arrays[f"weight_{i}"] + arrays[f"bias_{i}"]
        x = np.maximum(x, 0.0) if i < last else x
    mean, sd = arrays["goal"]
    return np.asarray(mean + sd * x[:, 0])
