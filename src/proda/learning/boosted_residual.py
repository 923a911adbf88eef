"""What an end-to-end network leaves of ln carbon, by gradient boosting: it carries no mechanism.

It is fitted to layers that the network's folds left out of training: residuals of training layers
are too small, and say nothing of places that were not measured. It sees what the network sees
(covariates and the summary of the forcing), the depth, and the model's own ln carbon there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.errors import FileError, LearningError
from proda.learning.archive import read_archive, write_archive
from proda.learning.carbon_baselines import design, fit_trees, layer_weights, trees_of

FILE = "residual.npz"
"""In the folder of a network; a network trained without a residual has none."""

KIND = "boosted residual"

NO_MECHANISM = (
    "carries no mechanism: gradient boosting of what the soil model leaves in ln carbon at places "
    "left out of training; not a state of the model"
)
"""What everything that shows this product says of it."""

SETTINGS = {"max_iter": 300, "learning_rate": 0.03, "min_samples_leaf": 200, "max_features": 0.3}
"""Smaller steps and larger leaves than boosting has as a baseline: what is left is mostly noise."""


@dataclass(frozen=True)
class BoostedResidual:
    """Fitted trees, as arrays."""

    arrays: dict[str, np.ndarray]
    n_inputs: int

    def predict(
        self,
        inputs: Float[np.ndarray, "site input"],
        site: Int[np.ndarray, " row"],
        depth: Float[np.ndarray, " row"],
        log_carbon: Float[np.ndarray, " row"],
    ) -> Float[np.ndarray, " row"]:
        """Return what to add to the model's ln carbon of layers.

        Parameters
        ----------
        inputs, site, depth
            Encoded inputs of the network by site; of each layer the row of its site and the middle
            depth (m).
        log_carbon
            The model's ln carbon of each layer, kg m-3.

        Raises
        ------
        LearningError
            If the inputs are not those of the network that it was fitted for.
        """
        if inputs.shape[1] != self.n_inputs:
            raise LearningError(
                f"{FILE}: fitted for {self.n_inputs} inputs, the network has {inputs.shape[1]}; "
                "train again."
            )
        return trees_of(self.arrays, _table(inputs, site, depth, log_carbon))


def fit_residual(
    inputs: Float[np.ndarray, "site input"],
    site: Int[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"],
    log_carbon: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    seed: int = 0,
) -> BoostedResidual:
    """Fit the residual of layers left out of training.

    A layer has the weight 1 / sqrt(layers of its site), as in the networks' loss.

    Parameters
    ----------
    inputs, site, depth
        As in :meth:`BoostedResidual.predict`.
    log_carbon
        The model's ln carbon of each layer by networks that have not seen it, kg m-3.
    observed
        Measured ln carbon of each layer, kg m-3.
    seed
        Root of the random numbers.
    """
    table = _table(inputs, site, depth, log_carbon)
    weight = layer_weights(site)
    return BoostedResidual(
        fit_trees(table, observed - log_carbon, weight, seed, **SETTINGS), inputs.shape[1]
    )


def crossed_residual(
    inputs: Float[np.ndarray, "site input"],
    site: Int[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"],
    log_carbon: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    fold: Int[np.ndarray, " site"],
    use: Bool[np.ndarray, " row"],
    seed: int = 0,
) -> Float[np.ndarray, " row"]:
    """Return the residual of every layer by trees that have not seen its fold.

    Parameters
    ----------
    inputs, site, depth, log_carbon, observed, seed
        As in :func:`fit_residual`; log_carbon is NaN where there is no answer, and so is what is
        returned.
    fold
        Fold of each site.
    use
        Layers to fit to.
    """
    out = np.full(len(site), np.nan)
    known = np.isfinite(log_carbon)
    for f in np.unique(fold):
        rest, test = use & known & (fold[site] != f), known & (fold[site] == f)
        one = fit_residual(inputs, site[rest], depth[rest], log_carbon[rest], observed[rest], seed)
        out[test] = one.predict(inputs, site[test], depth[test], log_carbon[test])
    return out


def write_residual(folder: Path, residual: BoostedResidual) -> None:
    """Write it into the folder of a network, as arrays: nothing in it is ever run."""
    header = {"kind": KIND, "n_inputs": residual.n_inputs, "comment": NO_MECHANISM}
    write_archive(folder / FILE, header, residual.arrays)


def read_residual(network: str | os.PathLike[str]) -> BoostedResidual | None:
    """Return the residual in the folder of a network; None where it was trained without one.

    Raises
    ------
    FileError
        If the file is damaged, or something else.
    """
    path = Path(network) / FILE
    if not path.is_file():
        return None
    header, arrays = read_archive(path)
    if header.get("kind") != KIND or not isinstance(header.get("n_inputs"), int):
        raise FileError(f"{path}: contains no boosted residual; copy it again or train again.")
    return BoostedResidual(arrays, header["n_inputs"])


def _table(
    inputs: np.ndarray, site: np.ndarray, depth: np.ndarray, log_carbon: np.ndarray
) -> np.ndarray:
    known = np.asarray(log_carbon, np.float32)[:, None]
    return np.concatenate([design(inputs, site, depth), known], axis=1)
