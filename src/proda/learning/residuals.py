"""Joint draws: the differences between posteriors of held-out sites and their predictions.

A calibrated interval for each single parameter contains no information about their joint
distribution. Parameters drawn independently reach corners of the prior that no profile permits,
where the carbon is wrong, although the carbon at a site is known much better than any parameter. A
draw for a map therefore changes all parameters together, in normal scores of their prior ranges:

    z(draw at a place) = z(prediction there) + z(posterior draw of a site) - z(prediction for it)

where the prediction for the site is made by networks trained without its block of the map. At that
site the draw is a draw of its posterior, with all its correlations; a parameter that profiles do
not constrain is drawn from its prior. Each member uses one site everywhere, so that errors do not
average out over a map.

The width of the posterior is included: the spread is that of the possible parameters of a place,
and slightly too wide for the carbon there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from proda import files
from proda.checksums import digest
from proda.errors import LearningError
from proda.learning.targets import Targets

RESIDUALS = "residuals.nc"
"""Name of the file in the folder of a network."""
MEMBERS = 40
"""Number of draws of a map; with 10, the outermost would represent 5 and 95 %."""
EDGE = 1e-6
"""Shares of the prior range closer to its ends than this get the normal score of this share."""


def scores(share: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return normal scores of shares of the prior range (0-1)."""
    return np.asarray(ndtri(np.clip(share, EDGE, 1.0 - EDGE)))


def joint_residuals(
    goal: Targets,
    predicted: Float[np.ndarray, "site parameter"],
    draws: xr.DataArray,
    members: int = MEMBERS,
    seed: int = 0,
) -> xr.Dataset:
    """Return residuals of posterior draws of sites from predictions made without them.

    Parameters
    ----------
    goal
        The training sites (`TrainingSites.targets`).
    predicted
        Cross-validated predictions for them, shares of the prior range
        (`CrossValidation.predicted["network"]`).
    draws
        Posterior draws (site, chain, draw, parameter) in physical units, of a finished
        `proda assimilate` (:func:`proda.inference.assimilation_run.open_posterior`).
    members
        Number of residuals; sites are drawn without replacement as long as there are enough.
    seed
        Of sites and draws.

    Raises
    ------
    LearningError
        If the draws lack a site or parameter, or there are fewer than two members.
    """
    if members < 2:
        raise LearningError(f"members = {members}; joint draws need at least 2.")
    sites, parameters = _positions(draws, goal)
    rng = np.random.default_rng([seed, 6])
    n = goal.sites.size
    order = [rng.permutation(n) for _ in range(-(-members // n))]
    chosen = np.concatenate(order)[:members]
    ordered = draws.isel(site=sites[chosen], parameter=parameters)
    ordered = ordered.transpose("site", "chain", "draw", "parameter")
    values = ordered.to_numpy().reshape(members, -1, len(goal.parameters))
    one = values[np.arange(members), rng.integers(0, values.shape[1], members)]
    residual = scores(goal.share(one)) - scores(predicted[chosen])
    if not np.isfinite(residual).all():
        i, k = (int(x) for x in np.argwhere(~np.isfinite(residual))[0])
        raise LearningError(
            f"Site {goal.sites[chosen[i]]}: {goal.parameters[k]} has no draw or no prediction."
        )
    return xr.Dataset(
        {
            "residual": (
                ("member", "parameter"),
                residual,
                {"units": "1", "long_name": "residual in normal scores of the prior range"},
            )
        },
        {
            "parameter": list(goal.parameters),
            "from_site": ("member", goal.sites[chosen].astype(str).astype(object)),
        },
        {"model": goal.model, "variant": goal.variant, **goal.origin, "seed": seed},
    )


def _positions(draws: xr.DataArray, goal: Targets) -> tuple[np.ndarray, list[int]]:
    """Return the positions of the training sites and of the parameters among the draws."""
    there = draws["site"].to_numpy().astype(str)
    names = [str(n) for n in draws["parameter"].to_numpy()]
    if lost := [p for p in goal.parameters if p not in names]:
        raise LearningError(f"The posterior draws lack the parameters {', '.join(lost)}.")
    place = {name: i for i, name in enumerate(there)}
    if strange := [str(s) for s in goal.sites if str(s) not in place]:
        raise LearningError(
            f"The posterior draws lack {len(strange):,} of {goal.sites.size:,} training sites, "
            f"the first {strange[0]}; they may be from another assimilation."
        )
    sites = np.array([place[str(site)] for site in goal.sites], int)
    return sites, [names.index(p) for p in goal.parameters]


def add_residuals(
    mean: Float[np.ndarray, "place parameter"], residuals: Float[np.ndarray, "member parameter"]
) -> Float[np.ndarray, "member place parameter"]:
    """Return joint draws about predictions; all in shares of the prior range."""
    return np.asarray(ndtr(scores(mean)[None] + residuals[:, None]))


def write_residuals(residuals: xr.Dataset, network: str | os.PathLike[str]) -> None:
    """Write residuals into the folder of a network, from which maps read them."""
    files.write_netcdf(residuals, Path(network) / RESIDUALS)


def read_residuals(
    network: str | os.PathLike[str], model: str, variant: str, parameters: tuple[str, ...]
) -> tuple[Float[np.ndarray, "member parameter"], str] | None:
    """Return the residuals in a network's folder and their checksum; None if it has none.

    Raises
    ------
    FileError
        If the file is damaged.
    LearningError
        If they are of another model or set of parameters.
    """
    path = Path(network) / RESIDUALS
    if not path.is_file():
        return None
    residuals = files.load(files.open_netcdf(path, result=True), path)
    if "residual" not in residuals:
        raise LearningError(f"{path}: contains no residuals; train again.")
    of = (residuals.attrs.get("model"), residuals.attrs.get("variant"))
    names = tuple(str(n) for n in residuals["parameter"].to_numpy())
    if of != (model, variant) or names != parameters:
        raise LearningError(
            f"{path}: of {of[0]} ({of[1]}) or other parameters; the network is for {model} "
            f"({variant}). Train again."
        )
    values = residuals["residual"].transpose("member", "parameter").to_numpy().astype(np.float64)
    return values, digest(values)
