"""The tables of the comparison as the report shows them: words, rows and columns of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proda.comparison.model_files import STOCK
from proda.comparison.paper import MICROBES_SAMPLES
from proda.study.report.elements import Table
from proda.study.report.results import StudyResults


@dataclass(frozen=True)
class TableSpec:
    """How one table of the comparison is shown."""

    title: str
    note: str = ""
    stem: str = ""
    """Name of the file in `tables/`; by default that of the table, after `comparison_`."""
    only: tuple[tuple[str, str], ...] = ()
    """Columns and values: the page shows the rows with the first of them that the table has."""
    only_note: str = ""
    """Second part of the note, where `only` applies."""
    labels: Mapping[str, str] = field(default_factory=dict)
    shares: tuple[str, ...] = ()
    """Columns to be shown in per cent."""
    min_models: int = 0
    hide_empty: bool = False
    """Whether a table without rows is left out."""


def _first_metre(title: str) -> TableSpec:
    return TableSpec(
        title,
        only=(("stock", STOCK), ("variable", STOCK)),
        only_note="Shown: carbon in 0-100 cm (kg m⁻², totals Pg; land 10⁶ km²).",
    )


TABLES: Mapping[str, TableSpec] = {
    "truth": TableSpec("Truth and what was recovered", stem="truth"),
    "findings": TableSpec("Findings of the paper in this run", stem="findings"),
    "agreement": TableSpec(
        "Agreement of all models: mean correlation of the pairs over land",
        "Spread (sd, low, high) between pairs; the standard error leaves out one model at a time, "
        "because pairs share models. Changes are from default parameters, over the same pairs.",
        min_models=3,  # the one pair of two models stands in the table of correlations
    ),
    "correlations": TableSpec(
        "Correlation of the models' maps over land",
        "The effective number of cells allows for neighbouring cells being alike; p-values from "
        "the plain number of cells are far too small.",
    ),
    "compensation": TableSpec(
        "Do the models' differences in decomposition and in transfer offset each other?",
        "Correlation over land of the log ratios of K and of CTE.",
    ),
    "michaelis": TableSpec("Michaelis constants over their substrates"),
    "fit": TableSpec("Fit of the models at the sites, side by side"),
    "parameters": TableSpec("Posteriors and defaults of the parameters"),
    "evidence": TableSpec(
        "Log densities of the same data by every model",
        "Shown: all sites; the file also has zones. Natural logarithms; total and mean per site. "
        "difference: of the mean to the best model's; behind best of site: to the model that is "
        "best at each site, on average; sampling error: of the total, by the chains' spread.",
        only=(("grouping", "all"),),
    ),
    "stacking": TableSpec(
        "Stacking weights of the models",
        only=(("grouping", "all"),),
        only_note="Shown: all sites.",
        hide_empty=True,
    ),
    "skill_left_out": TableSpec(
        "Carbon at places left out, by every model and without one",
        only=(("by", "all"),),
        only_note="Shown: all layers left out; the file also has depths, zones, climates, warm and "
        "cold soil. Natural logarithms. constant: one calibrated set of parameters; depth, "
        "boosting and plain network have no soil model, the ceiling is what no map of half-degree "
        "cells can exceed; they stand once for each route, under the model “none”.",
        hide_empty=True,
    ),
    "preference": TableSpec("Which structure the data prefer, by pair and zone"),
    "totals": _first_metre("Carbon of the globe and of zones, beside reference maps"),
    "references": _first_metre("Reference maps, cell by cell"),
    "regions": _first_metre("Regional differences between the models"),
    "models": TableSpec(
        "All models: carbon, its depths, components",
        "Carbon of the globe in Pg, with the members' standard deviation; shares of the whole "
        "column; means of the components over land that holds carbon, with the units of the maps.",
        labels={
            "carbon_0_100": "carbon, 0-100 cm",
            "carbon": "carbon, whole column",
            "share_0_30": "share in 0-30 cm",
            "share_30_100": "share in 30-100 cm",
            "share_100_200": "share in 100-200 cm",
            "share_below_200": "share below 200 cm",
        },
    ),
    "microbes": TableSpec(
        "Living microbes, share of soil carbon",
        "Median, 5 and 95 % over land. CLM5 has no microbial pool; RothC's is its biomass. "
        f"Measured: {MICROBES_SAMPLES}.",
        labels={"share median": "median", "share q05": "5 %", "share q95": "95 %"},
        shares=("median", "q05", "q95"),
        hide_empty=True,
    ),
}
"""By the name of the file in `comparison/`, without its ending."""


def compared(study: StudyResults, name: str) -> Table | None:
    """Return a table of the comparison as the report shows it, None where there is none.

    Raises
    ------
    FileError
        If it is damaged.
    """
    spec = TABLES[name]
    table = study.table(study.comparison_table(name), spec.stem or f"comparison_{name}", spec.title)
    if table is None or len(study.models) < spec.min_models:
        return None
    if spec.hide_empty and table.frame.empty:
        return None
    frame = table.frame
    only = next((o for o in spec.only if o[0] in frame and (frame[o[0]] == o[1]).any()), None)
    note = f"{spec.note} {spec.only_note if only else ''}".strip()
    frame = frame.rename(columns={column: f"share {column}" for column in spec.shares})
    return replace(table, frame=frame, note=note, only=only, labels=spec.labels)
