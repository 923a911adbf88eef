"""A trained ensemble: predict parameters anywhere, keep it in a folder, refuse it by name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda import files
from proda.errors import FileError, LearningError
from proda.learning.applicability import TrainingRange, applicability
from proda.learning.archive import read_archive, write_archive
from proda.learning.calibration import Calibration, calibrated_members, interval
from proda.learning.checkpoint import versions
from proda.learning.features import Features, Missing
from proda.learning.network import Network
from proda.learning.settings import LearningSettings
from proda.parameters import Parameter

FORMAT = 1
HEADER, WEIGHTS, HISTORY = "network.json", "weights.npz", "history.csv"
BLOCK = 8192
"""Rows predicted at a time, so that memory does not grow with the table."""


@dataclass(frozen=True)
class Ensemble:
    """Networks that map covariates to one model's parameters.

    `networks` are stacked along the member; `history` is a table with the columns member, epoch,
    training_loss, validation_loss and kept (the epoch whose weights these are).
    """

    networks: Network
    features: Features
    training_range: TrainingRange
    calibration: Calibration | None
    model: str
    variant: str
    parameters: tuple[str, ...]
    lower: Float[np.ndarray, " parameter"]
    upper: Float[np.ndarray, " parameter"]
    settings: LearningSettings
    n_sites: int
    history: pd.DataFrame

    @property
    def members(self) -> int:
        """Number of networks."""
        return int(self.networks.biases[-1].shape[0])

    def predict(
        self, table: pd.DataFrame, missing: Missing = "leave_out", draws: bool = False
    ) -> xr.Dataset:
        """Predict the parameters of every row of a covariate table.

        Parameters
        ----------
        table
            Covariates; a column `site` names the rows, else the table's index does.
        missing
            "leave_out": NaN for rows that lack a covariate; "median": fill and count them.
        draws
            Also return members spread as the calibration demands, for spread on maps.

        Returns
        -------
        dataset
            `parameters` (member, site, parameter); `mean` and `spread` (sd between members);
            where calibrated `sd` and the 90 % interval `interval_lower`, `interval_upper` of the
            truth; `usable`, `outside`, `unseen`, `distance`, `flag` (site). Physical units.
            The attribute `report` says what was left out, filled or unknown, and how often.

        Raises
        ------
        LearningError
            Naming covariates that are absent or of another kind, or if draws are wanted from an
            ensemble without calibration.
        """
        if draws and (self.calibration is None or self.members < 2):
            raise LearningError("Draws need an ensemble of 2 or more members, calibrated by folds.")
        encoded = self.features.encode(table, missing)
        share = predict_members(self.networks, encoded.inputs)
        shape = (self.members, len(table), len(self.parameters))

        def rows(values: np.ndarray, width: bool = False) -> np.ndarray:
            out = np.full((*values.shape[:-2], *shape[1:]), np.nan)
            out[..., encoded.usable, :] = values * (self.upper - self.lower)
            return out if width else out + self.lower

        mean = share.mean(axis=0)
        spread = share.std(axis=0, ddof=1) if self.members > 1 else np.zeros_like(mean)
        dims = ("site", "parameter")
        data: dict[str, Any] = {
            "parameters": (("member", *dims), rows(share)),
            "mean": (dims, rows(mean)),
            "spread": (dims, rows(spread, width=True)),
        }
        if self.calibration is not None:
            sd = self.calibration.sd(spread)
            low, high = interval(mean, sd)
            data |= {"sd": (dims, rows(sd, width=True)), "interval_lower": (dims, rows(low)),
                     "interval_upper": (dims, rows(high))}  # fmt: skip
            if draws:
                drawn = calibrated_members(share, self.calibration, self.settings.seed)
                data["draws"] = (("member", *dims), rows(drawn))
        reach = applicability(table, self.features, self.training_range)
        data["usable"] = ("site", encoded.usable)
        data |= {str(name): ("site", reach[name].to_numpy()) for name in reach}
        names = table.get("site", table.index)
        return xr.Dataset(
            data,
            coords={
                "site": np.asarray(names), "parameter": list(self.parameters),
                "lower": ("parameter", self.lower), "upper": ("parameter", self.upper),
            },
            attrs={"model": self.model, "variant": self.variant,
                   "report": "; ".join(encoded.report())},
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ensemble to a folder, whole or not at all; an older one there is replaced.

        Raises
        ------
        FileError
            If something else lies there, or it cannot be written.
        """
        arrays = {f"weight_{i}": np.asarray(w) for i, w in enumerate(self.networks.weights)}
        arrays |= {f"bias_{i}": np.asarray(b) for i, b in enumerate(self.networks.biases)}
        arrays |= {"range_mean": self.training_range.mean,
                   "range_whiten": self.training_range.whiten}  # fmt: skip
        if self.calibration is not None:
            arrays |= {"factor": self.calibration.factor, "floor": self.calibration.floor}
        header = {
            "format": FORMAT, "model": self.model, "variant": self.variant,
            "parameters": list(self.parameters), "lower": self.lower.tolist(),
            "upper": self.upper.tolist(), "features": self.features.as_dict(),
            "range_scale": self.training_range.scale, "settings": self.settings.as_dict(),
            "n_sites": self.n_sites, "versions": versions(),
        }  # fmt: skip
        with files.whole_folder(path, HEADER, "network") as folder:
            folder.mkdir()
            header["weights"] = write_archive(folder / WEIGHTS, {}, arrays)
            self.history.to_csv(folder / HISTORY, index=False)
            header["checksum"] = _checksum(header)
            (folder / HEADER).write_text(json.dumps(header, indent=1), encoding="utf-8")


def predict_members(
    networks: Network, inputs: Float[np.ndarray, "site input"]
) -> Float[np.ndarray, "member site parameter"]:
    """Return the outputs of every member, as shares of the prior range, in float64.

    Rows are padded to one block size, so that one compiled program serves any table.
    """
    parts = []
    for start in range(0, len(inputs), BLOCK):
        block = inputs[start : start + BLOCK]
        size = BLOCK if len(inputs) > BLOCK else 1 << max(len(block) - 1, 1).bit_length()
        padded = np.zeros((size, inputs.shape[1]), np.float32)
        padded[: len(block)] = block
        parts.append(np.asarray(_members(networks, jnp.asarray(padded)), float)[:, : len(block)])
    if not parts:
        return np.zeros((networks.biases[-1].shape[0], 0, networks.biases[-1].shape[1]))
    return np.concatenate(parts, axis=1)


@jax.jit
def _members(networks: Network, inputs: jax.Array) -> jax.Array:
    return jax.vmap(lambda network: network(inputs))(networks)


def load_ensemble(
    path: str | os.PathLike[str],
    model: str | None = None,
    variant: str | None = None,
    rows: Sequence[Parameter] | None = None,
) -> Ensemble:
    """Read an ensemble, and refuse it if it was trained for something else.

    Parameters
    ----------
    path
        The folder.
    model, variant, rows
        What it must be for: the model's name, its variant, its parameter rows (their names and
        prior ranges); None: anything.

    Raises
    ------
    FileError
        Naming the file that is absent, damaged or of another format.
    LearningError
        If it was trained for another model, variant or set of parameters.
    """
    folder = Path(path)
    header = _header(folder)
    _check_purpose(folder, header, model, variant, rows)
    inner, arrays = read_archive(folder / WEIGHTS)
    if inner["checksum"] != header["weights"]:
        raise FileError(f"{folder / WEIGHTS}: does not belong to {HEADER} beside it.")
    try:
        history = pd.read_csv(folder / HISTORY)
    except (OSError, ValueError) as error:
        raise FileError(f"{folder / HISTORY}: cannot be read ({error}).") from error
    settings = LearningSettings.from_dict(header["settings"])
    layers = len(settings.hidden) + 1
    weights, biases = (
        tuple(jnp.asarray(arrays[f"{kind}_{i}"]) for i in range(layers))
        for kind in ("weight", "bias")
    )
    networks = Network(weights, biases, settings.dropout, settings.bounded)
    calibration = Calibration(arrays["factor"], arrays["floor"]) if "factor" in arrays else None
    return Ensemble(
        networks, Features.from_dict(header["features"]),
        TrainingRange(arrays["range_mean"], arrays["range_whiten"], header["range_scale"]),
        calibration, header["model"], header["variant"], tuple(header["parameters"]),
        np.array(header["lower"]), np.array(header["upper"]), settings, header["n_sites"], history,
    )  # fmt: skip


def _header(folder: Path) -> dict[str, Any]:
    where = folder / HEADER
    if not where.is_file():
        raise FileError(f"{where}: there is no such file; {folder} is no trained network.")
    try:
        header = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{where}: damaged ({error}); copy it again or train again.") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != FORMAT:
        raise FileError(
            f"{where}: format {found}, this version of proda reads format {FORMAT}; train again."
        )
    if header.get("checksum") != _checksum(header):
        raise FileError(f"{where}: changed since it was written; copy it again or train again.")
    return header


def _checksum(header: dict[str, Any]) -> str:
    rest = {key: value for key, value in header.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_purpose(
    folder: Path, header: dict[str, Any], model: str | None, variant: str | None,
    rows: Sequence[Parameter] | None,
) -> None:  # fmt: skip
    for what, wanted in (("model", model), ("variant", variant)):
        if wanted is not None and header[what] != wanted:
            raise LearningError(
                f"{folder}: this network was trained for the {what} {header[what]}, not {wanted}."
            )
    if rows is None:
        return
    names = [row.name for row in rows]
    if header["parameters"] != names:
        odd = sorted(set(header["parameters"]) ^ set(names)) or ["their order"]
        raise LearningError(
            f"{folder}: this network predicts other parameters than the model has; different: "
            f"{', '.join(odd)}. Train again."
        )
    for row, low, high in zip(rows, header["lower"], header["upper"], strict=True):
        if not np.allclose([low, high], [row.lower, row.upper], rtol=1e-9, atol=0):
            raise LearningError(
                f"{folder}: trained with the prior range [{low:g}, {high:g}] of {row.name}; the "
                f"model has [{row.lower:g}, {row.upper:g}]. Train again."
            )
