"""Which component determines the maps, and the differences between them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from proda.study.report.elements import Block, Heading, Table, Text
from proda.study.report.results import StudyResults

_EXPLAINED = (
    "Each map is computed again with some of its six components unchanged and the others replaced: "
    "parameters by one calibrated set, the carbon input by its mean over land. Shapley values "
    "divide the difference between the map and the map with all components replaced: each is the "
    "contribution of a component, averaged over all orders, and they add up to the difference. "
    "Climate and soil are unchanged in all runs. In the published method, one component is "
    "replaced at a time and the others are kept; such changes do not add up."
)
_DIFFERENCES = (
    "Both models are run with the parameters of either model for the components that they share "
    "(way: parameters), and their maps are written as products of components, each from either "
    "model (way: components). In the latter, arrangement is the distribution of carbon over depths "
    "and pools with different decomposition rates, through which transport and allocation act; "
    "depth is the share of the column's carbon that is soil carbon in 0-100 cm."
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
    """Return Shapley values of components and of differences; nothing before they exist."""
    importance = study.table(
        study.attribution / "importance.csv",
        "attribution_importance",
        "Contribution of each component",
        "stock and moved: Pg in 0-100 cm; variance: of ln carbon over land; log R2 and NSE: at "
        "measured profiles (places states whether the networks were trained on them). Percentiles: "
        "of the networks. moved: sum of the absolute values of all cells.",
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
        "Attribution of the difference between the models' maps (second minus first)",
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
    note = "Shapley values of the stock in 0-100 cm, Pg."
    return replace(table, frame=frame.reset_index().rename_axis(columns=None), note=note)
