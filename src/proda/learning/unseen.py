"""Carbon at held-out places by every method, its intervals, and one table of skill for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from proda.latitude import BOTH_HEMISPHERES
from proda.learning.carbon import (
    DEPTHS,
    MEMBERS,
    Modelled,
    groups_of,
    held_out_carbon,
)
from proda.learning.carbon_sites import CarbonSites
from proda.learning.conformal import LEAST, WARM, cold_soil
from proda.learning.layers import SiteLayers
from proda.learning.metrics import skill_of_rows
from proda.places import half_degree_cell

CEILING = "ceiling"
"""The highest possible skill of a map of half-degree cells: layers of one cell differ at equal
depth."""

DEPTH_BINS = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0)
"""Upper limits of the depths that count as equal, by the middle of the layer, m."""

COLUMNS = (
    "method",
    "layers",
    "sites",
    "lost",
    "log_r2",
    "rmse_log",
    "bias_log",
    "site_rmse_log",
    "no_logarithm",
    "mean_site_log_r2",
    "mean_site_rmse_log",
    "interval90",
)


@dataclass(frozen=True)
class Answer:
    """The predictions of one method for the measured layers.

    `carbon` in kg m-3, NaN at sites without a steady state; `spread` is the sd of ln carbon between
    members; `lower` and `upper` are the ends of the 90 % interval of ln carbon (g m-3), if any.
    """

    carbon: Float[np.ndarray, " row"]
    feasible: Bool[np.ndarray, " site"]
    spread: Float[np.ndarray, " row"]
    lower: Float[np.ndarray, " row"] | None = None
    upper: Float[np.ndarray, " row"] | None = None


def answer_of_members(
    layers: SiteLayers, members: Float[np.ndarray, "member site parameter"]
) -> Answer:
    """Mean carbon over the members that have a steady state, and their spread."""
    runs = [held_out_carbon(layers, member, MEMBERS) for member in members]
    known = np.stack([run.feasible for run in runs])[:, layers.row_site]
    carbon = np.where(known, np.stack([run.carbon for run in runs]), 0.0)
    count = known.sum(axis=0)
    mean = carbon.sum(axis=0) / np.maximum(count, 1)
    logs = np.where(known & (carbon > 0), np.log(np.where(carbon > 0, carbon, 1.0)), 0.0)
    fine = (known & (carbon > 0)).sum(axis=0)
    middle = logs.sum(axis=0) / np.maximum(fine, 1)
    square = np.where(known & (carbon > 0), (logs - middle) ** 2, 0.0).sum(axis=0)
    spread = np.sqrt(square / np.maximum(fine - 1, 1))
    feasible = np.asarray(np.stack([run.feasible for run in runs]).any(axis=0))
    return Answer(np.where(feasible[layers.row_site], mean, np.nan), feasible, spread)


def answer_of_carbon(modelled: Modelled) -> Answer:
    """One set of parameters: no spread."""
    return Answer(modelled.carbon, modelled.feasible, np.zeros(len(modelled.carbon)))


def log_carbon(answer: Answer) -> Float[np.ndarray, " row"]:
    """Return ln carbon in g m-3, NaN below `LEAST`."""
    some = answer.carbon >= LEAST
    return np.where(some, np.log(1000.0 * np.where(some, answer.carbon, 1.0)), np.nan)


def least_log(answer: Answer) -> Float[np.ndarray, " row"]:
    """Return ln carbon in kg m-3, at least that of `LEAST`; NaN at sites without a steady state."""
    return np.asarray(np.log(np.maximum(answer.carbon, LEAST)))


def groups(sites: CarbonSites) -> dict[str, np.ndarray]:
    """Return how rows are grouped: all, depth, zone, climate, warm and cold soil, source."""
    layers = sites.layers
    out = groups_of(layers, sites.table)
    cold = cold_soil(layers.forcing)
    names = np.where(cold, f"soil below {WARM} K", f"soil above {WARM} K").astype(object)
    out["soil"] = names[layers.row_site]
    out["source"] = layers.profiles.collections.astype(object)[layers.row_site]
    return out


def skill_table(
    sites: CarbonSites, answers: Mapping[str, Answer], by: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Skill of every method, for all layers and by group.

    Returns
    -------
    table
        method, by, group, then `COLUMNS`: pooled over layers `log_r2`, `rmse_log`, `bias_log`;
        `no_logarithm`, layers modelled below `LEAST` (for example as 0), for which these three use
        `LEAST`; `site_rmse_log`, the median over sites of their RMSE (lost ones counted as the
        worst); `mean_site_log_r2` and `mean_site_rmse_log`, in which every site has the same
        weight; `interval90`, the share of all layers inside the 90 % interval: those modelled below
        `LEAST`, and those of lost sites, are outside. The method `ceiling` has the skill that the
        variation within one half-degree cell at equal depth permits.
    """
    layers = sites.layers
    observed, used = layers.profiles.carbon / 1000.0, layers.used
    rows = []
    for kind, names in by.items():
        present = sorted(set(names[used]))
        order = [g for g, *_ in (*DEPTHS, *BOTH_HEMISPHERES) if g in present]
        for group in order or present:
            here = used & (names == group)
            for method, answer in answers.items():
                scores = _skill(layers, answer, observed, here)
                rows.append({"method": method, "by": kind, "group": group, **scores})
            rows.append({"method": CEILING, "by": kind, "group": group, **ceiling(layers, here)})
    return pd.DataFrame(rows)


def _skill(
    layers: SiteLayers, answer: Answer, observed: np.ndarray, here: np.ndarray
) -> dict[str, float]:
    site = layers.row_site[here]
    scores = skill_of_rows(answer.carbon[here], observed[here], site, answer.feasible)
    ok = answer.feasible[site]
    own, weight = site[ok], np.zeros(0)
    goal = np.log(observed[here][ok])
    off = goal - least_log(answer)[here][ok]
    r2 = rmse = float("nan")
    if own.size:
        _, place, count = np.unique(own, return_inverse=True, return_counts=True)
        weight = 1.0 / count[place]
        rmse = float(np.sqrt(np.average(off**2, weights=weight)))
        about = np.average((goal - np.average(goal, weights=weight)) ** 2, weights=weight)
        r2 = float(1.0 - rmse**2 / about) if about > 0 else float("nan")
    inside = float("nan")
    if answer.lower is not None and answer.upper is not None and site.size:
        value = np.log(1000.0 * observed[here])
        within = (value >= answer.lower[here]) & (value <= answer.upper[here])
        inside = float((within & ok).mean())
    return {**scores, "mean_site_log_r2": r2, "mean_site_rmse_log": rmse, "interval90": inside}


def ceiling(layers: SiteLayers, here: Bool[np.ndarray, " row"]) -> dict[str, float]:
    """Log R2 and log RMSE of a perfect map of half-degree cells and depth classes.

    The variance of ln carbon between sites of one cell at equal depth; cells with one site do not
    contribute.
    """
    p = layers.profiles
    goal = np.log(p.carbon[here])
    site = layers.row_site[here]
    depth = np.digitize(0.5 * (p.upper + p.lower)[here], DEPTH_BINS)
    cell = half_degree_cell(p.latitude[site], p.longitude[site])
    table = pd.DataFrame({"cell": cell, "depth": depth, "site": site, "value": goal})
    one = table.groupby(["cell", "depth", "site"], as_index=False)["value"].mean()
    place = one.groupby(["cell", "depth"])["value"]
    n = place.transform("size")
    several = n > 1
    counts: dict[str, float] = {"sites": len(np.unique(site)), "lost": 0, "layers": len(goal)}
    if not several.any():
        return counts
    square = ((one["value"] - place.transform("mean")) ** 2)[several].sum()
    free = (1.0 - 1.0 / n[several]).sum()
    within = float(square / free)
    return {
        **counts,
        "rmse_log": float(np.sqrt(within)),
        "log_r2": float(1.0 - within / np.var(goal)),
    }
