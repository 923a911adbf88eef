"""A share of the difference between gradient boosting and a network's carbon.

The residual of ln carbon carries no mechanism. The share is one number, fitted to layers that were
held out from both. Trees fitted to the residuals of networks at such layers were tried before: they
memorise regions and reduce the skill in other regions (benchmarks/results/end_to_end.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.errors import FileError, LearningError
from proda.learning.archive import read_archive, write_archive
from proda.learning.carbon_baselines import BOOSTING, Baseline, layer_weights

FILE = "residual.npz"
"""File in the folder of a network; a network trained without a residual has none."""

KIND = "share of boosting"

SHARE = "share"

NO_MECHANISM = (
    "carries no mechanism: a share of the difference between gradient boosting and the soil model "
    "in ln carbon is added; not a state of the model"
)
"""Description of the product, for files and figures."""


@dataclass(frozen=True)
class BoostedResidual:
    """Boosting, and the share of its difference from the network that is added."""

    share: float
    boosting: Baseline
    n_inputs: int

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All numbers of the residual."""
        return {**self.boosting.arrays, SHARE: np.array(self.share)}

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
            If the inputs are not those of the network for which it was fitted.
        """
        if inputs.shape[1] != self.n_inputs:
            raise LearningError(
                f"{FILE}: fitted for {self.n_inputs} inputs, the network has {inputs.shape[1]}; "
                "train again."
            )
        expected = self.boosting.predict(inputs, site, depth) - np.log(1000.0)
        return np.asarray(self.share * (expected - log_carbon))


def fit_share(
    log_carbon: Float[np.ndarray, " row"],
    expected: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    site: Int[np.ndarray, " row"],
) -> float:
    """Return the share of the difference, from 0 to 1, with the smallest squared error.

    A layer has the weight 1 / sqrt(layers of its site), as in the networks' loss.

    Parameters
    ----------
    log_carbon, expected
        ln carbon of layers predicted by networks and by boosting that were not fitted to them, kg
        m-3.
    observed, site
        Measured ln carbon, and the site of each layer.
    """
    weight, off = layer_weights(site), expected - log_carbon
    square = float(np.sum(weight * off**2))
    if square == 0:
        return 0.0
    return float(np.clip(np.sum(weight * off * (observed - log_carbon)) / square, 0.0, 1.0))


def crossed_residual(
    log_carbon: Float[np.ndarray, " row"],
    expected: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    site: Int[np.ndarray, " row"],
    fold: Int[np.ndarray, " row"],
    use: Bool[np.ndarray, " row"],
) -> Float[np.ndarray, " row"]:
    """Return the residual of every layer with the share of the other folds.

    Parameters
    ----------
    log_carbon, expected, observed, site
        As in :func:`fit_share`; log_carbon is NaN where there is no steady state, and so is the
        result.
    fold
        Fold of each layer.
    use
        Layers to fit to.
    """
    out = np.full(len(site), np.nan)
    known = use & np.isfinite(log_carbon)
    for f in np.unique(fold):
        rest, own = known & (fold != f), fold == f
        share = fit_share(log_carbon[rest], expected[rest], observed[rest], site[rest])
        out[own] = share * (expected[own] - log_carbon[own])
    return out


def write_residual(folder: Path, residual: BoostedResidual) -> None:
    """Write it into the folder of a network, as arrays that contain no code."""
    header = {"kind": KIND, "n_inputs": residual.n_inputs, "comment": NO_MECHANISM}
    write_archive(folder / FILE, header, residual.arrays)


def read_residual(network: str | os.PathLike[str]) -> BoostedResidual | None:
    """Return the residual in the folder of a network, or None if it was trained without one.

    Raises
    ------
    FileError
        If the file is damaged or is not a residual.
    """
    path = Path(network) / FILE
    if not path.is_file():
        return None
    header, arrays = read_archive(path)
    known = header.get("kind") == KIND and isinstance(header.get("n_inputs"), int)
    if not known or SHARE not in arrays:
        raise FileError(f"{path}: contains no boosted residual; copy it again or train again.")
    share = float(arrays.pop(SHARE))
    return BoostedResidual(share, Baseline(BOOSTING, arrays), header["n_inputs"])
