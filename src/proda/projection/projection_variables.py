"""The variables of a projection: names in files, units, meanings."""

from __future__ import annotations

from proda.latitude import ZONES
from proda.maps.map_variables import OLDEST, STOCKS, MapVariable
from proda.projection.forward import (
    CARBON_INPUT,
    LITTER_CARBON,
    MEAN_AGE,
    OTHER_LOSSES,
    RESPIRATION,
)
from proda.projection.split import PARTS

STOCK = "cSoilAbove1m"
"""The stock by which models are compared, as in the comparison of maps."""
ALL_CARBON = "all_carbon"
RESIDENCE = "residence_time"
CHANGE = "change_"
NEW = "_new_steady_state"
GAINING = "share_gaining"
"""Share of the members in which :data:`STOCK` increases."""
PERMAFROST_DEPTH = 3.0
"""Soil whose present active layer is shallower than this (m) counts as permafrost soil."""
REGIONS: tuple[tuple[str, bool], ...] = tuple(
    (zone, frozen) for zone in ZONES for frozen in (False, True)
)
"""Zone of latitude and whether the soil is permafrost: regions of the time series."""

_SOIL = [MapVariable(s.name, "kg m-2", f"soil carbon, {s.words}") for s in STOCKS]
STATES: tuple[MapVariable, ...] = (
    *_SOIL,
    MapVariable(LITTER_CARBON, "kg m-2", "carbon in litter and coarse woody debris"),
    MapVariable(RESPIRATION, "kg m-2 yr-1", "heterotrophic respiration"),
    MapVariable(OTHER_LOSSES, "kg m-2 yr-1", "carbon lost other than as CO2"),
    MapVariable(CARBON_INPUT, "kg m-2 yr-1", "plant carbon input"),
    MapVariable(RESIDENCE, "yr", "all carbon over heterotrophic respiration and other losses"),
)
"""States at each point in time."""
CHANGES: tuple[MapVariable, ...] = tuple(
    MapVariable(CHANGE + v.name, v.unit, f"change since the start: {v.long_name}")
    for v in (
        *_SOIL,
        MapVariable(LITTER_CARBON, "kg m-2", "carbon in litter and woody debris"),
        MapVariable(ALL_CARBON, "kg m-2", "all carbon"),
    )
)
"""Changes, member by member, with their spread."""
SPLIT: tuple[MapVariable, ...] = tuple(
    MapVariable(name, "kg m-2", f"change of all carbon {name.replace('_', ' ')}", comment=words)
    for name, words in zip(
        PARTS,
        (
            "turnover time of the start x change of the input",
            "input of the start x change of the turnover time (all carbon over its losses)",
            "change of the input x change of the turnover time",
            "- (input - losses) x turnover time: the part that has not yet followed the input",
        ),
        strict=True,
    )
)
OTHERS: tuple[MapVariable, ...] = (
    MapVariable(GAINING, "1", f"share of the members in which {STOCK} increases"),
)
AT_START: tuple[MapVariable, ...] = (
    MapVariable(
        MEAN_AGE, "yr", "mean age of all carbon at the present steady state", comment=OLDEST
    ),
)
AT_END: tuple[MapVariable, ...] = (
    *(MapVariable(v.name + NEW, v.unit, f"{v.long_name}; the new steady state") for v in CHANGES),
    MapVariable(
        MEAN_AGE + NEW, "yr", "mean age of all carbon at the new steady state", comment=OLDEST
    ),
)
