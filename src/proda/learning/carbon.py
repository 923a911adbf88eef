"""Carbon of the measured layers, modelled with the parameters of each method."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from proda import simulate
from proda.default_b import b_where_needed
from proda.errors import LearningError
from proda.files import load, open_netcdf
from proda.latitude import BOTH_HEMISPHERES
from proda.layout import SUMMARY
from proda.learning.layers import SiteLayers
from proda.learning.metrics import skill_of_rows
from proda.models.model import Reason
from proda.observations.zones import KOEPPEN, UNKNOWN

DEPTHS = (("0-30 cm", 0.0, 0.3), ("30-100 cm", 0.3, 1.0), ("> 100 cm", 1.0, np.inf))
"""Classes of depth, by the middle of the measured layer; the lower limit is inside."""

DEFAULT, ASSIMILATED, MEMBERS = "default", "assimilated", "network_members"
"""Methods that are not one set of parameters per site: the model's ad hoc values, the mean profile
of the site's own posterior (the ceiling), and the mean carbon of the network's members."""


@dataclass(frozen=True)
class Modelled:
    """Modelled carbon of the measured layers.

    `carbon` is (row,), kg m-3, NaN at sites without a steady state; `feasible` marks sites with
    one.
    """

    carbon: Float[np.ndarray, " row"]
    feasible: Bool[np.ndarray, " site"]


def held_out_carbon(
    layers: SiteLayers,
    parameters: Float[np.ndarray, "site parameter"] | xr.Dataset,
    what: str = "parameters",
) -> Modelled:
    """Run the soil model at every site and return the carbon of its measured layers.

    Parameters
    ----------
    layers
        Sites with profile and forcing.
    parameters
        Physical values in the order of the model's rows, or a Dataset as
        :func:`proda.simulate.default_parameters` returns. Sites with values outside the physically
        meaningful range, which a network without bounds may predict, have no modelled carbon.
    what
        Name of the method, for messages.

    Raises
    ------
    LearningError
        If the shape is wrong or values are not finite.
    """
    rows = layers.model.rows
    usable = np.ones(len(layers), bool)
    given: Mapping[str, np.ndarray] | xr.Dataset
    if isinstance(parameters, xr.Dataset):
        given = parameters
    else:
        if parameters.shape != (len(layers), len(rows)) or not np.isfinite(parameters).all():
            raise LearningError(
                f"The parameters of {what} have the shape {parameters.shape}, or are not finite; "
                f"expected ({len(layers)}, {len(rows)}) finite values."
            )
        limits = np.array([row.limits("physical") for row in rows]).T
        open_ends = np.array([[row.positive or row.inside, row.inside] for row in rows]).T
        low = np.where(open_ends[0], parameters > limits[0], parameters >= limits[0])
        high = np.where(open_ends[1], parameters < limits[1], parameters <= limits[1])
        usable = (low & high).all(axis=1)
        # A placeholder: the result of such sites is discarded.
        middle = np.array([row.middle for row in rows])
        values = np.where(usable[:, None], parameters, middle)
        given = {row.name: values[:, j] for j, row in enumerate(rows)}
    state = simulate.steady_state_arrays(layers.model, given, layers.forcing, bounds="physical")
    feasible = usable & np.asarray(state.reason == Reason.FEASIBLE)
    carbon = layers.observe(np.asarray(state.soil_carbon) / 1000.0)
    return Modelled(np.where(feasible[layers.row_site], carbon, np.nan), feasible)


def default_carbon(layers: SiteLayers, b: float | None = None) -> Modelled:
    """Carbon with the model's ad hoc parameters (P-section 2.5); `b` only where it has none."""
    needed = b_where_needed(layers.model.rows, b)
    values = simulate.default_parameters(layers.model, layers.forcing, b=needed)
    return held_out_carbon(layers, values, DEFAULT)


def ensemble_carbon(
    layers: SiteLayers, members: Float[np.ndarray, "member site parameter"]
) -> Modelled:
    """Mean carbon over the members that have a steady state; at least one must have one."""
    runs = [held_out_carbon(layers, member, MEMBERS) for member in members]
    known = np.stack([run.feasible for run in runs])
    count = known.sum(axis=0)
    carbon = np.where(known[:, layers.row_site], np.stack([run.carbon for run in runs]), 0.0)
    feasible = count > 0
    mean = carbon.sum(axis=0) / np.maximum(count, 1)[layers.row_site]
    return Modelled(np.where(feasible[layers.row_site], mean, np.nan), feasible)


def assimilated_carbon(layers: SiteLayers, run: str | os.PathLike[str]) -> Modelled:
    """Mean profile of each site's own posterior, from a folder of `proda assimilate`.

    Raises
    ------
    LearningError
        If the run does not have these sites with these layers.
    """
    path = Path(run) / SUMMARY
    with open_netcdf(path, result=True) as opened:
        summary = load(opened[["row_site", "row_upper", "row_lower", "row_modelled"]], path)
    table = pd.DataFrame({name: summary[name].to_numpy() for name in summary.data_vars})
    p = layers.profiles
    key = ["row_site", "row_upper", "row_lower", "turn"]
    mine = pd.DataFrame(
        {"row_site": p.site[layers.row_site], "row_upper": p.upper, "row_lower": p.lower}
    )
    for each in (table, mine):  # layers measured twice are distinguished by their order
        each["row_site"] = each["row_site"].astype(str)
        each["turn"] = each.groupby(["row_site", "row_upper", "row_lower"]).cumcount()
    joined = mine.merge(table, how="left", on=key, indicator=True)
    if (absent := (joined["_merge"] != "both").to_numpy()).any():
        first = joined["row_site"].to_numpy()[int(np.argmax(absent))]
        raise LearningError(
            f"{path}: lacks {int(absent.sum())} of the {len(mine)} measured layers (first: of "
            f"{first}); it is not the run from which these posteriors come."
        )
    carbon = joined["row_modelled"].to_numpy() / 1000.0
    bad = np.bincount(layers.row_site, ~np.isfinite(carbon) & layers.used, len(layers)) > 0
    return Modelled(np.where(bad[layers.row_site], np.nan, carbon), ~bad)


def groups_of(layers: SiteLayers, covariates: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return how rows are grouped: kind of group -> name of each row's group.

    `all`, `depth`, `zone` (by latitude), and `koeppen` (main groups) where the covariates hold
    `koppen_class`.
    """
    p = layers.profiles
    middle, latitude = 0.5 * (p.upper + p.lower), np.abs(p.latitude)[layers.row_site]
    groups = {
        "all": np.full(len(middle), "all", object),
        "depth": depth_names(middle),
        "zone": _classes(latitude, BOTH_HEMISPHERES),
    }
    if "koppen_class" in covariates:
        letters = covariates["koppen_class"].astype(str).str[:1]
        named = letters.map(lambda letter: KOEPPEN.get(letter, UNKNOWN)).to_numpy(object)
        groups["koeppen"] = named[layers.row_site]
    return groups


def carbon_skill(
    layers: SiteLayers, modelled: Mapping[str, Modelled], groups: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Skill of every method, over all layers and by group.

    Parameters
    ----------
    layers
        Sites with their measured layers.
    modelled
        By method.
    groups
        As :func:`groups_of` returns.

    Returns
    -------
    table
        method, by, group, then the columns of :func:`proda.learning.metrics.skill_of_rows`.
    """
    observed, used = layers.profiles.carbon / 1000.0, layers.used
    rows = []
    for by, names in groups.items():
        order = [g for g, *_ in (*DEPTHS, *BOTH_HEMISPHERES) if (names[used] == g).any()]
        present = order or sorted(set(names[used]))
        for group in present:
            here = used & (names == group)
            for method, answer in modelled.items():
                scores = skill_of_rows(
                    answer.carbon[here], observed[here], layers.row_site[here], answer.feasible
                )
                rows.append({"method": method, "by": by, "group": group, **scores})
    return pd.DataFrame(rows)


def depth_names(middle: Float[np.ndarray, " row"]) -> np.ndarray:
    """Return the name of the class of depth (:data:`DEPTHS`) of each layer's middle, m."""
    return _classes(middle, DEPTHS)


def _classes(values: np.ndarray, classes: tuple[tuple[str, float, float], ...]) -> np.ndarray:
    out = np.full(len(values), UNKNOWN, object)
    for name, low, high in classes:
        out[(values >= low) & (values < high)] = name
    return out
