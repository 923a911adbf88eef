"""Ensembles in folders: written completely, and checked when they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from proda import files
from proda.checksums import file_digest
from proda.errors import FileError, LearningError
from proda.learning.applicability import TrainingRange
from proda.learning.archive import read_archive, versions, write_archive
from proda.learning.boosted_carbon import BoostedCarbon
from proda.learning.calibration import Calibration
from proda.learning.ensemble import Ensemble
from proda.learning.features import Features
from proda.learning.inverted_members import InvertedMembers
from proda.learning.learning_settings import LearningSettings
from proda.learning.network import Network
from proda.models.model import SoilModel
from proda.models.outside import recorded
from proda.models.registry import model_name
from proda.parameters import Parameter

FORMAT = 1
HEADER, WEIGHTS, HISTORY = "network.json", "weights.npz", "history.csv"
INVERTED, TREES = "inverted_", "inverted_trees_"
"""Beginnings of the names of arrays of members that correct an inversion."""


def save_ensemble(
    ensemble: Ensemble,
    path: str | os.PathLike[str],
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write the ensemble to a folder, completely or not at all; an older one is replaced.

    Parameters
    ----------
    ensemble, path
        The ensemble and its folder.
    beside
        Called with the temporary folder, to write further files into it.

    Raises
    ------
    FileError
        If the folder contains something else, or cannot be written.
    """
    arrays = _network_arrays(ensemble.networks)
    arrays |= {
        "range_mean": ensemble.training_range.mean,
        "range_whiten": ensemble.training_range.whiten,
    }
    if ensemble.calibration is not None:
        arrays |= {"factor": ensemble.calibration.factor, "floor": ensemble.calibration.floor}
    header = {
        "format": FORMAT,
        "model": ensemble.model,
        "variant": ensemble.variant,
        **ensemble.origin,
        "parameters": list(ensemble.parameters),
        "lower": ensemble.lower.tolist(),
        "upper": ensemble.upper.tolist(),
        "features": ensemble.features.as_dict(),
        "range_scale": ensemble.training_range.scale,
        "settings": ensemble.settings.as_dict(),
        "n_sites": ensemble.n_sites,
        "reference": ensemble.reference,
        "versions": versions(),
    }
    if ensemble.inverted is not None:
        header["inverted"] = {"features": ensemble.inverted.features.as_dict()}
        arrays |= _inverted_arrays(ensemble.inverted)
    with files.whole_folder(path, HEADER, "network") as folder:
        folder.mkdir()
        header["weights"] = write_archive(folder / WEIGHTS, {}, arrays)
        ensemble.history.to_csv(folder / HISTORY, index=False)
        header["history"] = file_digest(folder / HISTORY)
        if beside is not None:
            beside(folder)
        header["files"] = sorted(path.name for path in folder.iterdir())
        header["checksum"] = _checksum(header)
        (folder / HEADER).write_text(json.dumps(header, indent=1), encoding="utf-8")


def load_ensemble(
    path: str | os.PathLike[str],
    model: str | None = None,
    variant: str | None = None,
    rows: Sequence[Parameter] | None = None,
) -> Ensemble:
    """Read an ensemble, and refuse it if it was trained for something else.

    :func:`load_for_model` reads it with its own model.

    Parameters
    ----------
    path
        The folder.
    model, variant, rows
        What it must be for: the model, as :func:`proda.load_model` takes it, its variant, its
        parameter rows (their names and prior ranges); None: anything.

    Raises
    ------
    FileError
        Naming the file that is absent, damaged or of another format.
    LearningError
        If it was trained for another model, variant or set of parameters.
    """
    folder = Path(path)
    header = _header(folder)
    model = None if model is None else model_name(model)
    _check_purpose(folder, header, model, variant)
    if rows is not None:
        _check_rows(folder, rows, header["parameters"], header["lower"], header["upper"])
    if lost := [name for name in header.get("files", ()) if not (folder / name).is_file()]:
        raise FileError(
            f"{folder / lost[0]}: missing; it belongs to the network. Copy the folder again "
            "or train again."
        )
    inner, arrays = read_archive(folder / WEIGHTS)
    if inner["checksum"] != header["weights"]:
        raise FileError(f"{folder / WEIGHTS}: does not belong to the {HEADER} beside it.")
    history = _history(folder, header)
    settings = LearningSettings.from_dict(header["settings"])
    networks = _networks(arrays, settings)
    calibration = Calibration(arrays["factor"], arrays["floor"]) if "factor" in arrays else None
    return Ensemble(
        networks,
        Features.from_dict(header["features"]),
        TrainingRange(arrays["range_mean"], arrays["range_whiten"], header["range_scale"]),
        calibration,
        header["model"],
        header["variant"],
        tuple(header["parameters"]),
        np.array(header["lower"]),
        np.array(header["upper"]),
        settings,
        header["n_sites"],
        history,
        header.get("reference"),
        recorded(header),
        _inverted(header["inverted"], arrays, settings) if "inverted" in header else None,
    )


def load_for_model(
    path: str | os.PathLike[str], model: str | None = None, variant: str | None = None
) -> tuple[Ensemble, SoilModel]:
    """Read an ensemble with its soil model, and refuse it if the model's parameters have changed.

    Parameters and errors are those of :func:`load_ensemble`, and ModelError if the model does not
    exist, or its file has changed since the networks were trained.
    """
    ensemble = load_ensemble(path, model, variant)
    kind = ensemble.soil_model(str(path))
    _check_rows(Path(path), kind.rows, ensemble.parameters, ensemble.lower, ensemble.upper)
    return ensemble, kind


def _network_arrays(networks: Network, prefix: str = "") -> dict[str, np.ndarray]:
    return {
        f"{prefix}{kind}_{i}": np.asarray(leaf)
        for kind, leaves in (("weight", networks.weights), ("bias", networks.biases))
        for i, leaf in enumerate(leaves)
    }


def _networks(
    arrays: dict[str, np.ndarray], settings: LearningSettings, prefix: str = ""
) -> Network:
    layers = len(settings.hidden) + 1
    weights, biases = (
        tuple(jnp.asarray(arrays[f"{prefix}{kind}_{i}"]) for i in range(layers))
        for kind in ("weight", "bias")
    )
    return Network(weights, biases, settings.dropout, settings.bounded)


def _inverted_arrays(inverted: InvertedMembers) -> dict[str, np.ndarray]:
    return {
        **_network_arrays(inverted.networks, INVERTED),
        **{f"{TREES}{name}": value for name, value in inverted.boosting.arrays.items()},
        f"{INVERTED}columns": inverted.boosting.columns,
        f"{INVERTED}start": inverted.start,
        f"{INVERTED}varies": inverted.varies,
    }


def _inverted(
    header: dict[str, Any], arrays: dict[str, np.ndarray], settings: LearningSettings
) -> InvertedMembers:
    trees = {
        name.removeprefix(TREES): value for name, value in arrays.items() if name.startswith(TREES)
    }
    return InvertedMembers(
        _networks(arrays, settings, INVERTED),
        Features.from_dict(header["features"]),
        BoostedCarbon(arrays[f"{INVERTED}columns"], trees),
        arrays[f"{INVERTED}start"],
        arrays[f"{INVERTED}varies"],
    )


def _header(folder: Path) -> dict[str, Any]:
    where = folder / HEADER
    if not where.is_file():
        raise FileError(f"{where}: there is no such file; {folder} is not a trained network.")
    header = files.read_json(
        where, "description of a network", advice="Copy it again or train again."
    )
    format_ = header.get("format") if isinstance(header, dict) else None
    if format_ != FORMAT:
        raise FileError(
            f"{where}: format {format_}, this version of proda reads format {FORMAT}; train again."
        )
    if header.get("checksum") != _checksum(header):
        raise FileError(f"{where}: changed since it was written; copy it again or train again.")
    return header


def _history(folder: Path, header: dict[str, Any]) -> pd.DataFrame:
    """Read the losses by epoch; networks of earlier versions have no checksum of them."""
    path = folder / HISTORY
    with files.reading(path, "table of losses", advice="Copy it again or train again."):
        digest = file_digest(path)
    if digest != header.get("history", digest):
        raise FileError(f"{path}: changed since it was written; copy it again or train again.")
    return files.read_csv(path, what="table of losses")


def _checksum(header: dict[str, Any]) -> str:
    rest = {key: value for key, value in header.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_purpose(
    folder: Path,
    header: dict[str, Any],
    model: str | None,
    variant: str | None,
) -> None:
    for what, wanted in (("model", model), ("variant", variant)):
        if wanted is not None and header[what] != wanted:
            raise LearningError(
                f"{folder}: this network was trained for the {what} {header[what]}, not {wanted}."
            )


def _check_rows(
    folder: Path,
    rows: Sequence[Parameter],
    parameters: Sequence[str],
    lower: Iterable[float],
    upper: Iterable[float],
) -> None:
    names = [row.name for row in rows]
    if list(parameters) != names:
        odd = sorted(set(parameters) ^ set(names)) or ["their order"]
        raise LearningError(
            f"{folder}: the parameters of this network are not those of the model; different: "
            f"{', '.join(odd)}. Train again."
        )
    for row, low, high in zip(rows, lower, upper, strict=True):
        if not np.allclose([low, high], [row.lower, row.upper], rtol=1e-9, atol=0):
            raise LearningError(
                f"{folder}: trained with the prior range [{low:g}, {high:g}] of {row.name}; the "
                f"model has [{row.lower:g}, {row.upper:g}]. Train again."
            )


def network_checksum(path: str | os.PathLike[str]) -> str:
    """Return the checksum of a saved ensemble, which identifies it including its weights.

    Raises
    ------
    FileError
        If there is no trained network, or its header is damaged.
    """
    return str(_header(Path(path))["checksum"])
