"""The tables of the comparison in the report: titles, notes, rows and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proda.comparison.model_files import STOCK
from proda.comparison.paper import MICROBES_SAMPLES
from proda.study.report.elements import Table
from proda.study.report.results import StudyResults


@dataclass(frozen=True)
class TableSpec:
    """The presentation of one table of the comparison."""

    title: str
    note: str = ""
    stem: str = ""
    """Name of the file in `tables/`; by default that of the table, after `comparison_`."""
    only: tuple[tuple[str, str], ...] = ()
    """Columns and values: the report shows the rows with the first one that the table has."""
    only_note: str = ""
    """Second part of the note, where `only` applies."""
    labels: Mapping[str, str] = field(default_factory=dict)
    shares: tuple[str, ...] = ()
    """Columns shown in per cent."""
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
    "truth": TableSpec("Truth and recovered values", stem="truth"),
    "findings": TableSpec("Findings of the paper in this run", stem="findings"),
    "agreement": TableSpec(
        "Agreement of all models: mean correlation of the pairs over land",
        "Spread (sd, low, high) between pairs; the standard error leaves out one model at a time, "
        "because pairs share models. Changes are relative to default parameters, over the same "
        "pairs.",
        min_models=3,  # the single pair of two models is in the table of correlations
    ),
    "correlations": TableSpec(
        "Correlation of the models' maps over land",
        "The effective number of cells accounts for spatial autocorrelation; p-values from the "
        "number of cells are far too small.",
    ),
    "compensation": TableSpec(
        "Do the differences between the models in decomposition and transfer compensate each "
        "other?",
        "Correlation over land of the log ratios of K and of CTE.",
    ),
    "michaelis": TableSpec("Michaelis constants over their substrates"),
    "fit": TableSpec("Fit of the models at the sites"),
    "parameters": TableSpec("Posteriors and defaults of the parameters"),
    "evidence": TableSpec(
        "Log densities of the same data by every model",
        "Shown: all sites; the file also has zones. Natural logarithms; total and mean per site. "
        "difference: of the mean from that of the best model; behind best of site: mean difference "
        "from the best model of each site; sampling error: of the total, from the spread between "
        "chains.",
        only=(("grouping", "all"),),
    ),
    "stacking": TableSpec(
        "Stacking weights of the models",
        only=(("grouping", "all"),),
        only_note="Shown: all sites.",
        hide_empty=True,
    ),
    "skill_left_out": TableSpec(
        "Carbon at held-out places, by every model and by methods without a soil model",
        only=(("by", "all"),),
        only_note="Shown: all held-out layers; the file also has depths, zones, climates, warm and "
        "cold soil. Natural logarithms. constant: one calibrated set of parameters; depth, "
        "boosting and plain network have no soil model; the ceiling is the highest possible skill "
        "of a map of half-degree cells. They appear once for each route, under the model “none”.",
        hide_empty=True,
    ),
    "preference": TableSpec("Model preference of the data, by pair and zone"),
    "totals": _first_metre("Carbon of the globe and of zones, compared with reference maps"),
    "references": _first_metre("Reference maps, cell by cell"),
    "regions": _first_metre("Regional differences between the models"),
    "models": TableSpec(
        "All models: carbon, its depths, components",
        "Carbon of the globe in Pg, with the members' standard deviation; shares of the whole "
        "column; means of the components over land with soil carbon, with the units of the maps.",
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
    """Return a table of the comparison for the report, or None if it does not exist.

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
