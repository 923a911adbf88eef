"""Attribute the difference between the maps of two models by swapping their components.

There are two ways (docs/theory.md#which-component-matters). `parameters`: each model is run with
the other's parameters of XI, V and B, which both have; the remainder is the structure, with CTE and
K. `components`: carbon is the exact product of the components in the maps, each taken from one of
the two maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from proda.attribution.attribution_inputs import MIXED_VARIABLES
from proda.attribution.coalitions import run_coalitions
from proda.attribution.measures import STOCK, UNITS, CoalitionMaps, maps_of, pattern_parts
from proda.attribution.members_at_places import members_at_cells, thinned
from proda.attribution.players import SHARED, STRUCTURE, shared_parameters
from proda.attribution.shapley import shapley_values
from proda.attribution.single import MapAttribution, coalition_table, stock_of
from proda.forcing import Forcing
from proda.maps.run_members import run_members

PARAMETERS, FACTORS = "parameters", "components"
OF_PARAMETERS = (*SHARED, STRUCTURE)
OF_FACTORS = ("CTE", "K", "XI", "I", "arrangement", "depth")
"""`arrangement`: the distribution of carbon over depths and pools with different decomposition
rates, through which V and B act; `depth`: the share of the column's carbon that is soil carbon in
0-100 cm."""
PATTERN = "pattern"
"""Share of the variance of the log ratio over land."""


@dataclass(frozen=True, eq=False)
class Difference:
    """The attribution of the difference between the maps of two models."""

    table: pd.DataFrame
    coalitions: pd.DataFrame
    maps: xr.Dataset
    """Shapley values of ln(second / first), (player, lat, lon) for each way."""


def attribute_difference(first: MapAttribution, second: MapAttribution) -> Difference:
    """Attribute the difference of two maps, second minus first, to components."""
    names = (first.opened.files.name, second.opened.files.name)
    head = {"first": names[0], "second": names[1], "route": first.opened.files.route}
    pairs = common_cells(first, second)
    forcing = first.forcing(pairs[0])
    cells = first.opened.cells
    area = cells.land_area[pairs[0]]
    own = [
        {name: v[index] for name, v in job.opened.own.items()}
        for job, index in zip((first, second), pairs, strict=True)
    ]
    swapped = swap_parameters(first, second, own[0], own[1], forcing, area)
    factors = maps_of(*_of_files(first, second, pairs[0]), area)
    spread = _spread(first, second, pairs)
    rows, grids = [], {}
    for way, players, maps in (
        (PARAMETERS, OF_PARAMETERS, swapped),
        (FACTORS, OF_FACTORS, factors),
    ):
        for measure, values in parts_of(maps).items():
            rows += [
                {
                    **head,
                    "way": way,
                    "component": player,
                    "measure": measure,
                    "value": float(values[i]),
                    **_named(spread.get((way, measure)), i, float(values[i])),
                    "unit": UNITS[STOCK] if measure == STOCK else "1",
                    "share_common": maps.share_common,
                }
                for i, player in enumerate(players)
            ]
        array = np.full((len(area), len(players)), np.nan)
        array[maps.common] = maps.log_parts().T
        whole = np.full((len(cells), len(players)), np.nan)
        whole[pairs[0]] = array
        grids[f"difference_by_{way}"] = (
            (f"{way}_player", "lat", "lon"),
            np.moveaxis(cells.on_grid(whole.astype(np.float32)), -1, 0),
            {"units": "1", "long_name": "Shapley value of ln(second / first), 0-100 cm"},
        )
    coords = {
        "lat": cells.lat,
        "lon": cells.lon,
        f"{PARAMETERS}_player": list(OF_PARAMETERS),
        f"{FACTORS}_player": list(OF_FACTORS),
    }
    table = coalition_table(
        {**head, "way": PARAMETERS}, {STOCK: swapped.worth()[STOCK]}, OF_PARAMETERS
    )
    return Difference(pd.DataFrame(rows), table, xr.Dataset(grids, coords=coords))


def parts_of(maps: CoalitionMaps) -> dict[str, Float[np.ndarray, " player"]]:
    """Return each player's part of the difference of carbon (Pg) and of its pattern.

    The parts of the pattern are the covariance over land of the player's Shapley values of ln
    carbon with the log ratio, divided by the variance of the log ratio: they add up to 1 and do not
    depend on the order of the models.
    """
    ratio = np.log(maps.stock[-1] / maps.stock[0])
    return {
        STOCK: shapley_values(maps.worth()[STOCK]),
        PATTERN: pattern_parts(maps.log_parts(), ratio, maps.area),
    }


def swap_parameters(
    first: MapAttribution,
    second: MapAttribution,
    of_first: Mapping[str, np.ndarray],
    of_second: Mapping[str, np.ndarray],
    forcing: Forcing,
    area: np.ndarray,
) -> CoalitionMaps:
    """Run both models with the parameters of either model for the components that they share.

    The players of a coalition are taken from the second model; the last player is the structure.
    """
    shared = shared_parameters(first.model, second.model)
    return maps_of(
        *swapped_stocks(first, second, of_first, of_second, SHARED, shared, forcing), area
    )


def swapped_stocks(
    first: MapAttribution,
    second: MapAttribution,
    of_first: Mapping[str, np.ndarray],
    of_second: Mapping[str, np.ndarray],
    players: Sequence[str],
    of: Mapping[str, str],
    forcing: Forcing,
) -> tuple[Float[np.ndarray, "coalition cell"], Bool[np.ndarray, "coalition cell"]]:
    """Return the stocks of both models with either's parameters (kg m-2), and where there are any.

    `of` has the player of each parameter that both models have. The structure is the last player:
    its bit is the highest.
    """
    stocks, fine = [], []
    for model, own in ((first.model, of_first), (second.model, of_second)):
        replaced = {**own, **{name: of_first[name] for name in of}}
        inside = {**own, **{name: of_second[name] for name in of}}
        swapped = run_coalitions(model, players, of, replaced, inside, forcing, None, stock_of)
        stocks.append(swapped[0])
        fine.append(swapped[1])
    return np.concatenate(stocks), np.concatenate(fine)


def product_of(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "coalition cell"]:
    """Return the carbon (kg m-2) of all mixtures of two maps' factors.

    carbon = depth x I / ((1 - CTE) K XI arrangement): this is exact, because the arrangement is
    defined as the remainder.
    """
    a, b = (factors_of(each) for each in (first, second))
    n = len(OF_FACTORS)
    with np.errstate(invalid="ignore"):  # where there is no carbon the product is not defined
        return np.stack(
            [
                np.prod([(b if (c >> i) & 1 else a)[f] for i, f in enumerate(OF_FACTORS)], axis=0)
                for c in range(1 << n)
            ]
        )


def factors_of(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the factors of carbon; not finite or not above 0 where carbon is not their product."""
    with np.errstate(divide="ignore", invalid="ignore"):
        column = maps["residence_time"] * maps["I"] / 1000.0  # kg m-2, litter and soil
        rate = (1.0 - maps["CTE"]) * maps["K"] * maps["XI"]
        return {
            "CTE": 1.0 / (1.0 - maps["CTE"]),
            "K": 1.0 / maps["K"],
            "XI": 1.0 / maps["XI"],
            "I": maps["I"] / 1000.0,
            "arrangement": rate * maps["residence_time"],
            "depth": maps["cSoilAbove1m"] / column,
        }


def _of_files(
    first: MapAttribution, second: MapAttribution, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mixtures of the two map files at common cells, and where they are defined."""
    cells = first.opened.cells
    place = cells.row[index], cells.column[index]
    both = [
        {
            n: job.opened.dataset[n].transpose("lat", "lon").to_numpy()[place].astype(float)
            for n in MIXED_VARIABLES
        }
        for job in (first, second)
    ]
    stock = product_of(*both)
    fine = np.isfinite(stock)
    return np.where(fine, stock, 0.0), fine


def common_cells(first: MapAttribution, second: MapAttribution) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the cells that both maps have, in each one's list."""
    a, b = (job.opened.cells for job in (first, second))
    numbers = [c.row * len(c.lon) + c.column for c in (a, b)]
    _, left, right = np.intersect1d(*numbers, return_indices=True)
    return left, right


def _spread(
    first: MapAttribution, second: MapAttribution, pairs: tuple[np.ndarray, np.ndarray]
) -> dict[tuple[str, str], np.ndarray]:
    """Return the parts by member, (member, player); member i of one with member i of the other."""
    jobs = (first, second)
    if any(job.covariates is None or job.opened.files.network is None for job in jobs):
        return {}
    some = thinned(len(pairs[0]), min(first.sample, second.sample))
    index = [pair[some] for pair in pairs]
    forcing = first.forcing(index[0])
    area = first.opened.cells.land_area[index[0]]
    whole = first.opened.cells.land_area[pairs[0]].sum()
    members = [
        members_at_cells(job.opened, job.covariates or "", i)
        for job, i in zip(jobs, index, strict=True)
    ]
    n = min(map(len, members))
    if n < 2:
        return {}
    samples: dict[tuple[str, str], list[np.ndarray]] = {}
    runs = [
        run_members(job.model, each[:n], forcing) for job, each in zip(jobs, members, strict=True)
    ]
    for k in range(n):
        swapped = swap_parameters(first, second, members[0][k], members[1][k], forcing, area)
        values: list[dict[str, Any]] = [{v: run[v][k] for v in MIXED_VARIABLES} for run in runs]
        stock = product_of(*values)
        fine = np.isfinite(stock) & np.all([run["reason"][k] == 0 for run in runs], axis=0)
        for way, maps in (
            (PARAMETERS, swapped),
            (FACTORS, maps_of(np.where(fine, stock, 0.0), fine, area)),
        ):
            for measure, parts in parts_of(maps).items():
                scale = whole / area.sum() if measure == STOCK else 1.0
                samples.setdefault((way, measure), []).append(parts * scale)
    return {key: np.stack(each) for key, each in samples.items()}


def _named(each: np.ndarray | None, i: int, value: float) -> dict[str, float]:
    """Return sd and 5-95 % of the members about the value."""
    if each is None:
        return {"sd": np.nan, "q05": np.nan, "q95": np.nan}
    low, high = np.quantile(each[:, i], [0.05, 0.95]) - each[:, i].mean()
    return {"sd": float(each[:, i].std(ddof=1)), "q05": value + low, "q95": value + high}
