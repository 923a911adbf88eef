"""Why two models answer differently to a change: their change of carbon shared out.

Of the new steady state under an idealised experiment, minus today's
(docs/theory.md#which-component-matters). Two ways, as for the difference of maps: with either
model's parameters of what both have (q10, the water scaling, transport, allocation; what remains is
structure: pools, kinetics, depth dependence and the parameters that one model alone has), and by
the components of each steady state.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from proda.attribution.difference import (
    FACTORS,
    OF_FACTORS,
    PARAMETERS,
    PATTERN,
    common_cells,
    factors_of,
    swapped_stocks,
)
from proda.attribution.measures import PG, STOCK, UNITS, pattern_parts
from proda.attribution.players import SHARED, shared_parameters
from proda.attribution.shapley import shapley_values
from proda.attribution.single import MapAttribution
from proda.forcing import Forcing
from proda.maps.run_members import run_members
from proda.projection.changed_drivers import changed
from proda.projection.experiments import Idealised
from proda.weighted import correlation

LOG_CHANGE = "log_change"
"""Mean over land of the change of ln carbon, second model minus first."""
RESPONSE_STRUCTURE = "structure"
"""Player of what the models do not share; beside the parameters by their names, V and B."""


def attribute_response(
    first: MapAttribution, second: MapAttribution, experiment: Idealised
) -> pd.DataFrame:
    """Attribute the difference of two models' responses, second minus first.

    Parameters
    ----------
    first, second
        Maps of one route.
    experiment
        What changes; its end counts, not its course.

    Returns
    -------
    pandas.DataFrame
        One row per way, component and measure: `stock` (Pg in 0-100 cm) and `pattern` (share of
        the variance over land of the difference between the two maps of change, kg m-2) where
        parameters are swapped, `log_change` and `pattern` (of changes of ln carbon) of the
        components. Beside them `first_change`, `second_change` (Pg) and the correlation of the
        maps of change: `r`, and `r_first`, `r_second` where both models have the shared parameters
        of the first, or of the second.
    """
    at_first, at_second = common_cells(first, second)
    forcing = first.forcing(at_first)
    cells = first.opened.cells
    end = experiment.end(
        np.asarray(cells.lat)[cells.row[at_first]], np.asarray(cells.lon)[cells.column[at_first]]
    )
    then = changed(forcing, end)
    area = cells.land_area[at_first]
    own = [
        {name: values[index] for name, values in job.opened.own.items()}
        for job, index in ((first, at_first), (second, at_second))
    ]
    head = {
        "first": first.opened.files.name,
        "second": second.opened.files.name,
        "route": first.opened.files.route,
        "experiment": experiment.name,
    }
    tables = [
        _by_parameters(first, second, own, forcing, then, area),
        _by_components(first, second, own, forcing, then, area),
    ]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(**head)[[*head, *table.columns]]


def response_players(first: MapAttribution, second: MapAttribution) -> dict[str, str]:
    """Return the player of each parameter that both models have: of the modifier, each its own."""
    shared = shared_parameters(first.model, second.model)
    modifier = SHARED[0]
    return {name: name if kind == modifier else kind for name, kind in shared.items()}


def _by_parameters(
    first: MapAttribution,
    second: MapAttribution,
    own: list[dict[str, np.ndarray]],
    forcing: Forcing,
    then: Forcing,
    area: np.ndarray,
) -> pd.DataFrame:
    of = response_players(first, second)
    players = tuple(dict.fromkeys(of.values()))
    (today, fine), (new, fine_then) = (
        swapped_stocks(first, second, own[0], own[1], players, of, drivers)
        for drivers in (forcing, then)
    )
    common = (fine & fine_then).all(axis=0) & (area > 0)
    change, area = (new - today)[:, common], area[common]
    half = len(change) // 2  # the structure is the last player
    beside = {
        "first_change": float(change[0] @ area) * PG,
        "second_change": float(change[-1] @ area) * PG,
        "r": correlation(change[0], change[-1], area),
        "r_first": correlation(change[0], change[half], area),
        "r_second": correlation(change[half - 1], change[-1], area),
        "share_common": float(common.mean()),
    }
    measures = {
        STOCK: shapley_values(change @ area) * PG,
        PATTERN: pattern_parts(shapley_values(change), change[-1] - change[0], area),
    }
    return _rows(PARAMETERS, (*players, RESPONSE_STRUCTURE), measures, beside)


def _by_components(
    first: MapAttribution,
    second: MapAttribution,
    own: list[dict[str, np.ndarray]],
    forcing: Forcing,
    then: Forcing,
    area: np.ndarray,
) -> pd.DataFrame:
    logs, fine = [], np.ones(len(area), bool)
    for model, values in ((first.model, own[0]), (second.model, own[1])):
        ends = [run_members(model, [values], drivers) for drivers in (forcing, then)]
        factors = [factors_of({name: v[0] for name, v in end.items()}) for end in ends]
        fine &= np.all([end["reason"][0] == 0 for end in ends], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(np.stack([np.log(factors[1][f] / factors[0][f]) for f in OF_FACTORS]))
    parts = logs[1] - logs[0]
    fine &= np.isfinite(parts).all(axis=0) & (area > 0)
    parts, area = parts[:, fine], area[fine]
    measures = {
        LOG_CHANGE: parts @ (area / area.sum()),
        PATTERN: pattern_parts(parts, parts.sum(axis=0), area),
    }
    of_first, of_second = (each[:, fine].sum(axis=0) for each in logs)
    beside = {"r": correlation(of_first, of_second, area), "share_common": float(fine.mean())}
    return _rows(FACTORS, OF_FACTORS, measures, beside)


def _rows(
    way: str,
    players: tuple[str, ...],
    measures: Mapping[str, np.ndarray],
    beside: Mapping[str, float],
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "way": way,
                "component": player,
                "measure": measure,
                "value": float(values[i]),
                "unit": UNITS[STOCK] if measure == STOCK else "1",
                **beside,
            }
            for measure, values in measures.items()
            for i, player in enumerate(players)
        ]
    )
