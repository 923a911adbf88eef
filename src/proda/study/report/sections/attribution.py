"""Which component makes the maps what they are, and different."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from proda.study.report.elements import Block, Heading, Table, Text
from proda.study.report.results import StudyResults

_EXPLAINED = (
    "Each map is run again with some of its six components as they are and the others replaced: "
    "parameters by one calibrated set, the carbon input by its mean over land. Shapley values "
    "share out the difference between the map and the one with everything replaced: they are what "
    "a component adds, averaged over all orders, and add up to the whole. Climate and soil stay "
    "as they are in all runs. As published, one component is replaced at a time and the others "
    "stay; such changes do not add up."
)
_DIFFERENCES = (
    "Two models are run with either's parameters of the components that both have (way: "
    "parameters), and their maps are taken as the product of their components, each from either "
    "model (way: components). There, arrangement is how carbon lies where it decomposes, by depth "
    "and pool, through which transport and allocation act; depth is the share of the column's "
    "carbon that is soil carbon of 0-100 cm."
)
_RESPONSES = (
    "The change of carbon at the new steady state of an experiment, second model minus first. "
    "Either both models have one or the other model's parameters of what they share (way: "
    "parameters; structure is what remains: pools, kinetics and the parameters that one model "
    "alone has), or the change of ln carbon is the sum of the changes of its components (way: "
    "components). r is the correlation of the two maps of change; r_first and r_second are the "
    "same with the shared parameters of the first or the second model in both."
)
_LABELS = {
    "value": "value",
    "q05": "5 %",
    "q95": "95 %",
    "sd": "standard deviation",
    "share": "share",
    "share_common": "share of cells",
    "replaced_by": "replaced by",
}


def attribution(study: StudyResults) -> list[Block]:
    """Return Shapley values of components and of differences; nothing before they are there."""
    importance = study.table(
        study.attribution / "importance.csv",
        "attribution_importance",
        "What each component does",
        "stock and moved: Pg in 0-100 cm; variance: of ln carbon over land; log R2 and NSE: at "
        "measured profiles (places says whether the networks have seen them). Percentiles: of the "
        "networks. moved: sum of the absolute values of all cells.",
    )
    if importance is None:
        return []
    blocks: list[Block] = [Text(_EXPLAINED), replace(importance, labels=_LABELS)]
    zones = study.table(
        study.attribution / "zones.csv", "attribution_zones", "Carbon of each component by zone"
    )
    if zones is not None:
        blocks.append(_by_zone(zones))
    differences = study.table(
        study.attribution / "differences.csv",
        "attribution_differences",
        "Why the models' maps differ (second minus first)",
        "pattern: share of the variance of the log ratio over land.",
    )
    if differences is not None and len(differences.frame):
        blocks += [
            Heading("Between models"),
            Text(_DIFFERENCES),
            replace(differences, labels=_LABELS),
        ]
    responses = study.table(
        study.attribution / "responses.csv",
        "attribution_responses",
        "Why the models respond differently (second minus first)",
        "stock: Pg in 0-100 cm; log_change: mean over land; pattern: share of the variance over "
        "land.",
    )
    if responses is not None and len(responses.frame):
        blocks += [
            Heading("Responses of the models"),
            Text(_RESPONSES),
            replace(responses, labels=_LABELS),
        ]
    return blocks


def _by_zone(table: Table) -> Table:
    frame: pd.DataFrame = table.frame.pivot_table(
        index=["model", "route", "zone"], columns="component", values="value", sort=False
    )
    note = "Shapley values of the stock of 0-100 cm, Pg."
    return replace(table, frame=frame.reset_index().rename_axis(columns=None), note=note)
