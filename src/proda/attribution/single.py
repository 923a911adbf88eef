"""The attribution of one map: Shapley values, their spread, and the published replacement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.attribution.attribution_inputs import MEAN_OF_SITES, Opened, PathLike, mean_of_sites
from proda.attribution.coalitions import levelled, mean_input, run_coalitions
from proda.attribution.measures import (
    DEPTH,
    LOG_R2,
    MOVED,
    NSE,
    PG,
    STOCK,
    UNITS,
    CoalitionMaps,
    maps_of,
    skill_of_coalitions,
)
from proda.attribution.members_at_places import AtSites, members_at_cells, thinned
from proda.attribution.players import (
    COMPONENTS,
    INPUT,
    PUBLISHED,
    components_of,
    published_groups,
)
from proda.attribution.shapley import shapley_values
from proda.forcing import Forcing
from proda.grid import CLM5_GRID
from proda.latitude import GLOBE, ZONES, in_zone
from proda.models.model import SoilModel

SAMPLE = 5_000
"""Cells on which every member is run for the spread; half as many profiles."""
SHAPLEY, ONE_AT_A_TIME = "shapley", "published"
GIVEN_INPUT = "shapley, input as it is"
"""The game of the five components that are parameters, which uses half of the same runs."""
MEAN_OF_PREDICTIONS = "the mean of the networks' predictions at the profiles"


@dataclass(frozen=True, eq=False)
class Single:
    """The attribution of one map."""

    importance: pd.DataFrame
    coalitions: pd.DataFrame
    zones: pd.DataFrame
    maps: xr.Dataset
    """Shapley values of ln stock, (component, lat, lon)."""


@dataclass(frozen=True, eq=False)
class MapAttribution:
    """A map with the data for its attribution."""

    opened: Opened
    grid: Forcing
    """Values at all land cells, shared by all maps: they need most of the memory."""
    mean_litter: np.ndarray
    sites: AtSites | None = None
    covariates: PathLike | None = None
    sample: int = SAMPLE
    input_variation: float | None = None
    """Ratio of standard deviation to mean of the input, for the published method; None excludes
    it."""
    seed: int = 0

    @property
    def model(self) -> SoilModel:
        """The soil model."""
        return self.opened.model

    def forcing(self, index: np.ndarray | None = None) -> Forcing:
        """Return the forcing of some of the map's cells, or of all."""
        here = self.opened.land
        return self.grid.select(here if index is None else here[index])


def job_of(opened: Opened, grid: Forcing, **more: Any) -> MapAttribution:
    """Return a map with the forcing of all land cells and its mean input."""
    litter = np.asarray(grid.litter_input)[opened.land]
    return MapAttribution(opened, grid, mean_input(litter, opened.cells.land_area), **more)


def stock_of(carbon: np.ndarray) -> np.ndarray:
    """Return the stock of 0-100 cm (kg m-2) of carbon by layer (kg m-3)."""
    return np.asarray(carbon @ np.asarray(CLM5_GRID.thickness_within(0.0, DEPTH)))


def everywhere(values: Mapping[str, float], like: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return one set of parameters with the shapes of others."""
    return {name: np.full(array.shape, values[name]) for name, array in like.items()}


def coalition_maps(
    job: MapAttribution, own: Mapping[str, np.ndarray], forcing: Forcing, area: np.ndarray
) -> CoalitionMaps:
    """Run all coalitions of the six components at some cells."""
    litter = np.asarray(forcing.litter_input)
    stock, fine = run_coalitions(
        job.model,
        COMPONENTS,
        components_of(job.model),
        everywhere(job.opened.replaced, own),
        own,
        forcing,
        levelled(litter, job.mean_litter),
        stock_of,
    )
    return maps_of(stock, fine, area)


def attribute_one(job: MapAttribution, step: Callable[[], None] = lambda: None) -> Single:
    """Attribute one map to the six components.

    `step` is called :func:`steps_of` times.
    """
    opened = job.opened
    maps = coalition_maps(job, opened.own, job.forcing(), opened.cells.land_area)
    step()
    worth, importance = maps.worth(), maps.importance()
    skill = None if job.sites is None else _at_sites(job.sites, job, job.sites.own)
    step()
    if skill is not None:
        worth[LOG_R2] = skill[LOG_R2]
        importance[LOG_R2] = shapley_values(skill[LOG_R2])
    spread = _spread(job, maps.area.sum())
    step()
    rows = [
        _row(job, SHAPLEY, component, measure, values[i], spread.get(measure, {}).get(i))
        for measure, values in importance.items()
        for i, component in enumerate(COMPONENTS)
    ]
    half = 1 << COMPONENTS.index(INPUT)  # the input has the highest bit
    rows += [
        _row(job, GIVEN_INPUT, component, measure, value)
        for measure, values in worth.items()
        for component, value in zip(COMPONENTS, shapley_values(values[half:]), strict=False)
    ]
    rows += _published(job)
    step()
    table = _with_share(pd.DataFrame(rows))
    head = {"model": opened.files.name, "route": opened.files.route}
    return Single(
        table.assign(share_common=maps.share_common),
        coalition_table(head, worth),
        _zones(head, job, maps),
        _gridded(job, maps),
    )


STEPS = 4
"""Return the number of steps that :func:`attribute_one` reports."""


def _at_sites(
    at: AtSites, job: MapAttribution, own: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the skill of every coalition at the measured profiles."""
    forcing = at.layers.forcing
    carbon, fine = run_coalitions(
        job.model,
        COMPONENTS,
        components_of(job.model),
        everywhere(job.opened.replaced, own),
        own,
        forcing,
        levelled(np.asarray(forcing.litter_input), job.mean_litter),
    )
    return skill_of_coalitions(at.layers, carbon, fine)[0]


def _spread(job: MapAttribution, area: float) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Return sd, and 5 and 95 % as deviations from the mean, over the members.

    By measure and component. Members run on a sample of the cells and profiles; carbon is scaled to
    the land of all cells.
    """
    if job.covariates is None or job.opened.files.network is None:
        return {}
    index = thinned(len(job.opened.cells), job.sample)
    forcing, land = job.forcing(index), job.opened.cells.land_area[index]
    members = members_at_cells(job.opened, job.covariates, index)
    if len(members) < 2:
        return {}
    rows: dict[str, list[np.ndarray]] = {}
    for i, own in enumerate(members):
        maps = coalition_maps(job, own, forcing, land)
        importance = maps.importance()
        for measure in (STOCK, MOVED):
            importance[measure] = importance[measure] * area / maps.area.sum()
        at = job.sites
        if at is not None and at.members is not None:
            some = thinned(len(at.layers), job.sample // 2)
            values = {row.name: at.members[i, some, j] for j, row in enumerate(job.model.rows)}
            part = AtSites(at.layers.select(some), values, None, at.places)
            importance[LOG_R2] = shapley_values(_at_sites(part, job, values)[LOG_R2])
        for measure, value in importance.items():
            rows.setdefault(measure, []).append(value)
    return {measure: _quantiles(np.stack(each)) for measure, each in rows.items()}


def _quantiles(
    each: Float[np.ndarray, "member player"],
) -> dict[int, tuple[float, float, float]]:
    low, high = np.quantile(each, [0.05, 0.95], axis=0) - each.mean(axis=0)
    sd = each.std(axis=0, ddof=1)
    return {i: (float(sd[i]), float(low[i]), float(high[i])) for i in range(each.shape[1])}


def _row(
    job: MapAttribution,
    method: str,
    component: str,
    measure: str,
    value: float,
    spread: tuple[float, float, float] | None = None,
    replaced_by: str = "",
) -> dict[str, Any]:
    sd, low, high = spread or (np.nan, np.nan, np.nan)
    at = job.sites if measure in (LOG_R2, NSE) else None
    given = job.opened.files
    return {
        "model": given.name,
        "route": given.route,
        "method": method,
        "component": component,
        "measure": measure,
        "value": float(value),
        "sd": sd,
        "q05": float(value + low),
        "q95": float(value + high),
        "unit": UNITS[measure],
        "replaced_by": replaced_by or job.opened.replaced_by,
        "places": "land" if at is None else at.places,
    }


def _with_share(table: pd.DataFrame) -> pd.DataFrame:
    """Add each component's share of the sum of the Shapley values."""
    additive = (table["method"] != ONE_AT_A_TIME) & (table["measure"] != MOVED)
    total = table.groupby(["method", "measure"])["value"].transform("sum")
    return table.assign(share=np.where(additive, table["value"] / total, np.nan))


def coalition_table(
    head: Mapping[str, str],
    worth: Mapping[str, np.ndarray],
    players: tuple[str, ...] = COMPONENTS,
) -> pd.DataFrame:
    """Return the values of every coalition, one row each, with one column per player."""
    n = len(next(iter(worth.values())))
    inside = {p: (np.arange(n) >> i) & 1 == 1 for i, p in enumerate(players)}
    return pd.DataFrame({**{k: [v] * n for k, v in head.items()}, **inside, **worth})


def _zones(head: Mapping[str, str], job: MapAttribution, maps: CoalitionMaps) -> pd.DataFrame:
    """Return the Shapley values of the stock by zone of latitude, Pg."""
    lat = job.opened.cells.latitude[maps.common]
    parts = maps.parts() * maps.area * PG
    rows = [
        {
            **head,
            "zone": zone,
            "component": component,
            "value": float(parts[i][inside].sum()),
            "unit": UNITS[STOCK],
        }
        for zone in (GLOBE, *ZONES)
        for inside in (in_zone(lat, zone),)
        for i, component in enumerate(COMPONENTS)
    ]
    return pd.DataFrame(rows)


def _gridded(job: MapAttribution, maps: CoalitionMaps) -> xr.Dataset:
    """Return the Shapley values of ln stock on the grid."""
    parts = np.full((len(maps.common), len(COMPONENTS)), np.nan)
    parts[maps.common] = maps.log_parts().T
    cells = job.opened.cells
    attrs = {
        "units": "1",
        "long_name": "Shapley value of ln soil carbon in 0-100 cm",
        "comment": "The components add up to ln of the map's stock over the stock with all of "
        "them replaced.",
    }
    on_grid = np.moveaxis(cells.on_grid(parts.astype(np.float32)), -1, 0)
    return xr.Dataset(
        {"shapley": (("component", "lat", "lon"), on_grid, attrs)},
        coords={"component": list(COMPONENTS), "lat": cells.lat, "lon": cells.lon},
    )


def _published(job: MapAttribution) -> list[dict[str, Any]]:
    """Replace one component after the other everywhere, as Tao et al. (2023, Nature) do."""
    values, by = _published_constant(job)
    if values is None:
        return []
    groups = published_groups(job.model)
    names = [g for g in PUBLISHED if g in groups.values()]
    area = job.opened.cells.land_area

    def stocks(
        own: Mapping[str, np.ndarray], forcing: Forcing, keep: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the whole model's carbon and that with each component replaced."""
        constant = everywhere(values, own)
        runs = [
            dict(own),
            *(
                {n: constant[n] if groups[n] == name else v for n, v in own.items()}
                for name in names
            ),
        ]
        drivers = [forcing] * len(runs)
        if job.input_variation is not None:
            runs.append(dict(own))
            drivers.append(_shaken(forcing, job.input_variation, job.seed))
        amounts = [
            run_coalitions(job.model, (), {}, {}, run, one, None, None if keep else stock_of)
            for run, one in zip(runs, drivers, strict=True)
        ]
        return np.concatenate([f[0] for f in amounts]), np.concatenate([f[1] for f in amounts])

    stock, fine = stocks(job.opened.own, job.forcing(), False)
    maps = maps_of(stock, fine, area)
    played = [*names, *(["I"] if job.input_variation is not None else [])]
    changed = (np.abs(maps.stock[1:] - maps.stock[0]) @ maps.area) * PG
    rows = [
        _row(job, ONE_AT_A_TIME, name, STOCK, changed[i], None, by) for i, name in enumerate(played)
    ]
    if job.sites is not None:
        at = job.sites
        carbon, fine = stocks(at.own, at.layers.forcing, True)
        skill, _ = skill_of_coalitions(at.layers, carbon, fine)
        lost = skill[NSE][0] - skill[NSE][1:]
        rows += [
            _row(job, ONE_AT_A_TIME, name, NSE, lost[i], None, by) for i, name in enumerate(played)
        ]
    return rows


def _published_constant(job: MapAttribution) -> tuple[dict[str, float] | None, str]:
    """Return the mean over sites of posterior means, or of the networks' predictions."""
    kept = job.opened.files.kept
    if kept is not None:
        return mean_of_sites(kept, job.model), MEAN_OF_SITES
    if job.sites is None:
        return None, ""
    return {name: float(v.mean()) for name, v in job.sites.own.items()}, MEAN_OF_PREDICTIONS


def _shaken(forcing: Forcing, variation: float, seed: int) -> Forcing:
    """Return forcing whose input is 1 +- 2 variations of itself, with a random sign per site."""
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], len(forcing))
    factor = np.maximum(0.0, 1.0 + 2.0 * variation * sign)
    return replace(forcing, litter_input=np.asarray(forcing.litter_input) * factor[:, None])
